package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/agent"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// joinTime bounds joining; the unit starts an agent anew that could not.
const joinTime = time.Minute

func (a *app) agentCommand() *cobra.Command {
	var d daemonFlags
	var token, tokenFile string
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of a compute host",
		Long: `Runs the agent of a compute host until it gets SIGTERM: it pulses to every server, answers and asks probes, keeps the
gate, and kills a VM that runs here although it was resurrected elsewhere.

At its first start it joins with a one-time token (ninelives token create HOST, on a server): --token, --token-file, or
NINELIVES_TOKEN, which the unit reads from /etc/ninelives/agent.env. Afterwards it has a certificate and needs none; a
token that is given again is then not used.
deploy/agent.yaml is a sample that documents every key.`,
		Example: `  ninelives agent --config /etc/ninelives/agent.yaml
  ninelives agent --token-file /run/join.token       # first start`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := a.logger(cmd, d)
			if err != nil {
				return err
			}
			cfg, err := loadAgent(d.config)
			if err != nil {
				return err
			}
			token, from, err := a.joinToken(cmd, token, tokenFile)
			if err != nil {
				return err
			}
			if err := mayJoin(cfg, token, from); err != nil {
				return err
			}
			agent.LimitProcess()
			return a.runAgent(cmd.Context(), cfg, token, log)
		},
	}
	d.add(cmd, agent.DefaultConfigPath)
	cmd.Flags().StringVar(&token, "token", "", "join with this one-time token, if this host hasn't joined (or NINELIVES_TOKEN)")
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "the same, from a file")
	return cmd
}

func loadAgent(path string) (agent.Config, error) {
	if err := found(path, "agent"); err != nil {
		return agent.Config{}, err
	}
	return agent.LoadConfig(path)
}

// joinToken is the one-time token, and where it came from.
func (a *app) joinToken(cmd *cobra.Command, token, file string) (text, from string, err error) {
	switch {
	case token != "" && file != "":
		return "", "", usage(cmd, "--token and --token-file are both given")
	case file != "":
		text, err := os.ReadFile(file)
		if err != nil {
			return "", "", fmt.Errorf("cannot read the token: %w", err)
		}
		return strings.TrimSpace(string(text)), file, nil
	case token != "":
		return strings.TrimSpace(token), "--token", nil
	default:
		return strings.TrimSpace(a.env.Getenv(tokenVariable)), tokenVariable, nil
	}
}

const tokenVariable = "NINELIVES_TOKEN"

// mayJoin refuses a token that is none, before anybody is asked. A host that has joined needs none, so any will do.
func mayJoin(cfg agent.Config, token, from string) error {
	if token == "" {
		return nil
	}
	if joined, err := agent.Joined(cfg); err != nil || joined {
		return err
	}
	_, err := pki.ParseToken(token)
	switch {
	case err == nil:
		return nil
	case from == tokenVariable:
		return fmt.Errorf("cannot join with what %s holds: %w\nThe commands read the admin token from the same variable: is it that one? Give this host's own: --token-file FILE, or unset it", from, err)
	default:
		return fmt.Errorf("cannot join with the token from %s: %w", from, err)
	}
}

func (a *app) runAgent(ctx context.Context, cfg agent.Config, token string, log *slog.Logger) error {
	if err := join(ctx, cfg, token, log); err != nil {
		return err
	}
	ag, err := agent.New(agent.Options{Config: cfg, Version: a.env.Version, Logger: log})
	if err != nil {
		return err
	}
	if err := ag.Start(); err != nil {
		return errors.Join(err, stopped(ag.Stop))
	}
	log.Info("the agent runs", "host", ag.Host(), "version", a.env.Version)
	<-ctx.Done()
	log.Info("stopping")
	return stopped(ag.Stop)
}

// join trades the token for a certificate, if this host has none.
func join(ctx context.Context, cfg agent.Config, token string, log *slog.Logger) error {
	if token == "" {
		return nil
	}
	joined, err := agent.Joined(cfg)
	if err != nil || joined {
		return err
	}
	once, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	if err := agent.Join(once, cfg, token, nil, nil); err != nil {
		return err
	}
	log.Info("joined", "servers", strings.Join(cfg.Servers, ", "))
	return nil
}

