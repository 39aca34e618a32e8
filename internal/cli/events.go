package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// reconnect is how long a broken event stream waits before it is asked for again.
const reconnect = time.Second

func (a *app) eventsCommand() *cobra.Command {
	var host, incident string
	cmd := &cobra.Command{
		Use:   "events",
		Short: "What happens, line by line, as it happens",
		Long: `Shows every sentence of the story as it unfolds, until interrupted. A broken connection is made again, and what was
missed meanwhile comes first. With -o json each line is one JSON document.`,
		Example: `  ninelives events
  ninelives events --host compute-07 -o json`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.dial(cmd)
			if err != nil {
				return err
			}
			if a.conn.output == formatYAML {
				return usage(cmd, "events come as lines; --output can be table or json")
			}
			return a.follow(cmd.Context(), c, func(e api.Event) error {
				if !e.Reset && (host != "" && e.Host != host || incident != "" && e.Incident != incident) {
					return nil
				}
				return a.event(e)
			})
		},
	}
	cmd.Flags().StringVar(&host, "host", "", "only those of this host")
	cmd.Flags().StringVar(&incident, "incident", "", "only those of this incident")
	completeFlag(cmd, "host", a.flagValues(listHosts))
	completeFlag(cmd, "incident", a.flagValues(listIncidents("open")))
	return a.client(cmd)
}

// follow calls f for each event until ctx ends or f fails; a stream that breaks is asked for again, from where it broke.
// A refusal is final, and so is a server that can't be reached at the beginning: somebody waits for an answer.
func (a *app) follow(ctx context.Context, c *client.Client, f func(api.Event) error) error {
	if err := a.beforeEvents(ctx, c); err != nil {
		return err
	}
	last, broken := "", false
	var own error
	for {
		err := c.Events(ctx, last, func(e api.Event) error {
			last, broken = e.ID, false
			own = f(e)
			return own
		})
		var refused *api.Problem
		switch {
		case ctx.Err() != nil:
			return nil
		case own != nil:
			return own
		case errors.As(err, &refused):
			return err
		case !broken:
			a.complain(err.Error() + "; asking again every second")
			broken = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnect):
		}
	}
}

// beforeEvents says what keeps events from coming: only the server that leads has any.
func (a *app) beforeEvents(ctx context.Context, c *client.Client) error {
	ctx, cancel := context.WithTimeout(ctx, a.conn.timeout)
	defer cancel()
	if err := c.Ready(ctx); err != nil && errors.Is(err, client.ErrUnreachable) {
		return err
	}
	if st, err := c.Status(ctx); err == nil && !st.Leads {
		a.complain("warning: " + cmp.Or(st.Partial, st.Server+" doesn't lead") + "\nEvents come from the server that leads.")
	}
	return nil
}

func (a *app) event(e api.Event) error {
	if a.conn.output == formatJSON {
		return json.NewEncoder(a.env.Stdout).Encode(e)
	}
	p := a.page()
	if e.Reset {
		p.line("(some messages were missed here)")
		return p.flush(a.env.Stdout)
	}
	where := e.Host
	if e.Incident != "" {
		where += " " + e.Incident
	}
	text := words(e.Text)
	switch e.Severity {
	case engine.Warning.String():
		text = p.paint(yellow, text)
	case engine.Critical.String():
		text = p.paint(red, text)
	}
	p.line("%s  %-20s  %s", tenths(e.At), where, text)
	return p.flush(a.env.Stdout)
}

func (a *app) incidentWatchCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "watch INCIDENT",
		Short: "Follow one incident until it ends",
		Long: `Shows what an incident has come to so far and then every line as it happens, until it is closed, or all its VMs are
settled and it waits for somebody. It ends with 0 if all is well, with 3 if something is held, failed or waits for you.`,
		Example:           `  ninelives incident watch 7f3a`,
		Args:              one("incident"),
		ValidArgsFunction: a.complete(false, listIncidents("open")),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.conn.output == formatYAML {
				return usage(cmd, "an incident is watched as lines; --output can be table or json")
			}
			c, err := a.dial(cmd)
			if err != nil {
				return err
			}
			return a.watchIncident(cmd, c, args[0])
		},
	}
}

