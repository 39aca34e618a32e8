package engine

import (
	"fmt"
	"time"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// bringBack takes a recovered host back: power on, gate, nova-compute, what stayed there, settle, un-force, enable.
func (e *Engine) bringBack(in *Incident) {
	h := e.host(in.Host)
	if e.reopen(in) {
		return
	}
	e.follow(in)
	if in.Aborted != "" && e.settled(in) {
		e.closeIncident(in, "given up; "+in.Host+" stays out of service until an operator takes it back")
		return
	}
	locks := e.mayWrite(in)
	if in.Return.Boot == "" {
		e.powerOn(in, locks)
		return
	}
	e.block(in, locks)
	if in.Return.PutBack && e.putBackSeen(in) {
		return
	}
	if e.every("service/"+in.ID, 2*time.Second) {
		e.do("service/"+in.ID, Action{Do: ReadService, Incident: in.ID, Host: in.Host})
	}
	if e.unhealthy(in, h) {
		if !in.Return.Healthy.IsZero() {
			in.Return.Healthy = zeroTime
			e.tell(in, "not healthy any more; settling begins anew")
		}
		return
	}
	if in.Return.Healthy.IsZero() {
		in.Return.Healthy = e.now
		e.tell(in, "agent and nova-compute are up; settling for "+e.policy.Settle().String())
		e.stayed(in)
	}
	e.restart(in, len(locks) == 0)
	if len(locks) > 0 || e.now.Sub(in.Return.Healthy) < e.policy.Settle() || in.Return.PutBack || !e.settled(in) {
		return
	}
	e.beginPutBack(in)
}

// reopen goes back to resurrecting when a VM that was settled for the time being can be tried again, as long as its
// host hasn't begun to come back.
func (e *Engine) reopen(in *Incident) bool {
	if in.Return.PowerOn || in.Return.Boot != "" || len(e.mayWrite(in)) > 0 {
		return false
	}
	for _, r := range e.vms[in.ID] {
		if r.State == Queued || r.State == Failed && !r.NotBefore.IsZero() && e.now.After(r.NotBefore) {
			in.Phase = PhaseResurrecting
			e.touch(in)
			return true
		}
	}
	return false
}

func (e *Engine) powerOn(in *Incident, locks []Interlock) {
	if in.Return.PowerOn || e.busy("on/"+in.ID) {
		return
	}
	if e.policy.PowerOn() != policy.PowerOnAfterRecovery && !in.Return.Readmit {
		e.block(in, append(locks, Interlock{Code: LockPower, Reason: fmt.Sprintf(
			"the policy leaves %s off until an operator says: ninelives host readmit %s", in.Host, in.Host)}))
		return
	}
	if len(in.Fencing.Commands) == 0 || e.now.Before(in.Fencing.Next) {
		return // confirmed by hand and switched off by nobody: it comes back when somebody switches it on
	}
	if len(locks) > 0 {
		e.block(in, locks)
		return
	}
	e.release(in)
	e.touch(in)
	e.do("on/"+in.ID, Action{Do: PowerOn, Incident: in.ID, Host: in.Host, Devices: in.Fencing.Commands, Why: "every VM is settled"})
}

func (e *Engine) poweredOn(in *Incident, ev Answered) {
	if ev.Answer == Accepted {
		in.Return.PowerOn, in.Return.Powered = true, e.now
		in.Fencing.Round = 0
		e.tell(in, "power on")
		return
	}
	in.Fencing.Round++
	in.Fencing.Next = e.now.Add(backoff(in.Fencing.Round, 5*time.Second, 5*time.Minute))
	e.block(in, []Interlock{{Code: LockPower, Reason: "cannot switch " + in.Host + " on: " + ev.Text + "; tried again"}})
}

// stayed restarts in place what is still on the host: held, failed, or left by a rule.
func (e *Engine) stayed(in *Incident) {
	for _, r := range e.recoveries(in) {
		if !r.Restart || r.VM.Host != in.Host || r.Open() != nil || r.To != "" && r.To != in.Host {
			continue
		}
		if r.State == Held || r.State == Failed || r.State == Skipped {
			r.Tries, r.NotBefore = 0, zeroTime
			e.setState(r, Restarting, "its host is back")
		}
	}
}

// serviceRead takes in one fresh reading of the host's service, and notices when somebody else undid our work.
func (e *Engine) serviceRead(ev ServiceRead) {
	a := e.answeredBy(ev.Action)
	if ev.Err != "" {
		return
	}
	e.host(ev.Host).facts.Service = ev.Service
	in := e.incidentOf(ev.Host)
	if a == nil || in == nil || !in.Out.Done || in.Return.PutBack || in.Out.UndoneByOther || e.busy("back/"+in.ID) {
		return
	}
	if begun := a.Deadline.Add(-deadlines[ReadService]); begun.After(in.Stages.TakenOut) && !ev.Service.ForcedDown {
		in.Out.UndoneByOther = true
		e.tell(in, "somebody took the host's forced_down away: an operator's stop")
	}
}

// beginPutBack undoes exactly what we did: un-force if we forced, enable if we disabled and the reason is still ours
// word for word, and never while an evacuation from the host is open.
func (e *Engine) beginPutBack(in *Incident) {
	s := e.host(in.Host).facts.Service
	force := in.Out.Forced && s.ForcedDown
	enable := force && in.Out.Disabled && s.Disabled && s.DisabledReason == in.Out.Reason
	if !force { // an operator had forced it down before us, or has un-forced it: theirs to take back
		e.readmitted(in)
		return
	}
	if e.now.Before(in.Fencing.Next) {
		return
	}
	e.touch(in)
	e.do("back/"+in.ID, Action{Do: PutBack, Incident: in.ID, Host: in.Host, Service: s.ID, Disable: enable, Force: force, Why: "healthy and settled"})
}

func (e *Engine) putBack(in *Incident, ev Answered) {
	if ev.Answer == Accepted {
		in.Return.PutBack = true
		e.tell(in, "Nova told: the host is back")
		return
	}
	in.Fencing.Round++
	in.Fencing.Next = e.now.Add(backoff(in.Fencing.Round, 2*time.Second, time.Minute))
	e.block(in, []Interlock{{Code: LockNova, Reason: fmt.Sprintf("Nova does not take %s back (%s): %s; tried again", in.Host, ev.Answer, ev.Text)}})
}

// putBackSeen waits until Nova's own record shows what we asked for.
func (e *Engine) putBackSeen(in *Incident) bool {
	s := e.host(in.Host).facts.Service
	if in.Out.Forced && s.ForcedDown {
		return false
	}
	e.readmitted(in)
	return true
}

func (e *Engine) readmitted(in *Incident) {
	in.Return.Readmitted = e.now
	why := "readmitted"
	s := e.host(in.Host).facts.Service
	if s.Disabled {
		why += "; the service stays disabled, as the operator left it: " + s.DisabledReason
	}
	for _, r := range e.vms[in.ID] {
		if r.State == Held || r.State == Failed || r.State == Unaccounted {
			why += fmt.Sprintf("; %s is %s: %s", r.VM.Name, r.State, r.Reason)
		}
	}
	e.closeIncident(in, why)
}
