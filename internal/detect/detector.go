package detect

import (
	"container/heap"
	"time"
)

// Detector holds what one server knows of all hosts. Make one with New.
type Detector struct {
	times Times
	hosts map[string]*host
	timer timers
	batch []*host // scratch of tick

	doubt

	seen     map[string]int // by zone
	verdicts map[Verdict]int
	suspects int
	watched  map[*host]struct{} // hosts for Wanted
	trouble  map[*host]struct{} // hosts for Snapshot.Troubled
}

// New makes a Detector that knows no host. The times come from Derive.
func New(t Times) *Detector {
	return &Detector{
		times: t, hosts: map[string]*host{}, seen: map[string]int{}, verdicts: map[Verdict]int{},
		watched: map[*host]struct{}{}, trouble: map[*host]struct{}{},
	}
}

// Times returns the safety times in force.
func (d *Detector) Times() Times { return d.times }

// Due returns when the next timer needs a Tick; zero when there is none. A Tick may find nothing to do: timers are
// moved on only when they fire.
func (d *Detector) Due() time.Time {
	if len(d.timer) == 0 {
		return time.Time{}
	}
	return d.timer[0].due
}

// Step takes in one observation made at now and returns what changed. Times must not go backwards.
// The pulse of a healthy host allocates nothing and costs no more than finding the host.
func (d *Detector) Step(now time.Time, o Observation) []Change {
	switch o := o.(type) {
	case Pulse:
		return d.onPulse(now, o)
	case Tick:
		return d.tick(now)
	case HostKnown:
		return d.onKnown(now, o)
	case HostForgotten:
		d.forget(o.Host)
		return nil
	case Late:
		d.late(now, o.By)
		return nil
	case RelayLost:
		d.relayLost = now
		return nil
	case Takeover:
		return d.takeover(now)
	case StreamLost:
		return d.with(now, o.Host, func(h *host) { d.onStreamLost(now, h, o) })
	case Goodbye:
		return d.with(now, o.Host, func(h *host) { d.onGoodbye(now, h, o) })
	case Probe:
		return d.with(now, o.Host, func(h *host) { d.onProbe(now, h, o) })
	case Power:
		return d.with(now, o.Host, func(h *host) { d.onPower(now, h, o) })
	case Service:
		return d.with(now, o.Host, func(h *host) { d.onService(now, h, o) })
	case Cleared:
		return d.with(now, o.Host, func(h *host) { h.clear(o.Device) })
	}
	return nil
}

// with applies an observation to a known host and settles it; unknown hosts are ignored.
func (d *Detector) with(now time.Time, name string, apply func(*host)) []Change {
	h := d.hosts[name]
	if h == nil {
		return nil
	}
	apply(h)
	return d.settle(now, h, nil)
}

func (d *Detector) onKnown(now time.Time, k HostKnown) []Change {
	h := d.hosts[k.Host]
	if h == nil {
		h = &host{heapAt: -1, since: now}
		d.hosts[k.Host] = h
		d.verdicts[Unknown]++
	}
	d.countSeen(h, -1)
	if k.Protected && !h.Protected {
		h.heard = false // it was nobody's business when it last pulsed: wait for a new one
	}
	h.introduce(k)
	d.countSeen(h, +1)
	d.await(now, h)
	return d.settle(now, h, nil)
}

func (d *Detector) forget(name string) {
	h := d.hosts[name]
	if h == nil {
		return
	}
	d.countSeen(h, -1)
	d.verdicts[h.verdict]--
	if h.suspect {
		d.suspects--
	}
	d.schedule(h, time.Time{})
	delete(d.watched, h)
	delete(d.trouble, h)
	delete(d.hosts, name)
}

// countSeen keeps the number of seen hosts of the host's zone.
func (d *Detector) countSeen(h *host, by int) {
	if !h.seen || !h.Protected {
		return
	}
	d.total += by
	if d.seen[h.Zone] += by; d.seen[h.Zone] == 0 {
		delete(d.seen, h.Zone)
	}
}

// tick fires the timers that are due: first everybody's silence is noted, then everybody is judged, so that the
// first of many silent hosts is already judged in the light of all.
func (d *Detector) tick(now time.Time) []Change {
	d.batch = d.batch[:0]
	for len(d.timer) > 0 && !d.timer[0].due.After(now) {
		h := d.timer[0]
		d.schedule(h, time.Time{})
		d.wake(now, h)
		d.batch = append(d.batch, h)
	}
	var changes []Change
	for _, h := range d.batch {
		changes = d.settle(now, h, changes)
	}
	return changes
}

// wake notes a silence that has grown long enough.
func (d *Detector) wake(now time.Time, h *host) {
	switch {
	case h.silent || !h.Protected:
	case h.heard && d.silence(now, h.pulse) >= d.stretched(now, d.times.Suspect),
		!h.awaited.IsZero() && (!now.Before(d.missedFrom(now, h)) || d.backAgain(now)):
		d.fallSilent(now, h, "")
	}
}

// schedule sets the host's timer; zero takes it out of the heap.
func (d *Detector) schedule(h *host, due time.Time) {
	h.due = due
	switch {
	case due.IsZero() && h.heapAt >= 0:
		heap.Remove(&d.timer, h.heapAt)
	case due.IsZero():
	case h.heapAt >= 0:
		heap.Fix(&d.timer, h.heapAt)
	default:
		heap.Push(&d.timer, h)
	}
}

// timers is a heap of hosts by due time, then by name so that a replay gives the same order.
type timers []*host

func (t timers) Len() int { return len(t) }
func (t timers) Less(i, j int) bool {
	if t[i].due.Equal(t[j].due) {
		return t[i].Host < t[j].Host
	}
	return t[i].due.Before(t[j].due)
}
func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].heapAt, t[j].heapAt = i, j
}

// Push implements heap.Interface.
func (t *timers) Push(x any) {
	h := x.(*host)
	h.heapAt = len(*t)
	*t = append(*t, h)
}

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	last := len(*t) - 1
	h := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	h.heapAt = -1
	return h
}
