package engine

import (
	"fmt"
	"slices"
	"sort"
	"strings"

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
	groups map[string]bool // anti-affinity groups with a member under way
}

func (l *loads) add(target string, r *Recovery) {
	l.all++
	l.count[target]++
	l.memory[target] += r.VM.MemoryMB
	for _, g := range r.VM.Apart {
		l.groups[g] = true
	}
}

func (e *Engine) load() *loads {
	l := &loads{count: map[string]int{}, memory: map[string]int{}, groups: map[string]bool{}}
	for _, in := range e.open() {
		for _, r := range e.vms[in.ID] {
			if a := r.Open(); a != nil {
				l.add(either(a.To, a.Target), r)
			} else if r.To != "" && (r.State == Verifying || r.State == Recovered) && r.To != in.Host {
				l.memory[r.To] += r.VM.MemoryMB // the inventory's free figures are older than this
			}
		}
	}
	return l
}

// target chooses a named destination: Nova's own scheduler piles VMs up on one host. It still validates our choice.
// Only after Nova's final refusal of a named one is the choice left to it, and never for a VM whose disk only some
// hosts can see: Nova would rebuild it from its image without a word.
func (e *Engine) target(in *Incident, r *Recovery, l *loads) (string, placement, string) {
	for _, g := range r.VM.Apart {
		if l.groups[g] {
			return "", placeWait, ""
		}
	}
	if last := lastAttempt(r); last != nil && last.Why == "never reached Nova" && e.mayTake(in, r, last.Target) {
		return last.Target, placeAt, "the same target as the unanswered request"
	}
	bound := r.VM.ImageBooted && !r.Rebuild
	stores := e.host(in.Host).report.Stores
	from := e.host(in.Host).facts.Aggregates
	var fit, seeing []string
	for name, h := range e.hosts {
		if !e.mayTake(in, r, name) {
			continue
		}
		if bound && !e.shares(from, stores, h) {
			continue
		}
		seeing = append(seeing, name)
		if !refusedBefore(r, name) && h.facts.FreeMB-l.memory[name] >= r.VM.MemoryMB {
			fit = append(fit, name)
		}
	}
	if len(seeing) == 0 && bound {
		if len(stores) == 0 {
			return "", placeHeld, "no host sees its disk: " + in.Host + "'s agent never said which store it lies in"
		}
		return "", placeHeld, fmt.Sprintf("no host sees its disk (store %s of %s)", strings.Join(stores, ", "), in.Host)
	}
	if len(fit) == 0 {
		if bound || len(seeing) == 0 {
			return "", placeHeld, "no living host can take it: none in its zone has room for " + fmt.Sprint(r.VM.MemoryMB) + " MiB"
		}
		if l.count[""] >= e.cfg.PerTarget {
			return "", placeWait, ""
		}
		return "", placeAt, "Nova refused the named targets; its scheduler chooses"
	}
	e.spread(fit, l)
	if best := fit[0]; l.count[best] < e.cfg.PerTarget {
		return best, placeAt, fmt.Sprintf("most room of %d fit hosts", len(fit))
	}
	return "", placeWait, ""
}

// shares reports whether a host sees the dead host's instances store: shared is a relation of the two.
func (e *Engine) shares(from, stores []string, to *host) bool {
	switch e.policy.Sharing(from, to.facts.Aggregates) {
	case policy.Shared:
		return true
	case policy.Detect:
		return slices.ContainsFunc(stores, func(s string) bool { return to.sees(e.now, s) })
	default:
		return false
	}
}

// spread orders destinations: fewest under way first, then most memory left, then name.
func (e *Engine) spread(names []string, l *loads) {
	sort.Slice(names, func(i, j int) bool {
		a, b := names[i], names[j]
		if l.count[a] != l.count[b] {
			return l.count[a] < l.count[b]
		}
		fa, fb := e.host(a).facts.FreeMB-l.memory[a], e.host(b).facts.FreeMB-l.memory[b]
		if fa != fb {
			return fa > fb
		}
		return a < b
	})
}

// mayTake reports whether a host is a possible destination at all.
func (e *Engine) mayTake(in *Incident, r *Recovery, name string) bool {
	h, ok := e.hosts[name]
	if !ok || name == in.Host || !h.steady() {
		return false
	}
	if o := e.incidentOf(name); o != nil && o.Phase != PhaseAlert {
		return false
	}
	if zone := r.VM.Facts.Zone; zone != "" && h.facts.Zone != "" && zone != h.facts.Zone {
		return false
	}
	if _, resting := e.zones[h.facts.Zone]; resting {
		return false
	}
	return !e.holdsMember(name, r)
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
	for _, in := range e.open() {
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

// refusedBefore reports whether Nova finally refused this destination for this VM, or the evacuation to it failed.
func refusedBefore(r *Recovery, name string) bool {
	return slices.ContainsFunc(r.Attempts, func(a Attempt) bool {
		return a.Target == name && (a.Answer == Refused || a.Status == "failed" || a.Status == "error")
	})
}
