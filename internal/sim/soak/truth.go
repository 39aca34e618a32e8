package soak

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// truth compares what really happens with what was promised. It sees everything: the world, the records, the servers'
// deeds as they leave.
type truth struct {
	c           *cluster
	found       []string             // violations
	doubles     int                  // that were seen already
	trouble     map[string]time.Time // host → when it last was not entirely well
	disarmed    time.Time            // when an operator was told that nothing is sent any more; zero: armed
	spared      map[string]time.Time // host → the same of its maintenance
	silent      map[string]time.Time // host → since when it says nothing
	off         map[string]time.Time // host → when it last had no power
	byOther     map[string]time.Time // VM → when somebody else evacuated it
	crossed     map[string]bool      // VMs that somebody else evacuated while we did
	disabled    map[string]bool      // hosts whose service an operator disabled
	disabledAt  map[string]time.Time
	overwritten map[string]bool // hosts whose operator's reason was replaced by a take-out: one that a proxy delivered late, or that crossed it
	forced      map[string]bool // hosts that an operator forced down
	sends       int
	slowest     time.Duration // Nova's answers, while it was at its slowest
	lostOrders  bool          // Nova was made to begin evacuations and forget them: nobody but an operator can end those
	bounds

	readIncidents  map[string]once[engine.Incident]
	readRecoveries map[string]once[engine.Recovery]
}

func newTruth(c *cluster) *truth {
	return &truth{
		c: c, trouble: map[string]time.Time{}, spared: map[string]time.Time{}, silent: map[string]time.Time{}, off: map[string]time.Time{}, byOther: map[string]time.Time{}, crossed: map[string]bool{},
		disabled: map[string]bool{}, disabledAt: map[string]time.Time{}, overwritten: map[string]bool{},
		forced: map[string]bool{}, bounds: bounds{queued: map[string]time.Time{}, seen: map[world.Plane]time.Time{}},
		readIncidents: map[string]once[engine.Incident]{}, readRecoveries: map[string]once[engine.Recovery]{},
	}
}

func (t *truth) fail(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	t.found = append(t.found, line)
	t.c.note("VIOLATION: %s", line)
}

// step is looked at after each step.
func (t *truth) step() {
	if d := t.c.w.DoubleRuns(); len(d) > t.doubles {
		for _, d := range d[t.doubles:] {
			if t.crossed[d.VM] {
				t.c.note("%s ran twice: somebody else evacuated it in the same moment, which nobody may", t.c.vm(d.VM))
				continue
			}
			t.fail("S1: %s %s", t.c.vm(d.VM), d)
		}
		t.doubles = len(d)
	}
	for _, name := range t.c.hosts {
		h := t.c.w.Host(name)
		if !t.well(h) {
			t.trouble[name] = t.c.w.Now()
		}
		if !h.On {
			t.off[name] = t.c.w.Now()
		}
		switch speaks := h.AgentRuns() && h.CanReach(world.Management); {
		case speaks:
			delete(t.silent, name)
		case t.silent[name].IsZero():
			t.silent[name] = t.c.w.Now()
		}
	}
}

// well: the host is as every server should see it.
func (t *truth) well(h *world.Host) bool {
	if !h.AgentRuns() {
		return false
	}
	for _, p := range world.Planes() {
		if !h.CanReach(p) {
			return false
		}
	}
	if len(t.c.blocked) == 0 {
		return true
	}
	heard := 0
	for _, s := range t.c.names {
		if t.c.open(h.Name, s) && t.c.open(s, h.Name) {
			heard++
		}
	}
	return heard > 0
}

// calm is how long a host must have been well for a fence of it to be a crime: a fence that was decided before takes a
// BMC's time to be sent.
const calm = 10 * time.Second

