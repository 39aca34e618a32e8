package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/planted"
)

const (
	stormWindow = 60 * time.Second // a host counts while it is suspect or worse, and for so long after
	perVia      = 3                // readings through one controller address are one witness
)

// stormNoted is how much younger than its record the last moment of a storm may be: a storm that lasts isn't written anew
// at every step.
const stormNoted = 5 * time.Second

// stormRecord keeps a storm's cool-down through a change of the leader.
type stormRecord struct {
	Last time.Time `json:"last"` // the storm may have held until then
}

// stormy counts the hosts in trouble against those that could be seen, per zone and for the whole cloud. When many
// fail at once the likeliest cause is the network or ourselves, and fencing them all would be the disaster. The few
// whose BMC reads off need not wait for the others, nor for the cool-down: that is positive evidence.
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
		if e.stormKept.Before(e.now) {
			e.stormKept = e.now.Add(stormNoted)
			e.dirty["switches/storm"] = true
		}
	}
	end := e.storm.Add(e.policy.StormCooldown())
	if why == "" && !e.storm.IsZero() && e.now.Before(end) {
		why = "cooling down after a storm, until " + clock(end)
	}
	if why != "" && e.exempt(in) {
		return ""
	}
	return why
}

// exempt reports whether the incident's host is one of those whose BMC reads off and that no storm holds back.
func (e *Engine) exempt(in *Incident) bool {
	c := e.countStorm()
	return c[""].exempts(in.Host) && (in.Zone == "" || c[in.Zone].exempts(in.Host))
}

// stormCount is what one pass over all hosts finds in a zone ("" for the whole cloud).
type stormCount struct {
	seen     int
	allowed  int
	troubled []string
	off      []*host // positive evidence
	exempt   []string
}

func (c *stormCount) exempts(host string) bool { return c != nil && slices.Contains(c.exempt, host) }

// settle parts the hosts that read off: exempt, up to the same limit and at most three through one controller address,
// or in trouble like the others. Who was first stays first, and who is fenced goes on being counted until it is back:
// else each fence would let the next host through. So never more of them are down at our hand than the limit, and where
// readings lie, it is seen on the first ones.
func (c *stormCount) settle(percent int) {
	c.allowed = max(1, percent*c.seen/100)
	since := func(h *host) time.Time {
		if !h.cleared.IsZero() && !h.cleared.Before(h.troubled) {
			return zeroTime
		}
		return h.now.Since
	}
	slices.SortFunc(c.off, func(a, b *host) int {
		return cmp.Or(since(a).Compare(since(b)), strings.Compare(a.facts.Name, b.facts.Name))
	})
	vias := map[string]int{}
	for _, h := range c.off {
		if len(c.exempt) < c.allowed && vias[h.now.Via] < perVia {
			vias[h.now.Via]++
			c.exempt = append(c.exempt, h.facts.Name)
			continue
		}
		c.troubled = append(c.troubled, h.facts.Name)
	}
	slices.Sort(c.troubled)
}

// countStorm is counted anew when a host's part in it has changed, or when time has taken one out of the window: with
// 10,000 hosts, and 1,000 incidents that ask at each of their events, counting at each step was most of the loop's time.
func (e *Engine) countStorm() map[string]*stormCount {
	if e.counted != nil && !e.recount && e.now.Before(e.countedUntil) {
		return e.counted
	}
	e.counted, e.countedUntil, e.recount = map[string]*stormCount{"": {}}, e.now.Add(stormWindow), false
	all := e.counted[""]
	for name, h := range e.hosts {
		if h.maintenance != nil || !h.lived {
			continue
		}
		in := e.inTrouble(h) && !(planted.StormSuspects && (h.now.Suspect || !h.bad()))
		all.take(name, h, in)
		if zone := h.facts.Zone; zone != "" {
			if e.counted[zone] == nil {
				e.counted[zone] = &stormCount{}
			}
			e.counted[zone].take(name, h, in)
		}
		for _, from := range [...]time.Time{h.troubled, h.cleared} {
			if leaves := from.Add(stormWindow); leaves.After(e.now) && leaves.Before(e.countedUntil) {
				e.countedUntil = leaves
			}
		}
	}
	for _, c := range e.counted {
		c.settle(e.policy.StormPercent())
	}
	return e.counted
}

func (c *stormCount) take(name string, h *host, inTrouble bool) {
	c.seen++
	switch {
	case !inTrouble:
	case h.now.Verdict == Off:
		c.off = append(c.off, h)
	default:
		c.troubled = append(c.troubled, name)
	}
}

// stormIn says that there is a storm in a zone, "" if there is none.
func (e *Engine) stormIn(zone string) string {
	c := e.countStorm()[zone]
	if c == nil {
		return ""
	}
	if len(c.troubled) <= c.allowed {
		return ""
	}
	where := "of the cloud"
	if zone != "" {
		where = "of zone " + zone
	}
	exempt := ""
	if n := len(c.exempt); n > 0 {
		exempt = fmt.Sprintf(", besides %d whose BMC reads off", n)
	}
	return fmt.Sprintf("storm: %d of %d hosts %s are suspect or worse now or were within 60 s, %d may be (%s)%s%s; "+
		"a host that you know to be dead needn't wait: ninelives host fence HOST --reason …",
		len(c.troubled), c.seen, where, c.allowed, some(c.troubled), exempt, e.sharedCause(c.troubled))
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
