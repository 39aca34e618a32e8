package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

func (a *app) planCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan HOST...",
		Short: "What would happen if these hosts died now",
		Long: `Plans, without doing anything, what would happen if these hosts died now, all at once: the VMs in the order they would
be resurrected, each with its target, how long it would take, what wouldn't come back and why, and what would hold the
fence. From the same rules, queue and placement as a real failure.`,
		Example: `  ninelives plan compute-07
  ninelives plan compute-07 compute-08      # a rack
  ninelives plan compute-07 -o json | jq '.vms[] | select(.state != "queued")'`,
		Args:              oneOrMore("host"),
		ValidArgsFunction: a.complete(true, listHosts),
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Plan, error) { return c.Plan(ctx, args) })
			if err != nil {
				return err
			}
			return a.show(plan, func(p *page) { p.plan(plan) })
		},
	}
	return a.client(cmd)
}

func (p *page) plan(f api.Plan) {
	p.line("If %s died now: %s.", strings.Join(f.Hosts, ", "), planText(f))
	for _, l := range f.Locks {
		p.line("%s", p.paint(yellow, "Held by "+l.Code+": "+words(l.Reason)))
	}
	if len(f.VMs) == 0 {
		return
	}
	p.gap()
	var rows [][]string
	for _, v := range f.VMs {
		rows = append(rows, []string{fmt.Sprint(v.Order), v.Name, v.Host, fmt.Sprint(v.Priority), fateText(v.State), dash(v.Target), dash(v.Reason)})
	}
	p.table("ORDER VM HOST PRIORITY THEN TO WHY", rows)
	if len(f.Targets) > 0 {
		p.gap()
		var to []string
		for _, t := range slices.Sorted(maps.Keys(f.Targets)) {
			to = append(to, fmt.Sprintf("%s %d", t, f.Targets[t]))
		}
		p.line("Targets: %s.", strings.Join(to, ", "))
	}
}

func planText(f api.Plan) string {
	if len(f.VMs) == 0 {
		return "no VM would be touched, none is on them"
	}
	back := f.Counts[engine.Queued]
	text := fmt.Sprintf("%d of %s would be resurrected", back, count(len(f.VMs), "VM"))
	if back > 0 && f.Seconds > 0 {
		text += fmt.Sprintf(", all within about %s of the proof", span(time.Duration(f.Seconds*float64(time.Second))))
	}
	for _, s := range []engine.State{engine.Held, engine.Skipped, engine.Failed, engine.Unaccounted} {
		if n := f.Counts[s]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, s)
		}
	}
	return text
}

// fateText is what becomes of a VM: in a plan, queued means that it would come back.
func fateText(s engine.State) string {
	if s == engine.Queued {
		return "resurrected"
	}
	return string(s)
}
