package engine

import (
	"fmt"
	"time"

	"github.com/ninelives-ha/ninelives/internal/planted"
)

const triesBeforeFailed = 5

// Nova's refusals that need a look, by HTTP status.
const (
	statusGone     = 404
	statusConflict = 409
)

// answered takes in how an act on the cloud or on power ended.
func (e *Engine) answered(ev Answered) {
	a := e.answeredBy(ev.Action)
	if a == nil {
		return
	}
	switch a.Do {
	case SendGate:
		e.gateSent(a, ev)
		return
	case AskGuests:
		return // the list itself comes as AgentReported
	}
	in := e.incidents[a.Incident]
	if in == nil || in.closed() {
		return
	}
	if a.Do.Dangerous() && a.Do != PowerOn && (ev.Answer == NotSent || ev.Answer == Unanswered) {
		e.paused = e.now // one request that Nova didn't take is enough: the others wait until it answers a read
	}
	switch a.Do {
	case TakeOut:
		e.tookOut(in, ev)
	case PutBack:
		e.putBack(in, ev)
	case PowerOn:
		e.poweredOn(in, ev)
	case Evacuate:
		e.evacuateAnswered(in, a, ev)
	case ResetState, Pause, Start, HardReboot:
		if r := e.vms[in.ID][a.VM]; r != nil {
			e.vmActAnswered(in, r, a, ev)
		}
	}
}

func (e *Engine) evacuateAnswered(in *Incident, act *Action, ev Answered) {
	r := e.vms[in.ID][act.VM]
	if r == nil {
		return
	}
	a := r.Open()
	if a != nil && a.ID == act.attempt && a.Owed && ev.Answer == Accepted {
		a.Owed = false
		e.touchVM(r)
	}
	if a == nil || a.ID != act.attempt || a.Answer != Intended {
		return
	}
	a.Answer, a.Answered = ev.Answer, e.now
	switch ev.Answer {
	case Accepted:
		r.Accepted = e.now
		e.tellVM(r, "evacuate accepted")
	case NotSent:
		r.Attempts = r.Attempts[:len(r.Attempts)-1] // it never was
		r.Tries--
		r.NotBefore = e.now.Add(time.Second)
		e.setState(r, Queued, "the request never left: "+ev.Text)
	case Unanswered:
		if a.Why = ev.Text; planted.OneUnresolved {
			a.Ended = e.now
			e.setState(r, Queued, ev.Text)
			return
		}
		e.tellVM(r, fmt.Sprintf("nobody knows whether Nova took the request (%s); its records are read, and it is not repeated before %s",
			ev.Text, clock(a.Answered.Add(e.cfg.Permit+e.cfg.RequestTTL))))
	case Refused:
		a.Ended, a.Why = e.now, ev.Text
		e.refused(in, r, ev)
	}
}

// refused: Nova said no, finally, to this request. What it means depends on what it said it about.
func (e *Engine) refused(in *Incident, r *Recovery, ev Answered) {
	switch {
	case ev.Status == statusGone, ev.Status == statusConflict:
		// Gone is the VM or the target, in the way is a user's action or what the VM is: read, don't repeat.
		e.setState(r, Verifying, "Nova refused: "+ev.Text+"; looking")
		e.look(in, r)
	default:
		e.again(r, "Nova refused: "+ev.Text)
	}
}

// again puts a VM back into the queue with back-off, or, after five tries, among the failed ones, which go on being
// tried at longer intervals until an operator gives up.
func (e *Engine) again(r *Recovery, why string) {
	r.NotBefore = e.now.Add(backoff(r.Tries, 2*time.Second, 5*time.Minute))
	if r.Tries >= triesBeforeFailed {
		e.setState(r, Failed, fmt.Sprintf("%s (%d tries; next at %s)", why, r.Tries, clock(r.NotBefore)))
		return
	}
	e.setState(r, Queued, why)
}

// vmActAnswered handles the small acts on one VM.
func (e *Engine) vmActAnswered(in *Incident, r *Recovery, a *Action, ev Answered) {
	switch {
	case ev.Answer == Refused && ev.Status == statusGone:
		r.Restart = false
		e.setState(r, Skipped, "gone: deleted during the recovery")
	case a.Do == ResetState && r.State != Queued:
		// Given up meanwhile.
	case a.Do == ResetState && ev.Answer == Accepted:
		r.Reset, r.VM.Status = false, "ERROR"
		e.tellVM(r, "its state was reset to error so that Nova will evacuate it")
	case a.Do == ResetState:
		r.Tries++
		e.again(r, "cannot reset its state: "+ev.Text)
	case a.Do == Pause && ev.Answer == Accepted:
		e.recovered(in, r, "paused again")
	case a.Do == Pause && ev.Answer == Refused:
		e.recovered(in, r, "but it could not be paused again: "+ev.Text)
	case a.Do == Pause:
		e.tellVM(r, "nobody knows whether it was paused again; looking")
	case r.State != Restarting:
	case ev.Answer == Accepted:
		r.Accepted = e.now
		e.setState(r, Verifying, "Nova took the "+string(a.Do))
	default:
		e.againInPlace(r, fmt.Sprintf("%s not taken: %s", a.Do, ev.Text))
	}
}
