package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// placement is what came of looking for a destination.
type placement int

const (
	placeAt   placement = iota // send it to the target given; "" is the scheduler's choice
	placeWait                  // every fit destination is busy: its turn comes
	placeHeld                  // nowhere fits, for the reason given
)

// loads counts unresolved evacuations and what they will take, over all incidents.
type loads struct {
	all    int
	count  map[string]int
	memory map[string]int
	groups map[string]bool        // anti-affinity groups with a member under way
	failed map[string]int         // target and kind of VM → evacuations that came to nothing
	toward map[string][]*Recovery // target → VMs under way to it
}

// kind is what VMs have in common that decides where Nova's scheduler lets them go; "" if it isn't known.
func (r *Recovery) kind() string {
	if r.VM.Facts.Flavor == "" {
		return ""
	}
	return r.VM.Facts.Flavor + " " + r.VM.hypervisor()
}

// failedLike counts the evacuations of such VMs that this target refused, or that failed there: what Nova said of one
// it will say of the next.
func (l *loads) failedLike(target string, r *Recovery) int { return l.failed[target+" "+r.kind()] }

func (l *loads) add(target string, r *Recovery) {
	l.all++
	l.count[target]++
	l.memory[target] += r.VM.MemoryMB
	l.toward[target] = append(l.toward[target], r)
	for _, g := range r.VM.Apart {
		l.groups[g] = true
	}
}

// placedLately is how long a VM that arrived somewhere is missing from the inventory's free figures.
const placedLately = 2 * time.Minute

// load is made once in a step and kept up by add: what ends within the step frees its place at the next one.
func (e *Engine) load() *loads {
	if e.loads != nil {
		return e.loads
	}
	l := &loads{count: map[string]int{}, memory: map[string]int{}, groups: map[string]bool{}, failed: map[string]int{}, toward: map[string][]*Recovery{}}
	for _, in := range e.open {
		for _, r := range e.vms[in.ID] {
			for _, a := range r.Attempts {
				if a.failed() && r.kind() != "" {
					l.failed[a.Target+" "+r.kind()]++
				}
			}
			if a := r.Open(); a != nil {
				l.add(either(a.To, a.Target), r)
			} else if r.To != "" && r.To != in.Host && !r.Done.IsZero() && e.now.Sub(r.Done) < placedLately {
				l.memory[r.To] += r.VM.MemoryMB
			}
		}
	}
	e.loads = l
	return l
}

// whyAnew: a rule of the operator's allows what Nova would do without a word.
const whyAnew = "no host sees its disk; Nova makes it anew from its image, as the rule allows: what was on it is lost"

// target chooses a named destination: Nova's own scheduler piles VMs up on one host. It still validates our choice.
// Only after Nova's final refusal of all named ones is the choice left to it, and never for a VM whose disk only some
// hosts can see: Nova would rebuild it from its image without a word.
func (e *Engine) target(in *Incident, r *Recovery, l *loads) (string, placement, string) {
	if slices.ContainsFunc(r.VM.Apart, func(g string) bool { return l.groups[g] }) {
		return "", placeWait, ""
	}
	if last := lastAttempt(r); last != nil && last.Lost && (last.Target == "" || e.takesNow(in, r, last.Target)) {
		return last.Target, placeAt, "the same target as the unanswered request"
	}
	var able, seeing []*host
	for _, h := range e.targets() {
		if e.mayTake(in, r, h) {
			able = append(able, h)
			if r.VM.ImageBooted && e.shares(in, h) {
				seeing = append(seeing, h)
			}
		}
	}
	bound := r.VM.ImageBooted && (len(seeing) > 0 || !r.Rebuild)
	switch {
	case len(able) == 0:
		return "", placeHeld, "no living host can take it now"
	case bound && len(seeing) == 0:
		return "", placeHeld, "no host sees its disk: " + e.storeInWords(in)
	case bound:
		able = seeing
	}
	best := slices.MinFunc(able, func(a, b *host) int { return e.better(r, l, a, b) })
	name := best.facts.Name
	tried := refusals(r, name)
	if bySelf := refusals(r, ""); !bound && (tried > bySelf || refused(r) >= 3*(bySelf+1)) {
		name, tried = "", bySelf
	}
	if l.count[name] >= e.cfg.PerTarget {
		return "", placeWait, ""
	}
	switch {
	case r.VM.ImageBooted && !bound:
		return name, placeAt, whyAnew
	case name == "":
		return "", placeAt, "Nova refused the named targets; its scheduler chooses"
	case tried > 0:
		return name, placeAt, "once more: every fit host has refused it"
	}
	return name, placeAt, fmt.Sprintf("most room of %d fit hosts", len(able))
}

