package engine

import (
	"fmt"
	"slices"
	"time"
)

const triesBeforeFailed = 5

// What Nova's refusals mean here, by HTTP status.
const (
	statusGone     = 404 // it doesn't know the VM any more
	statusConflict = 409 // a user's action is in the way
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
	if in == nil {
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
	if a == nil || a.Answer != Intended {
		return
	}
	a.Answer, a.Answered = ev.Answer, e.now
	switch ev.Answer {
	case Accepted:
		r.Accepted = e.now
		e.tellVM(r, "evacuate accepted")
	case NotSent:
		a.Ended, a.Why = e.now, ev.Text
		r.Tries--
		r.NotBefore = e.now.Add(time.Second)
		e.setState(r, Queued, "the request never left: "+ev.Text)
	case Unanswered:
		a.Why = ev.Text
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
	case ev.Status == statusGone:
		r.Restart = false
		e.setState(r, Skipped, "gone: deleted during the recovery")
	case ev.Status == statusConflict:
		// A user's action is in the way. What it is decides: read, don't repeat.
		e.setState(r, Verifying, "Nova says that something else is under way ("+ev.Text+"); looking")
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

// inspected: Nova's own records of an evacuation that nobody answered. An instance action is written before the
// migration record, and the message to the destination is sent after both.
func (e *Engine) inspected(ev Inspected) {
	act := e.answeredBy(ev.Action)
	if act == nil {
		return
	}
	r := e.vms[act.Incident][act.VM]
	in := e.incidents[act.Incident]
	if r == nil || ev.Err != "" {
		return
	}
	e.paused = zeroTime
	a := r.Open()
	if a == nil || a.Answer != Unanswered || a.Migration != "" {
		return
	}
	if ev.Evacuations > e.taken(r) && !a.Seen {
		a.Seen = true
		e.tellVM(r, "Nova's instance actions show the request: it was taken")
	}
	e.track(in)
	if e.now.Sub(a.Answered) < e.cfg.Permit+e.cfg.RequestTTL {
		return
	}
	// Without a migration record the message was never sent: nothing can come of the request any more.
	if last, ok := e.polled["tracked/"+in.ID]; !ok || last.Before(a.Answered.Add(e.cfg.Permit+e.cfg.RequestTTL)) {
		return // the last word on the migrations must be younger than that
	}
	a.Ended, a.Why = e.now, "never reached Nova"
	r.NotBefore = zeroTime
	e.setState(r, Queued, "the unanswered request never reached Nova; repeated, to the same target")
}

// taken counts earlier attempts of this incident that Nova has an instance action for.
func (e *Engine) taken(r *Recovery) int {
	n := 0
	for _, a := range r.Attempts {
		if a.Migration != "" || a.Seen || a.Answer == Accepted {
			n++
		}
	}
	return n
}

// tracked takes in all evacuations away from the host: ours go on, others are somebody else's.
func (e *Engine) tracked(ev Tracked) {
	act := e.answeredBy(ev.Action)
	if act == nil {
		return
	}
	in := e.incidents[act.Incident]
	if in == nil || ev.Err != "" {
		return
	}
	e.paused = zeroTime
	e.polled["tracked/"+in.ID] = e.now
	for _, m := range ev.Migrations {
		if m.Type != "evacuation" || m.Source != in.Host || slices.Contains(in.Before, m.UUID) {
			continue
		}
		r := e.vms[in.ID][m.VM]
		if r == nil {
			e.foreign(in, m)
			continue
		}
		if m.User != "" && e.cfg.User != "" && m.User != e.cfg.User {
			e.foreign(in, m)
		} else if a := attemptFor(r, m); a != nil {
			e.progress(in, r, a, m)
		} else {
			e.foreign(in, m)
		}
	}
}

// attemptFor finds the attempt a migration record belongs to: the one linked already, else the open one that has none.
func attemptFor(r *Recovery, m Migration) *Attempt {
	for i := range r.Attempts {
		if r.Attempts[i].Migration == m.UUID {
			return &r.Attempts[i]
		}
	}
	for i := range r.Attempts {
		a := &r.Attempts[i]
		if a.Migration == "" && (a.Answer == Intended || a.Answer == Accepted || a.Answer == Unanswered) {
			return a
		}
	}
	return nil
}

func (e *Engine) progress(in *Incident, r *Recovery, a *Attempt, m Migration) {
	if a.Migration == m.UUID && a.Status == m.Status && a.To == m.Dest {
		return
	}
	a.Migration, a.Status, a.To = m.UUID, m.Status, m.Dest
	if a.Answer != Accepted {
		a.Answer = Accepted
		r.Accepted = e.now
		e.tellVM(r, "Nova's migration record shows that the request was taken")
	}
	e.touchVM(r)
	if !a.Unresolved() {
		return
	}
	switch m.Status {
	case "done", "completed":
		a.Ended, r.Done, r.To = e.now, e.now, m.Dest
		e.setState(r, Verifying, "Nova says done on "+m.Dest)
		e.look(in, r)
	case "failed", "error", "cancelled":
		a.Ended, a.Why = e.now, "Nova's migration record reads "+m.Status
		e.again(r, fmt.Sprintf("the evacuation to %s failed (%s)", either(a.To, either(a.Target, "the scheduler's choice")), m.Status))
	}
}

// foreign: an evacuation from this host that none of our intents explains. Two recoveries of one host race each other;
// ours stops and says whose the other one is.
func (e *Engine) foreign(in *Incident, m Migration) {
	if in.Foreign != "" {
		return
	}
	by := "an unknown user (Nova's API is too old to say whom)"
	if m.User != "" {
		by = "user " + m.User
	}
	in.Foreign = fmt.Sprintf("somebody else is evacuating %s: %s, VM %s, migration %s; the remaining VMs are left to them (ninelives incident retry %s goes on)",
		in.Host, by, m.VM, short(m.UUID), in.ID)
	e.out.Notes = append(e.out.Notes, Note{Severity: Critical, Host: in.Host, Incident: in.ID, Text: in.Foreign})
	e.tell(in, in.Foreign)
}

// vmActAnswered handles the small acts on one VM.
func (e *Engine) vmActAnswered(in *Incident, r *Recovery, a *Action, ev Answered) {
	gone := ev.Answer == Refused && ev.Status == statusGone
	switch {
	case gone:
		e.setState(r, Skipped, "gone: deleted during the recovery")
	case a.Do == ResetState && ev.Answer == Accepted:
		r.Reset = false
		e.tellVM(r, "its state was reset to error so that Nova will evacuate it")
	case a.Do == ResetState:
		r.Tries++
		e.again(r, "cannot reset its state: "+ev.Text)
	case a.Do == Pause && ev.Answer == Accepted:
		r.Pause = false
		e.recovered(in, r, "paused again")
	case a.Do == Pause:
		r.Pause = false
		e.recovered(in, r, "but it could not be paused again: "+ev.Text)
	case ev.Answer == Accepted:
		r.Accepted = e.now
		e.setState(r, Verifying, "Nova took the "+string(a.Do))
	default:
		r.NotBefore = e.now.Add(backoff(r.Tries, 5*time.Second, time.Minute))
		e.setState(r, Restarting, fmt.Sprintf("%s not taken: %s", a.Do, ev.Text))
	}
}
