package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
)

func (a *app) hostMaintenanceCommand() *cobra.Command {
	var off, isZone bool
	var reason string
	cmd := &cobra.Command{
		Use:   "maintenance HOST",
		Short: "Leave a host, or a whole zone, alone",
		Long: `Puts a host into maintenance: whatever happens to it, Ninelives does nothing about it, and it counts neither as
failed nor as seen. --off ends it. With --zone the argument is an availability zone.

Use it before you take a host's power, network or agent away on purpose.`,
		Example: `  ninelives host maintenance compute-07 --reason "new DIMMs, Ana"
  ninelives host maintenance compute-07 --off
  ninelives host maintenance --zone az2 --reason "switch firmware"`,
		Args: one("host or zone"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			list := listHosts
			if isZone {
				list = listZones
			}
			return a.complete(false, list)(cmd, args, prefix)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !off {
				if err := needReason(cmd, reason, "whoever finds it in maintenance must know why"); err != nil {
					return err
				}
			}
			r, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Reply, error) {
				if isZone {
					return c.ZoneMaintenance(ctx, args[0], !off, reason)
				}
				return c.HostMaintenance(ctx, args[0], !off, reason)
			})
			if err != nil {
				return err
			}
			return a.reply(r)
		},
	}
	cmd.Flags().BoolVar(&off, "off", false, "end the maintenance")
	cmd.Flags().BoolVar(&isZone, "zone", false, "the argument is an availability zone")
	reasonFlag(cmd, &reason, "why; needed unless --off")
	return cmd
}

func (a *app) hostReadmitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "readmit HOST",
		Short: "Bring a host back that waits for your word",
		Long: `Switches the machine on again and takes the host back into service, once all its VMs are settled. That happens by
itself, unless the policy says power_on: manual.`,
		Example:           `  ninelives host readmit compute-07`,
		Args:              one("host"),
		ValidArgsFunction: a.complete(false, listHosts),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Reply, error) { return c.Readmit(ctx, args[0]) })
			if err != nil {
				return err
			}
			return a.reply(r)
		},
	}
}

func (a *app) hostFenceCommand() *cobra.Command {
	var yes bool
	var reason string
	cmd := &cobra.Command{
		Use:   "fence HOST",
		Short: "Cut a host's power and bring its VMs back elsewhere",
		Long: `Fences a host on your word, also one that lives: its power is cut hard, every VM on it dies at that moment, and then
those that the policy protects are brought back elsewhere. For hosts that hang, or are isolated.

The interlocks still hold, except those against many failures at once: it is your word. You are asked to type the host's
name; --yes leaves that out, and a script, which can't be asked, must give it.`,
		Example: `  ninelives host fence compute-07 --reason "storage is gone, its VMs hang"
  ninelives host fence compute-07 --reason "rack 12 floods" --yes      # from a script
  ninelives plan compute-07          # what would happen, before you do it`,
		Args:              one("host"),
		ValidArgsFunction: a.complete(false, listHosts),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needReason(cmd, reason, "it goes into the incident's record"); err != nil {
				return err
			}
			return a.dangerous(cmd, yes, args[0], "Fencing %s cuts its power at once: every VM on it dies now.%s",
				func(ctx context.Context, c *client.Client) (api.Reply, error) {
					return c.FenceHost(ctx, args[0], reason)
				})
		},
	}
	reasonFlag(cmd, &reason, "why (needed)")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask; needed where standard input is no terminal")
	return cmd
}

func (a *app) hostConfirmDownCommand() *cobra.Command {
	var yes bool
	var reason string
	cmd := &cobra.Command{
		Use:   "confirm-down HOST",
		Short: "Give your word that a host runs nothing any more",
		Long: `Records your word as the proof that the host is down, where no fence device can prove it: its BMC is dead, the rack has
no power. Its VMs are brought back elsewhere right after.

Be certain. If the host still runs a VM, that VM will run twice on one disk, and the disk will be destroyed. Pull the
power cables; "it doesn't answer" is not enough. A host that still pulses is refused. You are asked to type the host's
name; --yes leaves that out, and a script, which can't be asked, must give it.`,
		Example:           `  ninelives host confirm-down compute-07 --reason "Ana pulled both power cables at 02:20"`,
		Args:              one("host"),
		ValidArgsFunction: a.complete(false, listHosts),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needReason(cmd, reason, "how do you know that it is off?"); err != nil {
				return err
			}
			return a.dangerous(cmd, yes, args[0],
				"Your word counts as proof that %s is off. If it still runs a VM, that VM will run twice and its disk will be destroyed.%s",
				func(ctx context.Context, c *client.Client) (api.Reply, error) {
					return c.ConfirmDown(ctx, args[0], reason)
				})
		},
	}
	reasonFlag(cmd, &reason, "how you know it (needed)")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask; needed where standard input is no terminal")
	return cmd
}

// dangerous asks people first, telling them how the host stands, and then makes the request.
func (a *app) dangerous(cmd *cobra.Command, yes bool, host, danger string, request func(context.Context, *client.Client) (api.Reply, error)) error {
	if err := a.mayAsk(cmd, yes); err != nil {
		return err
	}
	c, err := a.dial(cmd)
	if err != nil {
		return err
	}
	if !yes {
		h, err := within(a, cmd, func(ctx context.Context) (api.HostDetail, error) { return c.Host(ctx, host) })
		if err != nil {
			return err
		}
		stands := fmt.Sprintf("\n%s is %s now and has %s.", h.Name, verdictText(h.Host), count(h.VMs, "VM"))
		if err := a.confirm(cmd, host, fmt.Sprintf(danger, host, stands)); err != nil {
			return err
		}
	}
	r, err := within(a, cmd, func(ctx context.Context) (api.Reply, error) { return request(ctx, c) })
	if err != nil {
		return err
	}
	return a.reply(r)
}

func (a *app) hostRejoinCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rejoin HOST",
		Short: "Let another machine join under a known host's name",
		Long: `A host's name belongs to the machine that joined with it first. When that machine was replaced, or reinstalled
without its certificate, this allows the next one with a valid token to take the name over.`,
		Example: `  ninelives host rejoin compute-07
  ninelives token create compute-07`,
		Args:              one("host"),
		ValidArgsFunction: a.complete(false, listHosts),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Reply, error) { return c.Rejoin(ctx, args[0]) })
			if err != nil {
				return err
			}
			return a.reply(r)
		},
	}
}

func (a *app) hostDrainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "drain HOST",
		Short: "Move VMs off a living host (not in this release)",
		Long: `Moving VMs off a living host by live migration is not in this release. Until it is: put the host into maintenance
(ninelives host maintenance HOST --reason …) and live-migrate with Nova's own client.`,
		Example: `  openstack compute service set --disable compute-07 nova-compute
  nova host-evacuate-live compute-07`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			host := "HOST"
			if len(args) > 0 {
				host = args[0]
			}
			return fmt.Errorf("host drain is not in this release, nothing was done\nPut the host into maintenance (ninelives host maintenance %s --reason …) and live-migrate its VMs with Nova's own client", host)
		},
	}
}
