package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

func (a *app) vmCommand() *cobra.Command {
	return a.client(parent("vm", "Virtual machines: what protects them, what happened to them",
		"Virtual machines as Nova last listed them, what the policy says of each, and what became of it.",
		a.vmListCommand(), a.vmExplainCommand()))
}

func (a *app) vmListCommand() *cobra.Command {
	var host, project string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "VMs and what would happen to them",
		Long:  `Lists VMs, with what the policy says should happen if their host died.`,
		Example: `  ninelives vm list --host compute-07
  ninelives vm list --project shop -o json`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := ask(a, cmd, func(ctx context.Context, c *client.Client) ([]api.VM, error) { return c.VMs(ctx, host, project) })
			if err != nil {
				return err
			}
			return a.show(map[string]any{"vms": orEmpty(list)}, func(p *page) { p.vms(list, true) })
		},
	}
	cmd.Flags().StringVar(&host, "host", "", "only those on this host")
	cmd.Flags().StringVar(&project, "project", "", "only those of this project (id or name)")
	return cmd
}

func (p *page) vms(list []api.VM, hosts bool) {
	if len(list) == 0 {
		p.line("No VMs.")
		return
	}
	var rows [][]string
	for _, v := range list {
		row := []string{v.Name, v.ID, v.Status, dash(v.Action), fmt.Sprint(v.Priority), dash(vmNote(v))}
		if hosts {
			row = append([]string{v.Host}, row...)
		}
		rows = append(rows, row)
	}
	head := "VM ID STATUS IF-HOST-DIES PRIORITY NOTE"
	if hosts {
		head = "HOST " + head
	}
	p.table(head, rows)
}

func vmNote(v api.VM) string {
	var notes []string
	if v.Protected != "" {
		notes = append(notes, "host unprotected: "+v.Protected)
	}
	if v.Immovable != "" {
		notes = append(notes, v.Immovable)
	}
	if v.Locked {
		notes = append(notes, "locked")
	}
	return strings.Join(append(notes, v.Rule), "; ")
}