func (a *app) gateCommand() *cobra.Command {
	var config, reason string
	var open bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "gate",
		Short: "Wait until VMs may start on this host",
		Long: `Waits until the servers say which VMs may start on this host after a boot, and says meanwhile what it waits for. It is
run by ninelives-gate.service, before nova-compute and libvirt. Servers that can't be reached mean closed, however long.

--open opens it by hand. VMs that were resurrected elsewhere stay forbidden here. Be certain that no server is just
bringing this host's VMs back elsewhere: what Nova still believes to be here would start twice.`,
		Example: `  ninelives gate
  ninelives gate --open --reason "all servers are down, checked with Ana that nothing was evacuated"`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if open {
				if err := needReason(cmd, reason, "it is kept, for those who ask later"); err != nil {
					return err
				}
			}
			cfg, err := loadAgent(config)
			if err != nil {
				return err
			}
			if open {
				return a.openGate(cfg, reason)
			}
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("nothing changed within %s (--timeout)", timeout))
				defer cancel()
			}
			return agent.WaitGate(ctx, cfg, a.env.Stdout)
		},
	}
	cmd.Flags().StringVar(&config, "config", agent.DefaultConfigPath, "configuration file of the agent")
	cmd.Flags().BoolVar(&open, "open", false, "open it by hand, for this boot")
	reasonFlag(cmd, &reason, "with --open: why (needed)")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "give up after this long, with exit code 1 (default: never)")
	return cmd
}

func (a *app) openGate(cfg agent.Config, reason string) error {
	forbidden, err := agent.OpenByHand(cfg, reason)
	if err != nil {
		return err
	}
	text := "The gate of this boot is open."
	if forbidden > 0 {
		text += fmt.Sprintf(" %s that ran here before must not start here and stay forbidden.", count(forbidden, "VM"))
	}
	_, err = fmt.Fprintln(a.env.Stdout, text)
	return err
}

func (a *app) hookCommand() *cobra.Command {
	cmd := parent("hook", "libvirt's hook, which refuses VMs that were resurrected elsewhere",
		`libvirt asks its qemu hook before a VM starts. Ours refuses VMs that were resurrected elsewhere, until the host is
readmitted. The agent's package installs it; "hook install" does the same by hand.`, a.hookQemuCommand(), a.hookInstallCommand())
	return cmd
}

// hookQemuCommand is what libvirt's hook script runs. It parses no flags: a guest may have any name.
func (a *app) hookQemuCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "qemu GUEST OPERATION SUB-OPERATION EXTRA",
		Short:              "May this VM start here? (called by libvirt)",
		Long:               `Called by libvirt's hook script with the domain's XML on standard input. NINELIVES_CONFIG names another agent.yaml.`,
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			code := agent.Hook(agent.HookRequest{
				ConfigPath: a.env.Getenv("NINELIVES_CONFIG"), Args: args, Stdin: a.env.Stdin, Stderr: a.env.Stderr,
			})
			if code != 0 {
				return exitCode(code)
			}
			return nil
		},
	}
}

func (a *app) hookInstallCommand() *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install libvirt's hook on this host",
		Long: `Puts the hook script where libvirt calls it: as the qemu hook, or beside a foreign one, which is never touched. libvirtd
takes notice of a first hook only when it is restarted.`,
		Example: `  ninelives hook install && systemctl restart libvirtd`,
		Args:    none,
		RunE: func(*cobra.Command, []string) error {
			place, err := agent.InstallHook(at)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.env.Stdout, "The hook is %s. If it is libvirt's first: systemctl restart libvirtd (VMs run on).\n", place)
			return err
		},
	}
	cmd.Flags().StringVar(&at, "at", agent.DefaultConfig().LibvirtHook, "libvirt's qemu hook")
	return cmd
}
