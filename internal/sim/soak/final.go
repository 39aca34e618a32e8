package soak

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// moving: something of the VM's is under way in Nova.
func (t *truth) moving(id string) bool {
	page, _, _ := t.c.w.Migrations(world.MigrationQuery{VM: id})
	for _, m := range page {
		if m.Open() {
			return true
		}
	}
	return false
}

// quiet: nothing is left to be done, as far as anybody can see. Every incident is closed and every host in service.
func (t *truth) quiet() bool {
	l := t.c.leader()
	if l == nil || l.paused() || !l.server.Leads() || t.c.people > 0 || len(t.c.quorum.able()) < len(t.c.names) {
		return false
	}
	for _, in := range t.incidents() {
		if in.Phase != engine.PhaseClosed {
			return false
		}
	}
	for _, name := range t.c.hosts {
		h := t.c.w.Host(name)
		if !t.well(h) || !t.c.w.ServiceUp(name) ||
			h.ForcedDown && !t.forced[name] || h.Disabled && !t.theirs(h) || t.c.w.Now().Sub(t.trouble[name]) < 5*time.Second {
			return false
		}
	}
	return true
}

// final is looked at when all that was wrong has been right again for a long while.
func (t *truth) final() {
	open := map[string]engine.Incident{}
	for _, in := range t.incidents() {
		if in.Phase != engine.PhaseClosed {
			open[in.Host] = in
		}
	}
	last := map[string]engine.Recovery{} // by VM
	for _, r := range t.recoveries() {
		old, ok := last[r.VM.ID] // one that isn't settled is the latest
		if !ok || old.State.Settled() && (!r.State.Settled() || r.Ended.After(old.Ended)) {
			last[r.VM.ID] = r
		}
	}
	for _, id := range t.c.w.VMsDown() {
		r, named := last[id]
		v := t.c.w.VM(id)
		in := open[v.Host]
		switch {
		case !named && in.Proof == nil && len(in.Interlocks) > 0: // nobody may touch the host yet, and it says why
		case !named:
			t.fail("S3: %s is down on %s (%s %s), and no record names it", t.c.vm(id), v.Host, v.VMState, v.TaskState)
		case !r.State.Settled() && open[r.VM.Host].ID == "":
			t.fail("S3: %s is down and %s, but no incident is open", t.c.vm(id), r.State)
		case t.lostOrders && r.Open() != nil && r.Reason != "": // says so, and waits for people
		case t.restarted(r.Open()): // the same; said after five minutes
		case !r.State.Settled() && !waitsForPeople(open[r.VM.Host]):
			t.fail("L: %s is down and still %s: %s", t.c.vm(id), r.State, r.Reason)
		case r.State == engine.Recovered && v.VMState == world.Active:
			t.fail("S3: %s is down on %s and called recovered: %s", t.c.vm(id), v.Host, r.Reason)
		case r.State.Settled() && r.Reason == "":
			t.fail("S3: %s is down and %s without a reason", t.c.vm(id), r.State)
		}
	}
	for _, name := range t.c.hosts {
		t.finalHost(name, open[name])
	}
	if l := t.c.leader(); l == nil || !l.server.Leads() {
		t.fail("L: nobody leads")
	}
}

// waitsForPeople: the incident says that an operator must decide, since somebody else has touched its host.
func waitsForPeople(in engine.Incident) bool {
	return slices.ContainsFunc(in.Interlocks, func(l engine.Interlock) bool {
		return l.Code == engine.LockForeign || l.Code == engine.LockUnforced || l.Code == engine.LockRepeated
	})
}

// restarted: the destination of an evacuation has booted since it was sent, so that Nova never ends it.
func (t *truth) restarted(a *engine.Attempt) bool {
	if a == nil || a.Answer != engine.Accepted {
		return false
	}
	h := t.c.w.Host(cmp.Or(a.To, a.Target))
	return h != nil && h.BootedAt.After(a.Intended)
}

// theirs: an operator has disabled the service, whoever's reason it carries by now.
func (t *truth) theirs(h *world.Host) bool {
	return h.DisabledReason == operatorsReason || t.overwritten[h.Name]
}

func (t *truth) finalHost(name string, in engine.Incident) {
	h := t.c.w.Host(name)
	waits := len(in.Interlocks) > 0
	var why []string
	for _, lock := range in.Interlocks {
		why = append(why, lock.Reason)
	}
	t.c.note("at the end %s: on=%t forced=%t disabled=%t, incident %s %s %s: %s", name, h.On, h.ForcedDown, h.Disabled, in.ID, in.Phase, in.Verdict, strings.Join(why, "; "))
	switch {
	case !t.well(h) && in.ID == "":
		t.fail("L: %s is not well (on=%t frozen=%t), and no incident is open", name, h.On, h.Frozen)
	case !t.well(h) && in.Proof == nil && !waits:
		t.fail("L: %s is not well, neither fenced nor does incident %s (%s) say what it waits for", name, in.ID, in.Phase)
	case h.ForcedDown && !t.forced[name] && in.ID == "":
		t.fail("L: %s is forced down, and no incident is open", name)
	case h.Disabled && !t.theirs(h) && in.ID == "":
		t.fail("L: %s is disabled (%s), and no incident is open", name, h.DisabledReason)
	}
	if t.disabled[name] && (!h.Disabled || h.DisabledReason != operatorsReason && !t.overwritten[name]) {
		t.fail("S4: an operator disabled %s, now it is disabled=%t with reason %q", name, h.Disabled, h.DisabledReason)
	}
}
