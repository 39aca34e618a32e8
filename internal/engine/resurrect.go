package engine

import (
	"fmt"
	"time"

	"github.com/ninelives-ha/ninelives/internal/planted"
)

// migrationsFresh is how old the last word on Nova's migrations may be when something is sent: somebody else may be
// evacuating the host too.
const migrationsFresh = 10 * time.Second

// resurrect drives an incident's VMs: begins what may begin, until all are settled.
func (e *Engine) resurrect(in *Incident) {
	e.leaveToHand(in)
	locks := e.mayWrite(in)
	add := func(code, reason string) { locks = append(locks, Interlock{Code: code, Reason: reason}) }
	if len(locks) == 0 && e.waiting(in) {
		if !e.recheckPower(in) {
			add(LockPower, "reading the power of "+in.Host+" before anything starts elsewhere")
		}
		if !e.paused.IsZero() {
			add(LockNova, "Nova does not take requests now; nothing is forgotten, everything waits")
		} else if e.now.Sub(e.last(in, "tracked")) > migrationsFresh {
			add(LockNova, "Nova's migrations must be read before anything is sent")
		}
		if len(locks) > 0 && e.every(in, "probe", time.Second) {
			e.track(in)
		}
	}
	e.block(in, locks)
	if len(locks) == 0 {
		e.begin(in)
	}
	if e.settled(in) {
		in.Phase, in.Stages.Resurrected = PhaseRecovered, e.now
		e.tell(in, e.summary(in))
	}
}

// follow reads whatever is open, in every phase: it goes on while disarmed or held, since what Nova accepted happens
// anyway.
func (e *Engine) follow(in *Incident) {
	if !in.Planned && len(e.vms[in.ID]) == 0 {
		return // not Listed: it stays zero where Nova tells no time and knows no migration of the host
	}
	if in.Out.Done && in.Return.Boot == "" && in.fenced() {
		e.repeat(in, "service/"+in.ID, serviceEvery, Action{Do: ReadService, Incident: in.ID, Host: in.Host})
	}
	open, queued, held := false, false, false
	for _, r := range e.recoveries(in) {
		if !in.Planned && r.State != Resurrecting && r.State != Verifying {
			continue // begun anew: the next list decides
		}
		switch r.State {
		case Resurrecting:
			open = true
			e.followAttempt(in, r)
		case Verifying:
			e.lookEvery(in, r, time.Second)
		case Unaccounted:
			period := 5 * time.Second
			if !e.last(in, "asked/"+r.VM.ID).IsZero() { // an agent's answer is on its way
				period = time.Second
			}
			e.lookEvery(in, r, period)
		case Queued:
			queued = true
		case Held:
			held = held || in.Return.Boot == "" || r.Elsewhere != ""
		}
	}
	if open && e.every(in, "track", time.Second) || queued && e.every(in, "track", 2*time.Second) {
		e.track(in)
	}
	if held && in.fenced() {
		e.list(in, in.listPeriod(), "held VMs are looked at again")
		e.settleArrivals(in)
	}
}

func (e *Engine) track(in *Incident) {
	e.do("track/"+in.ID, Action{Do: Track, Incident: in.ID, Host: in.Host, Since: in.Listed})
}

func (e *Engine) look(in *Incident, r *Recovery) {
	e.do("look/"+in.ID+"/"+r.VM.ID, Action{Do: Look, Incident: in.ID, Host: in.Host, VM: r.VM.ID})
}

func (e *Engine) lookEvery(in *Incident, r *Recovery, period time.Duration) {
	if e.every(in, "look/"+r.VM.ID, period) {
		e.look(in, r)
	}
}

// followAttempt looks after one unresolved evacuation that has no answer, or whose destination died.
func (e *Engine) followAttempt(in *Incident, r *Recovery) {
	a := r.Open()
	if a == nil {
		return
	}
	if a.Answer == Intended && !e.busy("evacuate/"+a.ID) {
		a.Answer, a.Answered, a.Why = Unanswered, e.now, "an earlier leader began it and nobody heard the answer"
		e.tellVM(r, "the evacuation to "+either(a.Target, "the scheduler's choice")+" was begun by an earlier leader; its answer is read back")
	}
	dest := either(a.To, a.Target)
	if o := e.incidentOf(dest); dest != "" && o != nil && a.Answer == Accepted && o.fenced() && o.Revoked == "" && o.Planned {
		e.endAtProof(o, r, a)
		e.setState(r, Verifying, "its destination "+dest+" died; where Nova counts it decides")
		e.look(in, r)
		return
	}
	if a.Answer == Unanswered && a.Migration == "" {
		e.repeat(in, "inspect/"+r.VM.ID, 3*time.Second, Action{Do: Inspect, Incident: in.ID, Host: in.Host, VM: r.VM.ID, Since: in.Listed})
	}
	if a.Answer == Accepted && e.now.Sub(a.Intended) > longUnderWay {
		e.lookEvery(in, r, longUnderWay) // Nova leaves the migration of a VM that was deleted meanwhile open for ever
	}
	if a.Answer == Accepted && a.Status == "pre-migrating" && e.now.Sub(a.Intended) > overdue {
		at := either(dest, "its destination")
		e.setState(r, Resurrecting, fmt.Sprintf("Nova began the evacuation at %s and has not ended it; if %s has restarted since, it never will. "+
			"It is not repeated by itself, since both could run. Once you are certain that it isn't at work there: ninelives incident retry %s --vm %s", clock(a.Intended), at, in.ID, r.VM.Name))
	}
	if e.notBegun(a) {
		at := either(dest, "its destination")
		e.setState(r, Resurrecting, fmt.Sprintf("Nova took the evacuation at %s and has not begun it: its order to %s may be lost, as when the message bus restarts; "+
			"it is not repeated by itself, since both could run. Restart nova-compute on %s; if nothing comes of it: ninelives incident retry %s --vm %s", clock(a.Intended), at, at, in.ID, r.VM.Name))
	}
}

