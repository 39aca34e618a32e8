package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	stormWindow = 60 * time.Second // DESIGN §5: suspect or worse now and in the last 60 s
	perVia      = 3                // readings through one controller address are one witness
)

// stormy counts the hosts in trouble against those that could be seen, per zone and for the whole cloud. When many
// fail at once the likeliest cause is the network or ourselves, and fencing them all would be the disaster.
func (e *Engine) stormy(in *Incident) string {
	if in.Verdict == ByOperator {
		return ""
	}
	why := e.stormIn("")
	if why == "" && in.Zone != "" {
		why = e.stormIn(in.Zone)
	}
	if why != "" {
		e.storm = e.now
		return why
	}
	if end := e.storm.Add(e.policy.StormCooldown()); !e.storm.IsZero() && e.now.Before(end) {
		return "cooling down after a storm, until " + clock(end)
	}
	return ""
}

// stormCount is what one pass over all hosts finds in a zone ("" for the whole cloud).
type stormCount struct {
	seen     int
	troubled []string
	off      []*host // positive evidence
}

func (e *Engine) countStorm() map[string]*stormCount {
	if e.counted != nil {
		return e.counted
	}
	e.counted = map[string]*stormCount{"": {}}
	for name, h := range e.hosts {
		if h.maintenance != nil || !h.lived {
			continue
		}
		if e.counted[h.facts.Zone] == nil {
			e.counted[h.facts.Zone] = &stormCount{}
		}
		zones := []*stormCount{e.counted[""], e.counted[h.facts.Zone]}
		if h.facts.Zone == "" {
			zones = zones[:1]
		}
		for _, c := range zones {
			c.seen++
			switch {
			case !e.inTrouble(h):
			case h.now.Verdict == Off:
				c.off = append(c.off, h)
			default:
				c.troubled = append(c.troubled, name)
			}
		}
	}
	return e.counted
}

// stormIn says that there is a storm in a zone, "" if there is none. Hosts whose BMC reads off are exempt, up to the
// same limit and at most three through one controller address.
func (e *Engine) stormIn(zone string) string {
	c := e.countStorm()[zone]
	if c == nil {
		return ""
	}
	allowed := max(1, e.policy.StormPercent()*c.seen/100)
	troubled := slices.Clone(c.troubled)
	off, vias := 0, map[string]int{}
	slices.SortFunc(c.off, func(a, b *host) int { return strings.Compare(a.facts.Name, b.facts.Name) })
	for _, h := range c.off {
		if off < allowed && vias[h.now.Via] < perVia {
			off++
			vias[h.now.Via]++
			continue
		}
		troubled = append(troubled, h.facts.Name)
	}
	if len(troubled) <= allowed {
		return ""
	}
	slices.Sort(troubled)
	where := "of the cloud"
	if zone != "" {
		where = "of zone " + zone
	}
	exempt := ""
	if off > 0 {
		exempt = fmt.Sprintf(", besides %d whose BMC reads off", off)
	}
	return fmt.Sprintf("storm: %d of %d hosts %s are suspect or worse now or were within 60 s, %d may be (%s)%s%s; "+
		"a host that you know to be dead needn't wait: ninelives host fence HOST --reason …",
		len(troubled), c.seen, where, allowed, some(troubled), exempt, e.sharedCause(troubled))
}

// inTrouble: suspect or worse now or within the window; one whose proof is on record is no unknown any more, and counts
// for the rest of the window only.
func (e *Engine) inTrouble(h *host) bool {
	if !h.cleared.IsZero() && !h.cleared.Before(h.troubled) {
		return e.now.Sub(h.cleared) < stormWindow
	}
	return h.bad() || !h.troubled.IsZero() && e.now.Sub(h.troubled) < stormWindow
}

// sharedCause names what the hosts in trouble have in common, by the labels of their agents.
func (e *Engine) sharedCause(names []string) string {
	var common []string
	for _, label := range []string{"rack", "pdu", "switch"} {
		value := e.host(names[0]).facts.Labels[label]
		if value == "" {
			continue
		}
		if !slices.ContainsFunc(names, func(n string) bool { return e.host(n).facts.Labels[label] != value }) {
			common = append(common, label+" "+value)
		}
	}
	if len(common) == 0 {
		return ""
	}
	return "; they share " + strings.Join(common, ", ")
}

func some(names []string) string {
	if len(names) > 6 {
		return strings.Join(names[:6], ", ") + fmt.Sprintf(" and %d more", len(names)-6)
	}
	return strings.Join(names, ", ")
}
