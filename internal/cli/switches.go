package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
)

func (a *app) armCommand() *cobra.Command {
	var shadow, force bool
	var reason string
	cmd := &cobra.Command{
		Use:   "arm",
		Short: "Let Ninelives act",
		Long: `Arms Ninelives: from now on it fences and resurrects. A new installation does nothing until then. With --shadow it
decides and records everything and does nothing, which is how to get to know it on a living cloud.

It is refused while doctor finds something that makes acting dangerous, such as another engine that evacuates the same
hosts, or a cloud that can't be asked about that; --force arms all the same. Open incidents go on at once.`,
		Example: `  ninelives arm --shadow
  ninelives doctor && ninelives arm`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Reply, error) {
				return c.Arm(ctx, api.ArmRequest{Shadow: shadow, Force: force, Reason: reason})
			})
			if err != nil {
				return err
			}
			return a.reply(r)
		},
	}
	cmd.Flags().BoolVar(&shadow, "shadow", false, "decide and record everything, do nothing")
	cmd.Flags().BoolVar(&force, "force", false, "also against what doctor found")
	reasonFlag(cmd, &reason, "why")
	return a.client(cmd)
}

func (a *app) disarmCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "disarm",
		Short: "Stop all action at once",
		Long: `Stops all action at once, on all servers, until somebody arms it again: nothing new is sent. What Nova has accepted
already is tracked to its end. Detection goes on, and incidents say that they wait.`,
		Example: `  ninelives disarm --reason "network maintenance until 04:00, Ana"`,
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needReason(cmd, reason, "whoever finds it disarmed must know why"); err != nil {
				return err
			}
			r, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Reply, error) { return c.Disarm(ctx, reason) })
			if err != nil {
				return err
			}
			return a.reply(r)
		},
	}
	reasonFlag(cmd, &reason, "why (needed)")
	return a.client(cmd)
}

func (a *app) tokenCommand() *cobra.Command {
	return a.client(parent("token", "Tokens with which agents join",
		"An agent joins once, with a token that is bound to its host's name; afterwards it has a certificate.", a.tokenCreateCommand()))
}

func (a *app) tokenCreateCommand() *cobra.Command {
	var life time.Duration
	cmd := &cobra.Command{
		Use:   "create HOST",
		Short: "Make a token for one host's agent",
		Long: `Makes a token with which the agent of one host can join, once. The token alone is printed on standard output, so that
it can be put into a file or a variable. A host that Nova doesn't know (yet) gets its token too, with a warning.`,
		Example: `  ninelives token create compute-07
  ninelives token create compute-07 --life 1h | ssh compute-07 'read T; ninelives agent --token "$T"'`,
		Args:              one("host"),
		ValidArgsFunction: a.complete(false, listHosts),
		RunE: func(cmd *cobra.Command, args []string) error {
			if life <= 0 {
				return usage(cmd, "--life is %s; it must be more than nothing, for example 24h", life)
			}
			t, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Token, error) {
				return c.CreateToken(ctx, args[0], life)
			})
			if err != nil {
				return err
			}
			if err := a.show(t, func(p *page) { p.line("%s", t.Token) }); err != nil {
				return err
			}
			if t.Warning != "" {
				a.complain("warning: " + t.Warning)
			}
			if a.env.OutTerminal {
				fmt.Fprintf(a.env.Stderr, "On %s, until %s UTC, once: ninelives agent --token TOKEN\n", t.Host, t.Expires.UTC().Format("2006-01-02 15:04"))
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&life, "life", 24*time.Hour, "how long it can be used")
	return cmd
}