// better orders destinations: refused least often, of the hypervisor that its image asks for, refused least often to VMs
// of its kind, not full, fewest under way, most memory left, name. One without room by our figures comes last but is
// tried: Nova counts overcommitment, we don't. So does one of another hypervisor: Nova's filters may be set otherwise.
func (e *Engine) better(r *Recovery, l *loads, a, b *host) int {
	left := func(h *host) int { return h.facts.FreeMB - l.memory[h.facts.Name] }
	no := func(yes bool) int {
		if yes {
			return 1
		}
		return 0
	}
	an, bn := a.facts.Name, b.facts.Name
	return cmp.Or(
		refusals(r, an)-refusals(r, bn),
		no(!r.VM.runsOn(a))-no(!r.VM.runsOn(b)),
		l.failedLike(an, r)-l.failedLike(bn, r),
		no(left(a) < r.VM.MemoryMB)-no(left(b) < r.VM.MemoryMB),
		no(l.count[an] >= e.cfg.PerTarget)-no(l.count[bn] >= e.cfg.PerTarget),
		l.count[an]-l.count[bn], left(b)-left(a), strings.Compare(an, bn),
	)
}

// targets are the hosts that may take VMs now; found once in a step.
func (e *Engine) targets() []*host {
	if e.steady == nil {
		e.steady = []*host{}
		for name, h := range e.hosts {
			_, resting := e.zones[h.facts.Zone]
			if in := e.incidentOf(name); h.steadily() && !resting && (in == nil || in.Phase == PhaseAlert) {
				e.steady = append(e.steady, h)
			}
		}
	}
	return e.steady
}

func (e *Engine) storeInWords(in *Incident) string {
	stores := e.host(in.Host).report.Stores
	if len(stores) == 0 {
		return in.Host + "'s agent never said which store it lies in"
	}
	return fmt.Sprintf("store %s of %s", strings.Join(stores, ", "), in.Host)
}

// shares reports whether a host sees the dead host's instances store: shared is a relation of the two.
func (e *Engine) shares(in *Incident, to *host) bool {
	from := e.host(in.Host)
	switch e.policy.Sharing(from.facts.Aggregates, to.facts.Aggregates) {
	case policy.Shared:
		return true
	case policy.Detect:
		return slices.ContainsFunc(from.report.Stores, func(s string) bool { return to.sees(e.now, s) })
	default:
		return false
	}
}

// takesNow reports whether a host, by name, is a possible destination now.
func (e *Engine) takesNow(in *Incident, r *Recovery, name string) bool {
	h := e.hosts[name]
	return h != nil && slices.Contains(e.targets(), h) && e.mayTake(in, r, h)
}

// mayTake reports whether a host is a possible destination of a VM.
func (e *Engine) mayTake(in *Incident, r *Recovery, h *host) bool {
	if h.facts.Name == in.Host {
		return false
	}
	if zone := r.VM.Facts.Zone; zone != "" && h.facts.Zone != "" && zone != h.facts.Zone {
		return false
	}
	return !h.mayRefuse(r.VM.ID) && !e.holdsMember(h.facts.Name, r)
}

// holdsMember reports whether the host runs another member of one of the VM's anti-affinity groups.
func (e *Engine) holdsMember(name string, r *Recovery) bool {
	if len(r.VM.Apart) == 0 {
		return false
	}
	shares := func(v VM) bool {
		return v.ID != r.VM.ID && slices.ContainsFunc(v.Apart, func(g string) bool { return slices.Contains(r.VM.Apart, g) })
	}
	if slices.ContainsFunc(e.hosts[name].vms, shares) {
		return true
	}
	for _, in := range e.open {
		for _, o := range e.vms[in.ID] {
			if o.To == name && shares(o.VM) {
				return true
			}
		}
	}
	return false
}

func lastAttempt(r *Recovery) *Attempt {
	if len(r.Attempts) == 0 {
		return nil
	}
	return &r.Attempts[len(r.Attempts)-1]
}

// refused counts Nova's final refusals of named targets, and evacuations to them that failed.
func refused(r *Recovery) int {
	n := 0
	for _, a := range r.Attempts {
		if a.Target != "" && a.failed() {
			n++
		}
	}
	return n
}

func (a Attempt) failed() bool {
	return a.Answer == Refused || a.Status == "failed" || a.Status == "error"
}

// refusals counts how often Nova finally refused this destination for this VM, or the evacuation to it failed.
func refusals(r *Recovery, name string) int {
	n := 0
	for _, a := range r.Attempts {
		if a.Target == name && a.failed() {
			n++
		}
	}
	return n
}
