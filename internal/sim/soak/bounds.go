package soak

import (
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

const (
	// steady is how long everything that a leader needs must have been in order for its slowness to be its own fault:
	// a new leader's reconnect wave and one plane's dead_after, one after the other.
	steady = 45 * time.Second
	// promptly is how long a VM may wait to be sent while nothing stands against it.
	promptly = 20 * time.Second
	// ladder is how long one round of fencing may take: off_timeout for each of two levels, and what slow devices add.
	ladder = 140 * time.Second
	// deadOne is internal/detect's dead_after with one valid plane, less a pulse and a probe's time.
	deadOne = 20*time.Second - 2500*time.Millisecond
	// sawLately is how long ago a plane may have had its last witness to count for a verdict.
	sawLately = 4 * time.Second
)

// bounds is the truth's watch on liveness, and on who could see what.
type bounds struct {
	disturbed time.Time                 // until when something is wrong with what a leader needs: servers, Nova, operators' switches
	leader    *life                     // who leads
	since     time.Time                 // since when
	queued    map[string]time.Time      // VM, or incident → since when it waits without a reason
	seen      map[world.Plane]time.Time // when a plane last had somebody whose silence counts
}

// harmless are the faults that a leader has no part in: its duties stay as they are, for all hosts and VMs.
func harmless(k kind) bool {
	switch k {
	case cutPower, cutPowerWithBMC, freeze, stall, hang, killAgent, isolate, cutStorage, cutAll, cutPlanes, reboot, cutRack, freezeRack, blindOthers,
		bmcSlow, bmcLies, bmcLags, bmcRefusesOff, bmcRefusesOn, bmcDead, bmcSwapped, bmcReadsOff, bmcLoses, outletsDead, powerOnByOther,
		hideVM, forgetOrders, breakOrders, halfDone, deleteVM, stopVM, startVM, migrateVM, resetVM, confirmDown:
		return true
	}
	return false
}

// held is how long a request that a proxy keeps, or whose answer is lost, may keep its host waiting.
const held = 90 * time.Second

// disturb notes that a fault begins.
func (t *truth) disturb(f fault) {
	if harmless(f.kind) {
		return
	}
	until := time.Now().Add(f.lasts)
	switch f.kind {
	case loseAnswers, holdPosts, repeatPosts, proxyGivesUp, novaHangs:
		until = until.Add(held)
	}
	if until.After(t.disturbed) {
		t.disturbed = until
	}
}

// look is the watch's turn, once a second.
func (t *truth) look() {
	now := time.Now()
	t.witnesses(now)
	l := t.c.leader()
	if l != t.leader || l == nil || l.paused() || l.server.Epoch() == 0 {
		t.leader, t.since = l, now
	}
	if l == nil || now.Sub(t.since) < steady || now.Sub(t.disturbed) < steady || !t.disarmed.IsZero() {
		clear(t.queued)
		return
	}
	open := map[string]engine.Incident{}
	for _, in := range t.incidents() {
		if in.Phase != engine.PhaseClosed && in.Phase != engine.PhaseRetrying {
			open[in.Host] = in
		}
	}
	able := 0
	for _, name := range t.c.hosts {
		h := t.c.w.Host(name)
		if t.well(h) && now.Sub(t.trouble[name]) > steady && t.c.w.ServiceUp(name) && !h.Disabled && !h.ForcedDown {
			able++
		}
	}
	if able == 0 {
		return // nobody sees anything, and nothing has a place
	}
	for _, name := range t.c.hosts {
		t.fencedInTime(name, open[name], now)
	}
	t.nobodyWaits(open, now)
}

// fencedInTime: a dead host is fenced, or an interlock says why not.
func (t *truth) fencedInTime(name string, in engine.Incident, now time.Time) {
	h, since := t.c.w.Host(name), t.silent[name]
	_, spared := t.spared[name]
	if since.IsZero() || now.Sub(since) < steady || h.On && !h.Frozen || spared {
		return
	}
	underWay := in.Phase == engine.PhaseFencing && now.Sub(in.Fencing.At) < ladder
	switch {
	case in.ID == "":
		t.fail("L: %s is silent for %s (on=%t frozen=%t), and there is no incident", name, now.Sub(since), h.On, h.Frozen)
	case len(in.Interlocks) == 0 && !underWay && now.Sub(in.Stages.Verdict) > surely && (in.Proof == nil || in.Phase == engine.PhaseInPlace):
		t.fail("L: %s is silent for %s, and incident %s (%s) neither has a proof nor says what it waits for", name, now.Sub(since), in.ID, in.Phase)
	}
}

// nobodyWaits: a VM that can be sent is sent, whatever becomes of the others.
func (t *truth) nobodyWaits(open map[string]engine.Incident, now time.Time) {
	free := map[string]bool{} // incidents that nothing holds up; Nova is well, so that it is no excuse
	for _, in := range open {
		free[in.ID] = in.Phase != engine.PhaseFencing || now.Sub(in.Fencing.At) > ladder
		for _, lock := range in.Interlocks {
			free[in.ID] = free[in.ID] && lock.Code == engine.LockNova
		}
		t.waits(in.ID, "incident "+in.ID+" of "+in.Host+" is "+string(in.Phase), in.Phase == engine.PhaseTakingOut && free[in.ID], now)
	}
	if len(free) == 0 {
		return
	}
	for _, r := range t.recoveries() {
		t.waits(r.VM.ID, t.c.vm(r.VM.ID)+" is queued", r.State == engine.Queued && free[r.Incident] && now.After(r.NotBefore) && now.After(mayCome(r)), now)
	}
}

// mayCome is until when a request whose answer nobody heard may be delivered once more: its VM starts nowhere till then.
func mayCome(r engine.Recovery) (until time.Time) {
	for _, a := range r.Attempts {
		from := a.Intended
		if a.Answered.After(from) {
			from = a.Answered
		}
		if over := from.Add(permitFor + requestTTL); a.Owed && over.After(until) {
			until = over
		}
	}
	return until
}

func (t *truth) waits(what, text string, does bool, now time.Time) {
	switch since, did := t.queued[what]; {
	case !does:
		delete(t.queued, what)
	case !did:
		t.queued[what] = now
	case now.Sub(since) > promptly:
		t.queued[what] = now
		t.fail("L: %s for %s, and nothing stands against it", text, now.Sub(since))
	}
}

// witnesses notes which planes somebody could watch: who reaches a host outside its own rack there.
func (t *truth) witnesses(now time.Time) {
	for _, p := range world.Planes() {
		for _, from := range t.c.hosts {
			w := t.c.w.Host(from)
			if p == world.Management || !t.c.o.Narrow {
				w = nil // the servers themselves
			} else if !w.AgentRuns() || !w.CanReach(world.Management) || !w.CanReach(p) {
				continue
			}
			for _, to := range t.c.hosts {
				if c := t.c.w.Host(to); c.CanReach(p) && (w == nil || c.Rack != w.Rack) {
					t.seen[p] = now
				}
			}
		}
	}
}

// witnessed: a verdict that a host is dead needs a silence of dead_after for one plane, or two planes that somebody could
// watch.
func (t *truth) witnessed(l *life, in engine.Incident) {
	if t.c.w.Now().Sub(t.silent[in.Host]) >= deadOne || !t.c.w.Host(in.Host).On { // or it reads off: a fence that was begun is finished
		return
	}
	planes := 0
	for _, p := range world.Planes() {
		if time.Since(t.seen[p]) < sawLately {
			planes++
		}
	}
	if planes < 2 {
		t.fail("S2: %s sent off to %s, silent for %s, and nobody could watch more than %d of its planes", l, in.Host, t.c.w.Now().Sub(t.silent[in.Host]), planes)
	}
}