// sent is told of every dangerous act as it leaves a server.
func (t *truth) sent(l *life, a act, permitted time.Time) {
	t.sends++
	if leader, _ := t.c.quorum.mem.Leader(); leader != "" && leader != l.name && permitted.After(t.c.electedAt) {
		t.fail("S2: %s sent %s, permitted %s after %s was elected", l, a, permitted.Sub(t.c.electedAt), leader)
	}
	grace := time.Duration(0)
	if t.c.leader() != l {
		grace = permitFor
	}
	if !t.disarmed.IsZero() && permitted.Sub(t.disarmed) > grace {
		t.fail("S4: %s sent %s, %s after an operator was told that it is disarmed", l, a, permitted.Sub(t.disarmed))
	}
	host := a.host
	if a.vm != "" {
		host = ""
	}
	if since, spared := t.spared[host]; spared && permitted.Sub(since) > grace {
		t.fail("S4: %s sent %s, %s after %s went into maintenance", l, a, permitted.Sub(since), host)
	}
	if why := t.unrecorded(a, permitted); why != "" {
		t.fail("S5: %s sent %s, and %s", l, a, why)
	}
	switch a.do {
	case engine.Fence:
		t.fencing(l, a)
	case engine.TakeOut:
		t.disabledSinceItLooked(a)
	case engine.PutBack:
		t.disabledSinceItLooked(a)
		t.takingBack(l, a.host)
	}
}

// lookAhead is how long before a take-out or a put-back its service was read by a Nova in order: Nova has no write that
// depends on what was read, so that an operator's word in between is lost.
const lookAhead = 150 * time.Millisecond

func (t *truth) disabledSinceItLooked(a act) {
	if !t.disabled[a.host] || time.Since(t.disabledAt[a.host]) >= lookAhead+t.slowest {
		return
	}
	if a.do == engine.TakeOut || a.enable {
		delete(t.disabled, a.host)
		t.overwritten[a.host] = a.do == engine.TakeOut
	}
}

// late is told of what a proxy delivers long after it was sent, or once more.
func (t *truth) late(a act) {
	switch {
	case !t.disabled[a.host]:
	case a.do == engine.TakeOut:
		t.overwritten[a.host] = true
	case a.do == engine.PutBack && a.enable:
		delete(t.disabled, a.host)
	}
}

// fencing is told of every off. The machine is the one that the controller really switches.
func (t *truth) fencing(l *life, a act) {
	host, machine := a.host, t.c.w.Host(a.machine)
	quiet := t.c.w.Now().Sub(t.trouble[machine.Name])
	if t.well(machine) && quiet > calm && !machine.GateClosed { // none of its VMs runs on a host behind its gate
		t.fail("S2: %s sent off to %s, which was well for %s", l, machine.Name, quiet.Round(time.Millisecond))
	}
	incidents, proved := t.incidents(), map[string]bool{}
	for _, in := range incidents {
		exempt := in.Proof != nil || in.Phase == engine.PhaseFencing && in.Verdict == engine.Off // it read off when its fence began
		proved[in.Host] = proved[in.Host] || in.Phase != engine.PhaseClosed && exempt
	}
	silent := 0
	for _, name := range t.c.hosts {
		if _, spared := t.spared[name]; spared {
			continue // a host in maintenance is in nobody's count
		}
		// Those whose power is off read off, and few of them are exempt; so are those that were.
		now, since := t.c.w.Now(), t.silent[name]
		if t.off[name].Before(now.Add(-powerEvery)) && !proved[name] && !since.IsZero() && now.Sub(since) > surely {
			silent++
		}
	}
	for _, in := range incidents {
		if in.Host != host || in.Phase != engine.PhaseFencing || in.Verdict != engine.Dead || in.Proof != nil {
			continue
		}
		t.witnessed(l, in)
		if silent > max(1, len(t.c.hosts)*30/100) {
			t.fail("S2: %s sent off to %s, which is only silent, while %d of %d hosts are", l, host, silent, len(t.c.hosts))
		}
	}
}

// beingFenced: somebody is about to use the devices of one of the hosts.
func (t *truth) beingFenced(hosts ...string) bool {
	return slices.ContainsFunc(t.incidents(), func(in engine.Incident) bool {
		return (in.Phase == engine.PhaseFencing || in.Return.PowerOn && in.Return.Powered.IsZero()) && slices.Contains(hosts, in.Host)
	})
}

// surely is how long a host must have been silent for every server to suspect it.
const surely = 3 * time.Second