// watchIncident shows what is on record, then what comes; at the end the record decides whether it has ended.
func (a *app) watchIncident(cmd *cobra.Command, c *client.Client, id string) error {
	i, err := within(a, cmd, func(ctx context.Context) (api.IncidentDetail, error) { return c.Incident(ctx, id) })
	if err != nil {
		return err
	}
	for _, e := range i.Log {
		if err := a.event(api.Event{At: e.At, Severity: engine.Info.String(), Host: i.Host, Incident: i.ID, Text: e.Text}); err != nil {
			return err
		}
	}
	if ended(i) {
		return a.watched(i)
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	news := make(chan error, 1)
	go func() {
		news <- a.follow(ctx, c, func(e api.Event) error {
			if e.Incident != id && !e.Reset {
				return nil
			}
			return a.event(e)
		})
	}()
	tick := time.NewTicker(2 * time.Second) // whether it has ended is asked, not guessed from its lines
	defer tick.Stop()
	for {
		select {
		case err := <-news:
			return err
		case <-tick.C:
		}
		now, err := within(a, cmd, func(ctx context.Context) (api.IncidentDetail, error) { return c.Incident(ctx, id) })
		switch {
		case errors.Is(err, client.ErrUnreachable):
			continue // follow says so
		case err != nil:
			return err
		case ended(now):
			cancel()
			<-news
			return a.watched(now)
		}
	}
}

// ended: closed, or everything about its VMs is settled and something waits for people.
func ended(i api.IncidentDetail) bool {
	if i.Phase == engine.PhaseClosed {
		return true
	}
	return (i.Phase == engine.PhaseRecovered || i.Phase == engine.PhaseRetrying) && len(i.Interlocks) > 0
}

func (a *app) watched(i api.IncidentDetail) error {
	held := i.Counts[engine.Held] + i.Counts[engine.Failed] + i.Counts[engine.Unaccounted]
	if a.conn.output != formatJSON {
		fmt.Fprintf(a.env.Stdout, "Incident %s of %s is %s: %s.\n", i.ID, i.Host, i.Phase, countsText(i.Incident))
	}
	if held > 0 || len(i.Interlocks) > 0 {
		return exitCode(exitHeld)
	}
	return nil
}

func (a *app) auditCommand() *cobra.Command {
	since := days(7 * 24 * time.Hour)
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Who asked for what, and what became of it",
		Long:  `Lists the operators' acts (arm, fence, confirm-down, policy apply …), oldest first, with who, why and the answer.`,
		Example: `  ninelives audit
  ninelives audit --since 30d -o json`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := ask(a, cmd, func(ctx context.Context, c *client.Client) ([]api.AuditEntry, error) {
				return c.Audit(ctx, a.env.Now().Add(-time.Duration(since)))
			})
			if err != nil {
				return err
			}
			return a.show(map[string]any{"entries": orEmpty(list)}, func(p *page) { p.audit(list, time.Duration(since)) })
		},
	}
	cmd.Flags().Var(&since, "since", "how far to look back, for example 90d")
	return a.client(cmd)
}

func (p *page) audit(list []api.AuditEntry, since time.Duration) {
	if len(list) == 0 {
		p.line("Nobody has asked for anything within the last %s.", span(since))
		return
	}
	var rows [][]string
	for _, e := range list {
		result := "ok"
		if !e.OK {
			result = "refused"
		}
		rows = append(rows, []string{e.At.UTC().Format("2006-01-02 15:04:05"), e.Who, e.What, result, e.Reply, dash(e.Reason)})
	}
	p.table("AT WHO WHAT RESULT ANSWER REASON", rows)
}
