package cli

import (
	"cmp"
	"context"
	"errors"
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

func (a *app) statusCommand() *cobra.Command {
	var watch, code bool
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "status",
		Short: "One screen: quorum, leader, armed?, hosts, open incidents, what waits for you",
		Long: `Shows how things stand on one screen: how many hosts are up, whether Ninelives is armed, who leads, every open
incident with what is going on now, what holds it, what waits for you, and whether every host could be fenced now.

With --exit-code it ends with 3 if anything is held or waits for you, if Ninelives is disarmed or has no quorum, or if the
cloud doesn't answer; for monitoring.`,
		Example: `  ninelives status
  ninelives status --watch
  ninelives status --exit-code >/dev/null || echo "look at Ninelives"
  ninelives status -o json | jq .hosts`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return a.watchStatus(cmd, every)
			}
			s, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Status, error) { return c.Status(ctx) })
			if err != nil {
				return err
			}
			if err := a.show(s, func(p *page) { p.status(s) }); err != nil {
				return err
			}
			if code && waits(s) {
				return exitCode(exitHeld)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again and again until interrupted")
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "with --watch: how often")
	cmd.Flags().BoolVar(&code, "exit-code", false, "end with 3 if something is held or waits for you")
	return a.client(cmd)
}

// watchStatus shows the screen again and again. A server that doesn't answer for a while is shown as that.
func (a *app) watchStatus(cmd *cobra.Command, every time.Duration) error {
	if every < 100*time.Millisecond {
		return usage(cmd, "--every is %s; 100ms is the least", every)
	}
	c, err := a.dial(cmd)
	if err != nil {
		return err
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for first := true; ; first = false {
		s, err := within(a, cmd, c.Status)
		switch {
		case cmd.Context().Err() != nil:
			return nil // the operator has seen enough
		case err != nil && (first || !errors.Is(err, client.ErrUnreachable)):
			return err
		case a.env.OutTerminal:
			fmt.Fprint(a.env.Stdout, "\x1b[H\x1b[2J")
		case !first && a.conn.output == formatTable:
			fmt.Fprintln(a.env.Stdout)
		}
		if err != nil {
			a.complain(err.Error() + "\nTrying again.")
		} else if err := a.show(s, func(p *page) { p.status(s) }); err != nil {
			return err
		}
		select {
		case <-cmd.Context().Done():
			return nil
		case <-tick.C:
		}
	}
}

// waits reports whether somebody should look.
func waits(s api.Status) bool {
	return len(s.WaitingForYou) > 0 || len(s.Interlocks) > 0 || !s.Switches.Armed || !s.Servers.Quorum || !s.Cloud.OK ||
		slices.ContainsFunc(s.Incidents, func(i api.IncidentSummary) bool { return i.Counts[engine.Held]+i.Counts[engine.Failed] > 0 })
}

func (p *page) status(s api.Status) {
	armed := "Only the leader knows whether it is armed."
	if s.Partial == "" {
		armed = p.armedText(s.Switches)
	}
	seen := p.hostsText(s)
	if s.Partial != "" {
		seen = "as " + s.Server + " alone sees it, " + seen
	}
	p.line("%s: %s. %s %s", s.Cluster, seen, armed, p.leaderText(s))
	if s.Partial != "" && s.Servers.Quorum { // without one the line above has said why
		p.line("%s", p.paint(yellow, "Not all is shown: "+words(s.Partial)))
	}
	if !s.Cloud.OK {
		p.line("%s", p.paint(red, fmt.Sprintf("Cloud: %s%s.", words(strings.TrimSuffix(s.Cloud.Trouble, ".")), p.sinceText(s.Cloud.Since))))
	}
	for _, alarm := range s.Servers.Alarms {
		p.line("%s", p.paint(red, "Database: "+words(alarm)))
	}
	for _, m := range s.Servers.Members {
		if !m.Healthy {
			p.line("Server %s%s: %s.", m.Name, in(m.Address), cmp.Or(words(m.Problem), "not healthy"))
		}
	}
	if !s.Servers.Quorum && !s.Servers.Electing {
		p.line("%s acts on nothing meanwhile. Ask one on the other side: --server URL.", s.Server)
		p.line("One that is lost for good: ninelives cluster replace NAME, while a majority works; without one: ninelives cluster restore.")
	}
	for _, z := range slices.Sorted(maps.Keys(s.Zones)) {
		p.line("Zone %s is in maintenance%s: %s (%s).", z, p.sinceText(s.Zones[z].At), words(s.Zones[z].Reason), s.Zones[z].By)
	}
	p.gap()
	p.openIncidents(s)
	p.gap()
	if s.Partial == "" || len(s.WaitingForYou) > 0 {
		p.waitingText(s.WaitingForYou)
	}
	if s.Partial == "" {
		p.fencingText(s.Fencing)
	}
	if n := s.Hosts.Unprotected; n > 0 {
		p.line("Unprotected: %s%s.", count(n, "host"), p.reasonsText(s.Hosts.Reasons))
	}
}

// hostsText counts hosts: those that are up first, then what is wrong with the others.
func (p *page) hostsText(s api.Status) string {
	h := s.Hosts
	if h.Total == 0 {
		return "no hosts are known yet"
	}
	parts := []string{count(h.Up, "host") + " up"}
	if down := h.ByVerdict[string(engine.Off)] + h.ByVerdict[string(engine.Dead)]; down > 0 {
		parts = append(parts, p.paint(red, fmt.Sprintf("%d down", down)+downText(s, down)))
	}
	if h.Suspect > 0 {
		parts = append(parts, p.paint(yellow, fmt.Sprintf("%d suspect", h.Suspect)))
	}
	for _, v := range []engine.Verdict{engine.Contradiction, engine.Rebooted, engine.Leaving, engine.Isolated, engine.Degraded, engine.Hung, engine.AgentDown} {
		if n := h.ByVerdict[string(v)]; n > 0 {
			parts = append(parts, p.paint(yellow, fmt.Sprintf("%d %s", n, v)))
		}
	}
	if n := h.ByVerdict["unknown"]; n > 0 {
		parts = append(parts, fmt.Sprintf("%d never seen", n))
	}
	if h.Maintenance > 0 {
		parts = append(parts, fmt.Sprintf("%d in maintenance", h.Maintenance))
	}
	return strings.Join(parts, ", ")
}

// downText says how many of the hosts that are down are being recovered, and how many wait.
func downText(s api.Status, down int) string {
	waits := map[string]bool{}
	for _, l := range s.Interlocks {
		waits[l.Incident] = true
	}
	going, held := 0, 0
	for _, i := range s.Incidents {
		switch down := i.Verdict == engine.Off || i.Verdict == engine.Dead || i.Verdict == engine.ByOperator; {
		case down && waits[i.ID] && i.Phase != engine.PhaseRecovered:
			held++
		case down && recovering(i.Phase):
			going++
		}
	}
	switch {
	case held > 0 && going > 0:
		return fmt.Sprintf(" (%d being recovered, %d held)", going, held)
	case held > 0 && held >= down:
		return " and held"
	case held > 0:
		return fmt.Sprintf(" (%d held)", held)
	case going > 0 && going < down:
		return fmt.Sprintf(" (%d being recovered)", going)
	case going > 0:
		return " and being recovered"
	}
	return ""
}

func recovering(ph engine.Phase) bool {
	switch ph {
	case engine.PhaseFencing, engine.PhaseTakingOut, engine.PhaseResurrecting, engine.PhaseInPlace:
		return true
	default:
		return false
	}
}

func (p *page) armedText(s engine.Switches) string {
	who := ""
	if s.By != "" {
		who = fmt.Sprintf(" by %s%s", words(s.By), p.sinceText(s.At))
	}
	if s.Reason != "" {
		who += ": " + words(strings.TrimSuffix(s.Reason, "."))
	}
	switch {
	case !s.Armed:
		return p.paint(red, "DISARMED"+who+".")
	case s.Shadow:
		return p.paint(yellow, "Armed in SHADOW MODE"+who+": nothing is done.")
	default:
		return "Armed."
	}
}

func (p *page) leaderText(s api.Status) string {
	of := fmt.Sprintf("%d of %s", s.Servers.Healthy, count(s.Servers.Of, "server"))
	switch {
	case s.Servers.Electing:
		return p.paint(yellow, fmt.Sprintf("No server leads yet: they are electing one (%s).", of))
	case !s.Servers.Quorum:
		return p.paint(red, fmt.Sprintf("NO QUORUM: %s.", cmp.Or(words(strings.TrimSuffix(s.Servers.Reason, ".")), of)))
	case s.Leader == "":
		return p.paint(red, fmt.Sprintf("No server leads (%s).", of))
	default:
		return fmt.Sprintf("%s leads (epoch %d), %s.", s.Leader, s.Epoch, of)
	}
}

func (p *page) openIncidents(s api.Status) {
	if len(s.Incidents) == 0 {
		if s.Partial == "" {
			p.line("No open incidents.")
		}
		return
	}
	var rows [][]string
	for _, i := range s.Incidents {
		rows = append(rows, []string{i.ID, i.Host, string(i.Verdict), p.ago(i.Since), i.Now, dash(i.Text)})
	}
	p.table("INCIDENT HOST VERDICT SINCE NOW VMS", rows)
	p.interlocks(s.Interlocks)
}

// interlocks says each reason once, with all the incidents that it holds.
func (p *page) interlocks(list []api.HeldBy) {
	held := map[string][]string{}
	for _, l := range list {
		held[l.Reason] = append(held[l.Reason], l.Incident)
	}
	for _, l := range list {
		ids := held[l.Reason]
		delete(held, l.Reason)
		switch len(ids) {
		case 0: // said already
		case 1:
			p.line("%s waits%s: %s", l.Incident, p.sinceText(l.Since), words(l.Reason))
		default:
			p.line("%s wait%s: %s", strings.Join(ids, ", "), p.sinceText(l.Since), words(l.Reason))
		}
	}
}

func (p *page) waitingText(items []string) {
	if len(items) == 0 {
		p.line("Waiting for you: nothing.")
		return
	}
	p.line("%s", p.paint(yellow, "Waiting for you:"))
	for _, item := range items {
		p.line("  %s", words(item))
	}
}

const troublesShown = 5

func (p *page) fencingText(f api.FencingStatus) {
	if f.Hosts == 0 {
		p.line("Fencing: no host is protected yet.")
		return
	}
	text := fmt.Sprintf("Fencing: %d of %s could be fenced now", f.Could, count(f.Hosts, "host"))
	if len(f.Troubles) == 0 {
		p.line("%s.", text)
		return
	}
	if len(f.Troubles) == 1 {
		t := f.Troubles[0]
		p.line("%s; %s: %s%s (ninelives fence show %s).", text, t.Host, words(t.Trouble), p.sinceText(t.Since), t.Host)
		return
	}
	p.line("%s:", text)
	for _, t := range f.Troubles[:min(troublesShown, len(f.Troubles))] {
		p.line("  %s: %s%s (ninelives fence show %s)", t.Host, words(t.Trouble), p.sinceText(t.Since), t.Host)
	}
	if more := len(f.Troubles) - troublesShown; more > 0 {
		p.line("  and %d more (ninelives fence list --trouble)", more)
	}
}

// reasonsText lists reasons, the commonest first.
func (p *page) reasonsText(reasons map[string]int) string {
	keys := slices.SortedFunc(maps.Keys(reasons), func(x, y string) int {
		return cmp.Or(cmp.Compare(reasons[y], reasons[x]), cmp.Compare(x, y))
	})
	if len(keys) == 0 {
		return ""
	}
	var parts []string
	for _, k := range keys {
		parts = append(parts, fmt.Sprintf("%s (%d)", words(strings.TrimSuffix(k, ".")), reasons[k]))
	}
	return ": " + some(parts, 3)
}

// sinceText is " since 02:11:04", or nothing.
func (p *page) sinceText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " since " + p.clock(t)
}

func in(address string) string {
	if address == "" {
		return ""
	}
	return " (" + address + ")"
}