// powerEvery is how often the power of a host that is silent for long is read, and how long that takes: it may be on again
// for so long, and nobody knows.
const powerEvery = 6 * time.Second

// takingBack is told of every request to un-force a host.
func (t *truth) takingBack(l *life, host string) {
	page, _, _ := t.c.w.Migrations(world.MigrationQuery{Source: host, Type: "evacuation"})
	for _, m := range page {
		if v := t.c.w.VM(m.VM); v == nil || v.Host != host || !m.Open() || m.Unused || m.User != novaUser {
			continue
		}
		if d := t.c.w.Host(m.Dest); d == nil || d.On && d.Kernel && !d.BootedAt.After(m.Created) {
			t.fail("S1: %s takes %s back while migration %d of %s to %q is %s", l, host, m.ID, t.c.vm(m.VM), m.Dest, m.Status)
		}
	}
}

// unrecorded says why no record stood for an act when it was permitted; "" if one did.
func (t *truth) unrecorded(a act, permitted time.Time) string {
	for _, in := range t.incidents() {
		if in.Phase == engine.PhaseClosed && !in.Stages.Closed.After(permitted) {
			continue
		}
		switch a.do {
		case engine.Fence:
			if in.Host == a.host && !in.Fencing.At.IsZero() {
				return ""
			}
		case engine.PowerOn:
			if in.Host == a.host && in.Return.PowerOn {
				return ""
			}
		case engine.TakeOut:
			if in.Host == a.host && in.Out.Begun {
				return ""
			}
		case engine.PutBack:
			if in.Host == a.host && in.Return.PutBack {
				return ""
			}
		}
	}
	if a.vm == "" {
		return "no open incident intends it"
	}
	for _, r := range t.recoveries() {
		if t.c.vm(r.VM.ID) != a.vm {
			continue
		}
		if a.do != engine.Evacuate {
			return ""
		}
		if open := r.Open(); open != nil && open.Target == a.to {
			return ""
		}
	}
	return "no VM's record intends it"
}

// looked is how old the engine's last word on Nova's migrations may be when it sends. That nobody else evacuates is among
// the assumptions of docs/guarantees.md.
const looked = 10 * time.Second

// evacuating is told of every evacuation that reaches Nova.
func (t *truth) evacuating(l *life, id string) {
	if at, did := t.byOther[id]; did && time.Since(at) < looked {
		t.crossed[id] = true
	}
	page, _, _ := t.c.w.Migrations(world.MigrationQuery{VM: id, Type: "evacuation"})
	for _, m := range page {
		if m.User != novaUser || !m.Open() || m.Unused {
			continue
		}
		if h := t.c.w.Host(m.Dest); h != nil && (!h.On || !h.Kernel || h.BootedAt.After(m.Created)) {
			continue // its destination has died: nothing comes of it
		}
		t.fail("S5: an evacuation of %s reaches Nova from %s while migration %d to %q is %s", t.c.vm(id), l, m.ID, m.Dest, m.Status)
	}
}

func (t *truth) incidents() (out []engine.Incident) {
	for _, rec := range t.c.quorum.mem.Records(store.IncidentsPrefix) {
		if strings.Count(rec.Key, "/") == 1 {
			out = append(out, read(t.readIncidents, rec))
		}
	}
	return out
}

func (t *truth) recoveries() (out []engine.Recovery) {
	for _, rec := range t.c.quorum.mem.Records(store.IncidentsPrefix) {
		if strings.Contains(rec.Key, "/servers/") {
			out = append(out, read(t.readRecoveries, rec))
		}
	}
	return out
}

// once is what a record was found to say when it was read last, for as long as its revision stays. Nobody changes it.
type once[T any] struct {
	revision int64
	value    T
}

func read[T any](known map[string]once[T], rec store.Record) T {
	if k, ok := known[rec.Key]; ok && k.revision == rec.Revision {
		return k.value
	}
	var v T
	if err := json.Unmarshal(rec.Value, &v); err != nil {
		panic(fmt.Sprintf("%s: %v", rec.Key, err)) // the servers wrote it
	}
	known[rec.Key] = once[T]{rec.Revision, v}
	return v
}
