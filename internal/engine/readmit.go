package engine

import (
	"fmt"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// bringBack takes a recovered host back: power on, gate, nova-compute, what stayed there, settle, un-force, enable.
func (e *Engine) bringBack(in *Incident) {
	if e.reopen(in) {
		return
	}
	locks := e.mayWrite(in)
	if in.Return.Boot == "" {
		e.powerOn(in, locks)
		return
	}
	if !in.Planned { // see livesOn
		e.list(in, 2*time.Second, "what is on it now")
	}
	if in.Return.PutBack && !e.busy("back/"+in.ID) && e.putBackSeen(in) {
		return
	}
	e.repeat(in, "service/"+in.ID, 2*time.Second, Action{Do: ReadService, Incident: in.ID, Host: in.Host})
	if e.unhealthy(in, e.host(in.Host)) {
		e.block(in, locks)
		if !in.Return.Healthy.IsZero() {
			in.Return.Healthy = zeroTime
			e.tell(in, "not healthy any more; settling begins anew")
		}
		return
	}
	if in.Return.Healthy.IsZero() {
		in.Return.Healthy = e.now
		e.tell(in, "agent and nova-compute are up; settling for "+e.policy.Settle().String())
	}
	e.refuseLate(in)
	waits := locks
	if e.now.Before(in.Out.Late) {
		waits = append(waits, Interlock{Code: LockReturn, Reason: fmt.Sprintf(
			"nobody answered a request to take %s out of service; it may still be delivered until %s", in.Host, clock(in.Out.Late))})
	}
	e.block(in, waits)
	e.stayed(in)
	e.restart(in, len(locks) == 0)
	if e.now.Sub(in.Return.Healthy) < e.policy.Settle() || !e.settled(in) {
		return
	}
	if e.last(in, "tracked").Before(in.Return.Healthy) || e.now.Sub(e.last(in, "tracked")) > migrationsFresh {
		if e.every(in, "probe", time.Second) {
			e.track(in) // somebody else's evacuation from the host may be under way
		}
		return
	}
	if len(waits) == 0 {
		e.beginPutBack(in)
	}
}

// reopen goes back to resurrecting when a VM that was settled for the time being can be tried again, as long as its
// host hasn't begun to come back.
func (e *Engine) reopen(in *Incident) bool {
	if in.Return.PowerOn || in.Return.Boot != "" || len(e.mayWrite(in)) > 0 || !e.waiting(in) {
		return false
	}
	in.Phase = PhaseResurrecting
	e.touch(in)
	return true
}

func (e *Engine) powerOn(in *Incident, locks []Interlock) {
	add := func(format string, args ...any) {
		locks = append(locks, Interlock{Code: LockReturn, Reason: fmt.Sprintf(format, args...)})
	}
	devices := merge(in.Fencing.Commands, in.Fencing.Trying)
	switch {
	case !in.Return.Powered.IsZero():
		add("%s was switched on at %s; its agent has not been heard yet", in.Host, clock(in.Return.Powered))
	case e.policy.PowerOn() != policy.PowerOnAfterRecovery && !in.Return.Readmit:
		add("the policy leaves %s off until an operator says: ninelives host readmit %s", in.Host, in.Host)
	case len(devices) == 0:
		add("no device of %s was used, so none is switched on: it comes back when somebody starts it", in.Host)
	}
	e.block(in, locks)
	if len(locks) > 0 || e.busy("on/"+in.ID) || e.now.Before(in.Fencing.Next) {
		return
	}
	if !in.Return.PowerOn { // said when it begins: a quick host is back before a slow device answers
		e.tell(in, "switching it on by "+strings.Join(devices, ", "))
	}
	in.Return.PowerOn = true
	e.touch(in)
	e.do("on/"+in.ID, Action{Do: PowerOn, Incident: in.ID, Host: in.Host, Devices: devices, Why: "every VM is settled"})
}

func (e *Engine) poweredOn(in *Incident, ev Answered) {
	if ev.Answer == Accepted {
		in.Return.Powered = e.now
		in.Fencing.Round = 0
		e.work(in)
		e.tell(in, "its power reads on")
		return
	}
	in.Fencing.Round++
	in.Fencing.Next = e.now.Add(backoff(in.Fencing.Round, 5*time.Second, 5*time.Minute))
	e.fail(in, LockPower, "cannot switch %s on: %s; tried again", in.Host, ev.Text)
	e.touch(in)
}

// stayed restarts in place, once on each boot, what is still on the host: held, failed, or left by a rule.
func (e *Engine) stayed(in *Incident) {
	for _, r := range e.recoveries(in) {
		e.stays(in, r)
		if !r.Restart && r.State == Failed && r.VM.Host == in.Host && r.Elsewhere == "" && r.Open() == nil {
			e.setState(r, Skipped, "its host is back; it was not running before") // nothing is left to be tried
		}
		if !r.Restart || r.Back == in.Return.Boot || r.VM.Host != in.Host || r.Elsewhere != "" || r.Open() != nil || r.To != "" && r.To != in.Host {
			continue
		}
		if r.State == Held || r.State == Failed || r.State == Skipped {
			r.Tries, r.NotBefore, r.Back = 0, zeroTime, in.Return.Boot
			e.setState(r, Restarting, "its host is back")
		}
	}
}

// serviceRead takes in one fresh reading of the host's service, and notices when somebody else undid our work.
func (e *Engine) serviceRead(ev ServiceRead) {
	a := e.answeredBy(ev.Action)
	in := e.incidentOf(ev.Host)
	if a == nil || ev.Err != "" || in != nil && a.Begun.Before(in.Stages.TakenOut) {
		return
	}
	h := e.host(ev.Host)
	h.facts.Service, h.serviceAt = ev.Service, e.now
	if in != nil && in.Out.Begun && !in.Out.Done && in.Out.Disabled && ev.Service.Disabled && !strings.HasPrefix(ev.Service.DisabledReason, Ours) {
		in.Out.Disabled = false // a request of ours that comes later still takes only their reason away
		e.tell(in, "an operator has disabled the service meanwhile: it stays so")
		e.touch(in)
	}
	if in != nil && e.shownOut(in, ev.Service, a.Begun) {
		e.mayComeLate(in) // on record at once: another leader would know of no answer that is missing
		e.isOut(in, "nobody has answered, but Nova's record shows it")
	}
	if in == nil || !in.Out.Done || in.Return.PutBack || in.Out.UndoneByOther {
		return
	}
	if !ev.Service.ForcedDown {
		in.Out.UndoneByOther = true
		e.tell(in, "somebody took the host's forced_down away: an operator's stop")
	}
}

// beginPutBack undoes exactly what we did: un-force if we forced, enable if we disabled and the reason is still ours
// word for word, and never while an evacuation from the host is open.
func (e *Engine) beginPutBack(in *Incident) {
	h := e.host(in.Host)
	s := h.facts.Service
	if e.now.Sub(h.serviceAt) > serviceFresh || e.now.Before(in.Fencing.Next) || e.busy("back/"+in.ID) || e.busy("out/"+in.ID) {
		return
	}
	enable := in.disabledByUs(s)
	if !in.Out.Forced || !s.ForcedDown && !enable { // an operator had forced it down before us, or has un-forced it: theirs to take back
		e.readmitted(in)
		return
	}
	in.Return.PutBack = true
	e.mark(in, "put-back", e.now)
	e.touch(in)
	e.do("back/"+in.ID, Action{Do: PutBack, Incident: in.ID, Host: in.Host, Service: s.ID, Disable: enable, Force: true, Why: "healthy and settled"})
}

// disabledByUs reports whether the service is disabled as we left it, with our reason word for word.
func (in *Incident) disabledByUs(s Service) bool {
	return in.Out.Disabled && s.Disabled && s.DisabledReason == in.Out.Reason
}

func (e *Engine) putBack(in *Incident, ev Answered) {
	if in.Phase != PhaseRecovered || !in.Return.PutBack {
		return // the host has failed meanwhile; the service's record tells what became of it
	}
	switch ev.Answer {
	case Accepted:
		s := &e.host(in.Host).facts.Service
		s.ForcedDown = false
		if in.disabledByUs(*s) && !ev.Theirs {
			s.Disabled, s.DisabledReason = false, ""
		}
		e.tell(in, "Nova told: the host is back")
		e.readmitted(in)
		return
	case Refused, NotSent:
		in.Return.PutBack = false
	case Unanswered, Intended: // its own record will tell
	}
	in.Fencing.Round++
	in.Fencing.Next = e.now.Add(backoff(in.Fencing.Round, 2*time.Second, time.Minute))
	e.fail(in, LockNova, "Nova does not take %s back (%s): %s; tried again", in.Host, ev.Answer, ev.Text)
	e.touch(in)
}

// putBackSeen reads back what became of a request that nobody answered. That it is still forced down when the request
// can no longer be under way means another try.
func (e *Engine) putBackSeen(in *Incident) bool {
	h := e.host(in.Host)
	if asked := e.last(in, "put-back"); !h.serviceAt.After(asked) {
		return false
	}
	if s := h.facts.Service; !s.ForcedDown && !in.disabledByUs(s) { // else somebody else un-forced it
		e.readmitted(in)
		return true
	}
	if !e.now.Before(in.Fencing.Next) {
		in.Return.PutBack = false
		e.touch(in)
	}
	return false
}

func (e *Engine) readmitted(in *Incident) {
	in.Return.Readmitted = e.now
	why := "readmitted"
	s := e.host(in.Host).facts.Service
	if s.Disabled {
		why += "; the service stays disabled, as the operator left it"
		if !strings.HasPrefix(s.DisabledReason, Ours) { // else theirs hasn't been read yet
			why += ": " + s.DisabledReason
		}
	}
	for _, r := range e.recoveries(in) {
		if r.State == Held || r.State == Failed {
			why += fmt.Sprintf("; %s is %s: %s", r.VM.Name, r.State, r.Reason)
		}
	}
	if !e.anyUnfinished(in) {
		e.closeIncident(in, why)
		return
	}
	in.Phase = PhaseRetrying
	delete(e.openOn, in.Host)
	e.regate(in.Host) // what runs elsewhere is forbidden no more
	e.tell(in, why)
}
