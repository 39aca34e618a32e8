package engine

import (
	"fmt"
	"time"
)

// resurrect drives an incident's VMs: reads what is open to its end, then begins what may begin.
func (e *Engine) resurrect(in *Incident) {
	e.follow(in)
	locks := e.mayWrite(in)
	if !e.cfg.Takeover.IsZero() && e.now.Sub(e.cfg.Takeover) < e.cfg.Permit {
		// A deposed leader may still send what it had committed; wait until its permits have run out.
		locks = append(locks, Interlock{Code: LockTakeover, Reason: "a new leader waits until the last leader's permits have run out"})
	}
	queued := e.waiting(in)
	if len(locks) == 0 && queued && !e.recheckPower(in) {
		locks = append(locks, Interlock{Code: LockPower, Reason: "reading the power of " + in.Host + " before anything starts elsewhere"})
	}
	if len(locks) == 0 && !e.paused.IsZero() && queued {
		locks = append(locks, Interlock{Code: LockNova, Reason: "Nova does not take requests now; nothing is forgotten, everything waits"})
		if e.every("probe/"+in.ID, time.Second) {
			e.track(in)
		}
	}
	e.block(in, locks)
	if in.Phase != PhaseResurrecting {
		return // the power read fenced it again
	}
	if len(locks) == 0 {
		e.begin(in)
	}
	if e.settled(in) {
		if in.Aborted != "" {
			e.closeIncident(in, "given up; "+in.Host+" stays out of service until an operator takes it back")
			return
		}
		in.Phase, in.Stages.Resurrected = PhaseRecovered, e.now
		e.tell(in, e.summary(in))
	}
}

// follow reads whatever is open: it goes on while disarmed, since what Nova accepted happens anyway.
func (e *Engine) follow(in *Incident) {
	open, held := false, false
	if in.Out.Done && in.Return.Boot == "" && e.every("service/"+in.ID, 3*time.Second) {
		e.do("service/"+in.ID, Action{Do: ReadService, Incident: in.ID, Host: in.Host})
	}
	for _, r := range e.recoveries(in) {
		switch r.State {
		case Resurrecting:
			open = true
			e.followAttempt(in, r)
		case Verifying:
			if e.every("look/"+r.VM.ID, time.Second) {
				e.look(in, r)
			}
		case Unaccounted:
			if e.every("look/"+r.VM.ID, 5*time.Second) {
				e.look(in, r)
			}
		case Held:
			held = true
		}
	}
	if open && e.every("track/"+in.ID, time.Second) {
		e.track(in)
	}
	if held && in.Return.Boot == "" && e.every("held/"+in.ID, 5*time.Second) {
		e.do("list/"+in.Host, Action{Do: ListServers, Incident: in.ID, Host: in.Host, Why: "held VMs are looked at again"})
	}
	e.settleArrivals(in)
}

func (e *Engine) track(in *Incident) {
	e.do("track/"+in.ID, Action{Do: Track, Incident: in.ID, Host: in.Host, Since: in.Listed})
}

func (e *Engine) look(in *Incident, r *Recovery) {
	e.do("look/"+r.VM.ID, Action{Do: Look, Incident: in.ID, Host: in.Host, VM: r.VM.ID})
}

// followAttempt looks after one unresolved evacuation that has no answer, or whose destination died.
func (e *Engine) followAttempt(in *Incident, r *Recovery) {
	a := r.Open()
	if a == nil {
		return
	}
	dest := either(a.To, a.Target)
	if o := e.incidentOf(dest); dest != "" && o != nil && o.Proof != nil && o.Proof.Kind != "reboot" && o.Planned {
		a.Ended, a.Why = e.now, "its destination "+dest+" has a proof"
		e.setState(r, Verifying, "its destination "+dest+" died; where Nova counts it decides")
		e.look(in, r)
		return
	}
	if a.Answer == Intended && !e.busy("evacuate/"+r.VM.ID) {
		a.Answer, a.Answered, a.Why = Unanswered, e.now, "an earlier leader began it and nobody heard the answer"
		e.tellVM(r, "the evacuation to "+either(a.Target, "the scheduler's choice")+" was begun by an earlier leader; its answer is read back")
	}
	if a.Answer == Unanswered && a.Migration == "" && e.every("inspect/"+r.VM.ID, 3*time.Second) {
		e.do("inspect/"+r.VM.ID, Action{Do: Inspect, Incident: in.ID, Host: in.Host, VM: r.VM.ID, Since: in.Listed})
	}
}

// begin starts as many evacuations as the limits allow, in the queue's order.
func (e *Engine) begin(in *Incident) {
	load := e.load()
	for _, r := range e.recoveries(in) {
		if r.State == Failed && !r.NotBefore.IsZero() && e.now.After(r.NotBefore) && in.Return.Boot == "" {
			e.setState(r, Queued, "tried again: "+r.Reason)
		}
		if r.State != Queued || e.now.Before(r.NotBefore) || r.Open() != nil {
			continue
		}
		if load.all >= e.cfg.InAll {
			return
		}
		if r.Reset {
			if e.do("reset/"+r.VM.ID, Action{Do: ResetState, Incident: in.ID, Host: in.Host, VM: r.VM.ID}) != nil {
				e.touchVM(r)
			}
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
	a := Attempt{ID: fmt.Sprintf("%s/%d", r.VM.ID, r.Tries), Target: target, Intended: e.now, Why: why}
	r.Attempts = append(r.Attempts, a)
	text := "evacuate to " + target
	if target == "" {
		text = "evacuate to the scheduler's choice"
	}
	e.setState(r, Resurrecting, text)
	e.do("evacuate/"+r.VM.ID, Action{
		Do: Evacuate, Incident: in.ID, Host: in.Host, VM: r.VM.ID, Target: target, Stopped: r.Stopped, Why: why,
	})
}

// waiting reports whether any VM of the incident still has to be sent.
func (e *Engine) waiting(in *Incident) bool {
	for _, r := range e.vms[in.ID] {
		if r.State == Queued || r.State == Failed && !r.NotBefore.IsZero() && e.now.After(r.NotBefore) {
			return true
		}
	}
	return false
}

func (e *Engine) settled(in *Incident) bool {
	if !in.Planned {
		return false
	}
	for _, r := range e.vms[in.ID] {
		if !r.State.Settled() || r.Open() != nil {
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