func (a *app) vmExplainCommand() *cobra.Command {
	var full bool
	cmd := &cobra.Command{
		Use:   "explain VM",
		Short: "Why a VM is (not) protected, what would happen, what happened",
		Long: `Explains one VM, by id or name: where it runs, which rule protects it or why it isn't protected, what would happen if
its host died now, and, if its host has died, what was done and when, and why. Times are UTC.`,
		Example: `  ninelives vm explain db-1
  ninelives vm explain db-1 --full      # every line on record
  ninelives policy explain db-1         # rule by rule`,
		Args:              one("VM"),
		ValidArgsFunction: a.complete(false, listVMs),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := ask(a, cmd, func(ctx context.Context, c *client.Client) ([]explained, error) {
				return explain(ctx, c, args[0])
			})
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return fmt.Errorf("there is no VM with the id or name %q, neither running nor in an incident (ninelives vm list)", args[0])
			}
			return a.show(map[string]any{"vms": list}, func(p *page) {
				if len(list) > 1 {
					p.line("%d VMs have this name.", len(list))
				}
				for _, e := range list {
					p.gap()
					p.explain(e, full)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&full, "full", false, "every line on record")
	return cmd
}

// explained is a VM and the incident of its latest recovery, if there was one.
type explained struct {
	api.VM
	Of *engine.Incident `json:"incident,omitempty"`
}

func explain(ctx context.Context, c *client.Client, idOrName string) ([]explained, error) {
	vms, err := c.VM(ctx, idOrName)
	if err != nil {
		return nil, err
	}
	var out []explained
	for _, v := range vms {
		e := explained{VM: v}
		if v.Story != nil {
			i, err := c.Incident(ctx, v.Story.Incident)
			if err != nil {
				return nil, err
			}
			e.Of = &i.Incident.Incident
		}
		out = append(out, e)
	}
	return out, nil
}

func (p *page) explain(e explained, full bool) {
	p.line("%s (%s) %s", words(e.Name), e.ID, words(whereText(e)))
	if e.Rule != "" {
		p.line("  %s", words(ruleText(e.VM)))
	}
	if e.Protected != "" {
		p.line("  %s", p.paint(yellow, fmt.Sprintf("its host %s is not protected now: %s", e.Host, words(e.Protected))))
	}
	if e.Immovable != "" {
		p.line("  %s", p.paint(yellow, "Nova can't evacuate it: "+words(e.Immovable)))
	}
	if e.Story == nil || e.Of == nil {
		return
	}
	p.rows(story(e, full))
	if down := downFor(e); down != "" {
		p.line("  %s", down)
	}
}

func whereText(e explained) string {
	r := e.Story
	switch {
	case r == nil:
		return fmt.Sprintf("is %s on %s.", dash(e.Status), dash(e.Host))
	case r.State == engine.Recovered && (r.To == "" || r.To == r.VM.Host):
		return fmt.Sprintf("runs on %s again, restarted there by incident %s.", r.VM.Host, r.Incident)
	case r.State == engine.Recovered:
		return fmt.Sprintf("runs on %s, resurrected from %s by incident %s.", r.To, r.VM.Host, r.Incident)
	default:
		return fmt.Sprintf("was on %s; in incident %s it is %s%s.", r.VM.Host, r.Incident, r.State, colon(strings.TrimSuffix(r.Reason, ".")))
	}
}

func ruleText(v api.VM) string {
	switch v.Action {
	case "resurrect":
		return fmt.Sprintf("protected: %s, priority %d", v.Rule, v.Priority)
	case "leave":
		return "NOT protected: " + v.Rule
	case "hold":
		return "would be held: " + v.Rule
	default:
		return v.Rule
	}
}

// story is what happened to the VM: the stages of its incident, then its own.
func story(e explained, full bool) [][]string {
	i, r := e.Of, e.Story
	var rows [][]string
	add := func(at time.Time, what, evidence string) {
		if !at.IsZero() {
			rows = append(rows, []string{tenths(at), what, evidence})
		}
	}
	s := i.Stages
	if s.LastLife.IsZero() || s.LastLife.Before(s.Suspect) { // else an operator had a living host fenced
		add(s.Suspect, i.Host+" fell silent", silence(s))
	}
	add(s.Verdict, "verdict "+string(i.Verdict), i.Reason)
	add(s.Proof, "proof", proofText(i.Proof))
	add(s.TakenOut, "Nova told", takenOutText(i.Out))
	if full {
		for _, l := range r.Log {
			add(l.At, l.Text, "")
		}
		return rows
	}
	for n, at := range r.Attempts {
		add(at.Intended, attemptText(at), attemptEvidence(r, n))
	}
	switch {
	case r.State == engine.Recovered && r.SeenBy == "agent":
		add(r.Ended, "runs on "+dash(r.To), "its agent sees the domain running")
	case r.State == engine.Recovered:
		add(r.Ended, "runs on "+dash(r.To), "seen: "+dash(r.SeenBy))
	case r.State.Settled():
		add(r.Ended, string(r.State), r.Reason)
	}
	return rows
}

func silence(s engine.Stages) string {
	if s.LastLife.IsZero() {
		return ""
	}
	return fmt.Sprintf("nothing for %.1f s", s.Suspect.Sub(s.LastLife).Seconds())
}

func attemptText(at engine.Attempt) string {
	to := at.To
	if to == "" {
		to = at.Target
	}
	text := "evacuate"
	if at.Answer != engine.Intended {
		text += " " + string(at.Answer)
	}
	if to != "" {
		text += ", to " + to
	}
	return text
}

func attemptEvidence(r *api.Recovery, n int) string {
	var parts []string
	if n == 0 {
		parts = append(parts, fmt.Sprintf("priority %d, number %d in the queue", r.Priority, r.Order))
	}
	at := r.Attempts[n]
	if at.Status != "" {
		parts = append(parts, "Nova: "+at.Status)
	}
	if at.Why != "" {
		parts = append(parts, at.Why)
	}
	return strings.Join(parts, "; ")
}

// downFor counts from the last sign of life of its host: from then on nobody can know that it ran.
func downFor(e explained) string {
	r, from := e.Story, e.Of.Stages.LastLife
	if from.IsZero() {
		from = e.Of.Stages.Suspect
	}
	if r.State != engine.Recovered || from.IsZero() || r.Ended.Before(from) {
		return ""
	}
	return fmt.Sprintf("down for %.1f s at most, from its host's last sign of life on", r.Ended.Sub(from).Seconds())
}
