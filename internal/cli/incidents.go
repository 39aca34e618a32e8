package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

func (a *app) incidentCommand() *cobra.Command {
	return a.client(parent("incident", "Incidents: the record of each failure, from suspicion to closed",
		"Incidents are the durable records of failures, from the first suspicion until the host is back.",
		a.incidentListCommand(), a.incidentShowCommand(), a.incidentWatchCommand(), a.incidentRetryCommand(),
		a.incidentAbortCommand(), a.incidentExportCommand()))
}

func (a *app) incidentListCommand() *cobra.Command {
	var state, host string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Open incidents, or all",
		Long:  `Lists incidents, newest first: the open ones, unless --state says closed or all.`,
		Example: `  ninelives incident list
  ninelives incident list --state all --host compute-07`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"open", "closed", "all"}, state) {
				return usage(cmd, "--state is %q; it can be open, closed or all", state)
			}
			list, err := ask(a, cmd, func(ctx context.Context, c *client.Client) ([]api.Incident, error) {
				return c.Incidents(ctx, state, host)
			})
			if err != nil {
				return err
			}
			return a.show(map[string]any{"incidents": orEmpty(list)}, func(p *page) { p.incidents(list, state, host) })
		},
	}
	cmd.Flags().StringVar(&state, "state", "open", "open, closed or all")
	cmd.Flags().StringVar(&host, "host", "", "only those of this host")
	completeFlag(cmd, "state", cobra.FixedCompletions([]string{"open", "closed", "all"}, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(cmd, "host", a.flagValues(listHosts))
	return cmd
}

func (p *page) incidents(list []api.Incident, state, host string) {
	if len(list) == 0 {
		what := map[string]string{"open": "No open incidents", "closed": "No closed incidents", "all": "No incidents"}[state]
		if host != "" {
			what += " of " + host
		}
		p.line("%s.", what)
		return
	}
	var rows [][]string
	for _, i := range list {
		rows = append(rows, []string{i.ID, i.Host, string(i.Verdict), dash(i.Mode), p.clock(i.Stages.Verdict), string(i.Phase), countsText(i), dash(locksText(i.Interlocks))})
	}
	p.table("INCIDENT HOST VERDICT CODE AT PHASE VMS WAITS", rows)
}

// countsText says how an incident's VMs stand: "16 of 20 back, 1 held".
func countsText(i api.Incident) string {
	counts, all := i.Counts, i.VMs
	switch {
	case i.Unplanned > 0 && i.Phase == engine.PhaseAlert:
		return count(i.Unplanned, "VM") + ", left alone"
	case i.Unplanned > 0:
		return count(i.Unplanned, "VM") + ", not planned yet"
	case all == 0:
		return "no VMs"
	}
	parts := []string{fmt.Sprintf("%d of %d back", counts[engine.Recovered], all)}
	for _, s := range []engine.State{engine.Resurrecting, engine.Verifying, engine.Restarting, engine.Queued, engine.Held, engine.Failed, engine.Unaccounted, engine.Skipped} {
		if n := counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	return strings.Join(parts, ", ")
}

func locksText(locks []engine.Interlock) string {
	var codes []string
	for _, l := range locks {
		codes = append(codes, l.Code)
	}
	return strings.Join(codes, ", ")
}

func (a *app) incidentShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show INCIDENT",
		Short: "One incident: evidence, proof, every VM, the whole story",
		Long: `Shows one incident: the evidence, the proof that the host was down, what holds it now, the state of every VM with its
reason, and the story line by line.`,
		Example:           `  ninelives incident show 7f3a`,
		Args:              one("incident"),
		ValidArgsFunction: a.complete(false, listIncidents("all")),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.IncidentDetail, error) {
				return c.Incident(ctx, args[0])
			})
			if err != nil {
				return err
			}
			return a.show(i, func(p *page) { p.incident(i) })
		},
	}
}

func (p *page) incident(i api.IncidentDetail) {
	p.line("Incident %s%s: %s is %s, %s. %s.", i.ID, in(i.Mode), i.Host, i.Verdict, i.Phase, countsText(i.Incident))
	for _, e := range i.Evidence {
		p.line("  %s", words(e))
	}
	for _, l := range i.Interlocks {
		p.line("%s", p.paint(yellow, fmt.Sprintf("Waits%s: %s", p.sinceText(l.Since), words(l.Reason))))
	}
	if i.Revoked != "" {
		p.line("%s", p.paint(red, "The proof was contradicted: "+words(i.Revoked)))
	}
	p.gap()
	p.rows(stageRows(i.Incident.Incident))
	p.gap()
	if len(i.Guests) == 0 {
		p.line("VMs: %s.", countsText(i.Incident))
	} else {
		p.recoveries(i.Guests)
	}
	if len(i.Log) > 0 {
		p.gap()
		var rows [][]string
		for _, e := range i.Log {
			rows = append(rows, []string{tenths(e.At), e.Text})
		}
		p.line("The story (UTC):")
		p.rows(rows)
	}
}