// notBegun: Nova accepted the evacuation, and its destination hasn't claimed it for so long that it hardly ever will.
func (e *Engine) notBegun(a *Attempt) bool {
	return a.Answer == Accepted && (a.Status == "" || a.Status == "accepted") && e.now.Sub(a.Intended) > overdue
}

// overdue is how long an accepted evacuation may wait to be begun before an operator is told. Fifty VMs on one slow
// destination have taken a minute; Nova's own messages are given up after 60 s where they are given up at all.
const overdue = 5 * time.Minute

// longUnderWay is how old an evacuation must be before its VM is looked at by itself; a usual one takes 2-4 s.
const longUnderWay = 15 * time.Second

// begin starts as many evacuations as the limits allow, in the queue's order.
func (e *Engine) begin(in *Incident) {
	load := e.load()
	for _, r := range e.recoveries(in) {
		if r.dueAgain(e.now) && in.Return.Boot == "" {
			e.setState(r, Queued, "tried again: "+r.Reason)
		}
		if r.State != Queued || e.now.Before(r.NotBefore) || e.now.Before(e.mayComeUntil(r)) || r.Open() != nil {
			continue
		}
		if load.all >= e.cfg.InAll || planted.OneByOne && load.all > 0 {
			return
		}
		if r.Reset {
			e.touchVM(r)
			e.do("reset/"+r.VM.ID, Action{Do: ResetState, Incident: in.ID, Host: in.Host, VM: r.VM.ID})
			continue
		}
		target, verdict, why := e.target(in, r, load)
		switch verdict {
		case placeWait:
			continue
		case placeHeld:
			e.setState(r, Held, why)
			continue
		}
		load.add(target, r)
		e.evacuate(in, r, target, why)
	}
}

func (e *Engine) evacuate(in *Incident, r *Recovery, target, why string) {
	r.Tries++
	a := Attempt{ID: fmt.Sprintf("%s/%s/%d", in.ID, r.VM.ID, len(r.Attempts)+1), Target: target, Intended: e.now, Why: why}
	r.Attempts = append(r.Attempts, a)
	text := "evacuate to " + target
	if target == "" {
		text = "evacuate to the scheduler's choice"
	}
	if why == whyAnew {
		text += "; " + why
	}
	e.setState(r, Resurrecting, text)
	e.do("evacuate/"+a.ID, Action{
		Do: Evacuate, Incident: in.ID, Host: in.Host, VM: r.VM.ID, Target: target, Stopped: r.Stopped, Why: why, attempt: a.ID,
	})
}

// waiting reports whether any VM of the incident still has to be sent.
func (e *Engine) waiting(in *Incident) bool {
	for _, r := range e.vms[in.ID] {
		if r.State == Queued || r.dueAgain(e.now) {
			return true
		}
	}
	return false
}

// dueAgain reports whether a failed recovery's back-off has passed.
func (r *Recovery) dueAgain(now time.Time) bool {
	return r.State == Failed && !r.NotBefore.IsZero() && now.After(r.NotBefore)
}

// otherEndWithin is how long the other end's agent of a VM that was moving is waited for before its host is brought back.
const otherEndWithin = 12 * time.Second

func (e *Engine) settled(in *Incident) bool {
	if planted.Unforce {
		return in.Planned
	}
	if !in.Planned {
		return false
	}
	for _, r := range e.vms[in.ID] {
		asking := r.State == Held && r.Elsewhere != "" && e.now.Sub(r.Ended) < otherEndWithin
		if !r.State.Settled() || r.Open() != nil || asking {
			return false
		}
	}
	return true
}

func (e *Engine) summary(in *Incident) string {
	n := map[State]int{}
	for _, r := range e.vms[in.ID] {
		n[r.State]++
	}
	text := fmt.Sprintf("%d of %d VMs recovered", n[Recovered], len(e.vms[in.ID]))
	for _, s := range []State{Skipped, Held, Failed} {
		if n[s] > 0 {
			text += fmt.Sprintf(", %d %s", n[s], s)
		}
	}
	if !in.Stages.Proof.IsZero() {
		text += fmt.Sprintf(", %.1f s after the proof", e.now.Sub(in.Stages.Proof).Seconds())
	}
	return text
}
