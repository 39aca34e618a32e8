package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/sim/demo"
)

const demoHelp = `A simulated cloud, the whole product, and a plug to pull: Keystone and Nova over HTTP, a BMC for each host over IPMI
or Redfish, a real server on a temporary database, and a real agent for each host, all in this process and on loopback.
It needs no root and no cloud, and leaves nothing behind.

Without --exit it tells the story as it unfolds and takes keys. With --exit it does what the flags say once all is
settled, waits until every incident is finished or held, prints the result, and ends.

Exit codes with --exit:
  0  every protected VM of cut and frozen hosts is back, and none ever ran twice (also if there was no such host)
  1  a VM is lost or ran twice, or it took too long
  2  wrong usage
  3  something is held; "interlocks" of the result says why`

// demoFlags are the demo's.
type demoFlags struct {
	o       demo.Options
	s       demo.Script
	exit    bool
	output  string
	verbose bool
}

func (a *app) demoCommand() *cobra.Command {
	var f demoFlags
	cmd := &cobra.Command{
		Use: "demo", Short: "A simulated cloud, the whole product, and a plug to pull", Long: demoHelp, Args: none,
		Example: `  ninelives demo
  ninelives demo --hosts 12 --vms 120 --cut host-03 --exit -o json
  ninelives demo --freeze host-02 --nova-outage 20s --exit`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.demo(cmd, f) },
	}
	fl := cmd.Flags()
	fl.IntVar(&f.o.Hosts, "hosts", 6, "compute hosts, named host-01 and so on")
	fl.IntVar(&f.o.VMs, "vms", 30, "VMs, spread evenly; one in twenty is a pet that comes back first")
	fl.IntVar(&f.o.Redfish, "redfish", 4, "every n-th host has a Redfish BMC, the others IPMI; 0: none")
	fl.Uint64Var(&f.o.Seed, "seed", 1, "of everything that chance decides in the simulated cloud")
	fl.StringVar(&f.o.API, "api", "127.0.0.1:7400", "where the REST API listens; a taken port is replaced by a free one")
	fl.StringArrayVar(&f.s.Cut, "cut", nil, "cut this host's power (may be repeated)")
	fl.StringArrayVar(&f.s.Freeze, "freeze", nil, "freeze this host for good: silent everywhere, its power stays on (may be repeated)")
	fl.StringArrayVar(&f.s.Isolate, "isolate", nil, "cut this host off the management network only (may be repeated)")
	fl.StringArrayVar(&f.s.DeadBMC, "dead-bmc", nil, "this host's BMC never answers again (may be repeated)")
	fl.DurationVar(&f.s.NovaOutage, "nova-outage", 0, "Nova answers 503 for so long from then on, for example 20s")
	fl.DurationVar(&f.s.Within, "within", 5*time.Minute, "when to give up, with --exit")
	fl.BoolVar(&f.exit, "exit", false, "do what the flags say, print the result, and end")
	fl.StringVarP(&f.output, "output", "o", formatTable, "table for people, json for programs; with --exit")
	completeFlag(cmd, "output", cobra.FixedCompletions([]string{formatTable, formatJSON}, cobra.ShellCompDirectiveNoFileComp))
	for _, flag := range []string{"cut", "freeze", "isolate", "dead-bmc"} {
		completeFlag(cmd, flag, func(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
			for i := range f.o.Hosts {
				names = append(names, fmt.Sprintf("host-%02d", i+1))
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		})
	}
	fl.BoolVar(&f.verbose, "verbose", false, "show the server's and the agents' logs too, on standard error")
	return cmd
}

func (a *app) demo(cmd *cobra.Command, f demoFlags) error {
	if f.output != formatTable && f.output != formatJSON {
		return usage(cmd, "--output is %q; the demo knows table and json", f.output)
	}
	if f.output == formatJSON && !f.exit {
		return usage(cmd, "-o json needs --exit: without it the demo tells a story and waits for keys")
	}
	story := a.env.Stdout
	if f.exit {
		story = a.env.Stderr // the result alone goes to standard output
	}
	f.o.Tell = func(line string) { fmt.Fprintln(story, line) }
	f.o.Version = a.env.Version
	if f.exit && !cmd.Flags().Changed("api") {
		f.o.API = "" // several scripts may run side by side
	}
	if f.verbose {
		f.o.Logger = slog.New(slog.NewTextHandler(a.env.Stderr, nil))
	}
	err := a.runDemo(cmd.Context(), f)
	var wrong *demo.UsageError
	if errors.As(err, &wrong) {
		return usage(cmd, "%s", wrong.Text)
	}
	return err
}

func (a *app) runDemo(ctx context.Context, f demoFlags) (err error) {
	if err := demo.Check(f.o, f.s); err != nil {
		return err
	}
	d, err := demo.Start(ctx, f.o)
	if err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		err = errors.Join(err, d.Stop(stop))
	}()
	if !f.exit {
		return d.Play(ctx, f.s, a.env.Stdin)
	}
	res, err := d.Run(ctx, f.s)
	if err != nil {
		return err
	}
	if err := writeResult(a.env.Stdout, res, f.output); err != nil {
		return err
	}
	if res.Code != demo.ExitRecovered {
		a.complain(res.Reason)
		return exitCode(res.Code)
	}
	return nil
}

func writeResult(w io.Writer, r demo.Result, format string) error {
	if format == formatJSON {
		return writeJSON(w, r)
	}
	return r.Table(w)
}
