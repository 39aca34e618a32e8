package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
)

func (a *app) doctorCommand() *cobra.Command {
	var config string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Everything that would stop a recovery, before it does",
		Long: `Asks the server for everything that would stop a recovery, or make it worse, and what to do about each. With --config it
checks instead what a server needs before its first start, on this machine and without a server: its configuration, the
cloud's credentials, its data directory, its ports.

Each finding is marked FAIL (mend it), warn (look at it) or info; what was looked at and is right is marked ok. It ends
with 1 if anything fails, with 3 if there are warnings only.`,
		Example: `  ninelives doctor
  ninelives doctor --config /etc/ninelives/server.yaml     # before the first start`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config != "" {
				if err := a.checkFlags(cmd); err != nil {
					return err
				}
				done := a.waiting("Keystone and Nova")
				d := a.offline(cmd.Context(), config)
				done()
				return a.diagnosis(d, "Nothing is wrong here: the server can be started.")
			}
			d, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Diagnosis, error) { return c.Doctor(ctx) })
			if err != nil {
				return err
			}
			return a.diagnosis(d, "Nothing is in the way of a recovery.")
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "check this server.yaml and this machine, without a server")
	return a.client(cmd)
}

func (a *app) diagnosis(d api.Diagnosis, fine string) error {
	d.Findings, d.Passed = orEmpty(d.Findings), orEmpty(d.Passed)
	if err := a.show(d, func(p *page) { p.diagnosis(d, fine) }); err != nil {
		return err
	}
	switch {
	case slices.ContainsFunc(d.Findings, func(f api.Finding) bool { return f.Severity == api.Refuse }):
		return exitCode(exitFailed)
	case slices.ContainsFunc(d.Findings, func(f api.Finding) bool { return f.Severity == api.Warn }):
		return exitCode(exitHeld)
	default:
		return nil
	}
}

func (p *page) diagnosis(d api.Diagnosis, fine string) {
	worst, forbids := 0, 0
	for _, f := range d.Findings {
		if f.Severity != api.Tell {
			worst++
		}
		if f.Forbids {
			forbids++
		}
		p.finding(f)
	}
	for _, right := range d.Passed {
		p.line("%s    %s", p.paint(green, "ok"), words(right))
	}
	p.gap()
	switch {
	case worst == 0:
		p.line("%s", p.paint(green, fine))
	case forbids > 0:
		p.line("%s; arming is refused because of %d.", count(worst, "finding"), forbids)
	default:
		p.line("%s.", count(worst, "finding"))
	}
}

func (p *page) finding(f api.Finding) {
	mark := map[string]string{api.Refuse: p.paint(red, "FAIL"), api.Warn: p.paint(yellow, "warn"), api.Tell: "info"}[f.Severity]
	host := ""
	if f.Host != "" && !strings.HasPrefix(f.Title, f.Host) {
		host = f.Host + ": "
	}
	p.line("%s  %s%s", mark, host, words(f.Title))
	if f.What != "" {
		p.line("      %s", words(f.What))
	}
	if f.Do != "" {
		p.line("      What to do: %s", words(f.Do))
	}
}