// stageRows are the moments of an incident, each with the time since the last life.
func stageRows(i engine.Incident) [][]string {
	s := i.Stages
	begin := s.LastLife
	if begin.IsZero() {
		begin = s.Suspect
	}
	var rows [][]string
	for _, st := range []struct {
		name string
		at   time.Time
		what string
	}{
		{"last life", s.LastLife, "boot " + dash(short(i.Boot))},
		{"suspect", s.Suspect, ""},
		{"verdict", s.Verdict, fmt.Sprintf("%s: %s", i.Verdict, i.Reason)},
		{"proof", s.Proof, proofText(i.Proof)},
		{"Nova told", s.TakenOut, takenOutText(i.Out)},
		{"resurrected", s.Resurrected, ""},
		{"powered on", i.Return.Powered, ""},
		{"readmitted", i.Return.Readmitted, ""},
		{"closed", s.Closed, ""},
	} {
		if !st.at.IsZero() {
			rows = append(rows, []string{tenths(st.at), st.name, "+" + fmt.Sprintf("%.1f s", max(0, st.at.Sub(begin).Seconds())), st.what})
		}
	}
	return rows
}

// proofText is what the proof rests on.
func proofText(pr *engine.Proof) string {
	switch {
	case pr == nil:
		return ""
	case pr.Kind == "operator":
		return fmt.Sprintf("the word of %s: %s", pr.By, pr.Reason)
	case pr.Kind == "reboot":
		return "it pulses with a new boot"
	}
	var off []time.Time
	for _, r := range pr.Readings {
		if r.State == "off" {
			off = append(off, r.At)
		}
	}
	if len(off) < 2 {
		return fmt.Sprintf("%s read off", pr.Device)
	}
	return fmt.Sprintf("%s read off %s, %.1f s apart", pr.Device, times(len(off)), off[len(off)-1].Sub(off[0]).Seconds())
}

func times(n int) string {
	if n == 2 {
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

func takenOutText(o engine.TakenOut) string {
	var did []string
	if o.Disabled {
		did = append(did, "disabled")
	}
	if o.Forced {
		did = append(did, "forced down")
	}
	if o.UndoneByOther {
		did = append(did, "somebody undid it")
	}
	return strings.Join(did, ", ")
}

func (p *page) recoveries(guests []api.Recovery) {
	var rows [][]string
	for _, r := range guests {
		rows = append(rows, []string{fmt.Sprint(r.Order), r.VM.Name, short(r.VM.ID), fmt.Sprint(r.Priority), string(r.State), dash(whereTo(r)), dash(r.Reason)})
	}
	p.table("ORDER VM ID PRIORITY STATE TO REASON", rows)
}

func whereTo(r api.Recovery) string {
	if r.To != "" {
		return r.To
	}
	if n := len(r.Attempts); n > 0 {
		if r.Attempts[n-1].To != "" {
			return r.Attempts[n-1].To
		}
		return r.Attempts[n-1].Target
	}
	return ""
}

func (a *app) incidentRetryCommand() *cobra.Command {
	var vm, reason string
	cmd := &cobra.Command{
		Use:   "retry INCIDENT",
		Short: "Let an incident go on that waits for you",
		Long: `Lets an incident go on that an operator's stop, a contradicted proof or a third failure has halted, and tries its held
and failed VMs again. With --vm only that one. Nothing is taken for granted: all is read afresh first.`,
		Example: `  ninelives incident retry 7f3a
  ninelives incident retry 7f3a --vm db-1`,
		Args:              one("incident"),
		ValidArgsFunction: a.complete(false, listIncidents("open")),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Reply, error) {
				return c.Retry(ctx, args[0], vm, reason)
			})
			if err != nil {
				return err
			}
			return a.reply(r)
		},
	}
	cmd.Flags().StringVar(&vm, "vm", "", "only this VM (id or name)")
	reasonFlag(cmd, &reason, "why")
	return cmd
}

func (a *app) incidentAbortCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "abort INCIDENT",
		Short: "Give the rest of an incident up",
		Long: `Gives an incident up: nothing new is sent for it, and VMs that aren't back yet are left as they are. What Nova has
accepted already is tracked to its end.`,
		Example:           `  ninelives incident abort 7f3a --reason "restored from backup instead"`,
		Args:              one("incident"),
		ValidArgsFunction: a.complete(false, listIncidents("open")),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needReason(cmd, reason, "its VMs will stay down, somebody will ask why"); err != nil {
				return err
			}
			r, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Reply, error) { return c.Abort(ctx, args[0], reason) })
			if err != nil {
				return err
			}
			return a.reply(r)
		},
	}
	reasonFlag(cmd, &reason, "why (needed)")
	return cmd
}

func (a *app) incidentExportCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "export INCIDENT",
		Short: "Write an incident's whole record to a JSON file",
		Long: `Writes everything on record about an incident, with every VM, as one JSON document; for a report or a post-mortem.
Without --out the file is incident-ID.json here; --out - is standard output. A file that exists is not overwritten.`,
		Example:           `  ninelives incident export 7f3a --out /tmp/compute-07.json`,
		Args:              one("incident"),
		ValidArgsFunction: a.complete(false, listIncidents("all")),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.IncidentDetail, error) {
				return c.Incident(ctx, args[0])
			})
			if err != nil {
				return err
			}
			if out == "-" {
				return writeJSON(a.env.Stdout, i)
			}
			if out == "" {
				out = "incident-" + i.ID + ".json"
			}
			return a.export(out, i)
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write (default incident-ID.json; - is standard output)")
	return cmd
}

func (a *app) export(file string, i api.IncidentDetail) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("cannot write the incident: %w", err)
	}
	if err := writeJSON(f, i); err != nil {
		_ = f.Close() // the first error is the one to tell
		return fmt.Errorf("cannot write the incident: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("cannot write the incident: %w", err)
	}
	fmt.Fprintf(a.env.Stdout, "Incident %s of %s is in %s.\n", i.ID, i.Host, file)
	return nil
}
