package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/planted"
)

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
	if ev.Evacuations > e.taken(in, r) && !a.Seen {
		a.Seen = true
		e.setState(r, Resurrecting, "Nova's instance actions show the request: it was taken; its migration record must follow")
	}
	if a.Seen && e.now.Sub(a.Answered) > longUnderWay {
		e.setState(r, Resurrecting, fmt.Sprintf("Nova's instance actions show the request, but no migration record has followed; make sure that nothing comes of it, then: ninelives incident retry %s --vm %s", in.ID, r.VM.Name))
	}
	over := a.Answered.Add(e.cfg.Permit + e.cfg.RequestTTL)
	if planted.RequestTTL {
		over = a.Answered
	}
	if a.Seen || act.Begun.Before(over) || e.last(in, "tracked").Before(over) {
		e.track(in) // the last word on actions and migrations must be younger than the request can be
		return
	}
	a.Ended, a.Why, a.Lost = e.now, "never reached Nova", true
	r.NotBefore = zeroTime
	e.setState(r, Queued, "the unanswered request never reached Nova; repeated, to the same target")
}

// taken counts earlier attempts that Nova has an instance action for: this incident's, and those of another incident
// that are recent enough to be among what is counted since our list (its time is Nova's, minus a minute).
func (e *Engine) taken(in *Incident, r *Recovery) int {
	n := 0
	for id, vms := range e.vms {
		o := vms[r.VM.ID]
		if o == nil {
			continue
		}
		for _, a := range o.Attempts {
			if (a.Migration != "" || a.Seen || a.Answer == Accepted) && (id == in.ID || a.Intended.After(in.Stages.Proof.Add(-2*time.Minute))) {
				n++
			}
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
	if in == nil || in.closed() || ev.Err != "" {
		return
	}
	e.paused = zeroTime
	e.mark(in, "tracked", act.Begun)
	accepted := func(m Migration) int { // first: each gets its attempt before an older record tells of that one's end
		if m.Status == "accepted" {
			return 0
		}
		return 1
	}
	for _, m := range slices.SortedStableFunc(slices.Values(ev.Migrations), func(a, b Migration) int { return accepted(a) - accepted(b) }) {
		if m.Type != "evacuation" || m.Source != in.Host || slices.Contains(in.Before, m.UUID) {
			continue
		}
		if r := e.vms[in.ID][m.VM]; r == nil {
			e.foreign(in, m)
		} else if a := e.attemptFor(r, m); a != nil {
			e.progress(in, r, inOldRecord(r, a, m), m)
		} else if !e.sentBefore(m) {
			e.foreign(in, m)
		}
	}
}

// attemptFor finds the attempt a migration record belongs to: the one linked already, else the open one that has none,
// unless the record names another user or another destination.
func (e *Engine) attemptFor(r *Recovery, m Migration) *Attempt {
	for i := range r.Attempts {
		if r.Attempts[i].Migration == m.UUID {
			return &r.Attempts[i]
		}
	}
	a := r.Open()
	if a == nil || a.Migration != "" {
		return nil
	}
	stranger := m.User != "" && e.cfg.User != "" && m.User != e.cfg.User
	if stranger || a.Target != "" && m.Dest != "" && m.Dest != a.Target {
		return nil
	}
	return a
}

// inOldRecord gives the open attempt where Nova notes its evacuation in the record of an earlier one, a. Its conductor takes
// the VM's first record that reads accepted, and after the death of a destination that had not begun there are two; the
// newer one stays accepted for ever. The two attempts change records then. (Nova: conductor/manager.py, rebuild_instance.)
func inOldRecord(r *Recovery, a *Attempt, m Migration) *Attempt {
	open := r.Open()
	if open == nil || open == a || a.Unresolved() || a.Status != "accepted" || m.Status == a.Status ||
		open.Migration == "" || open.Status != "accepted" || m.Dest != either(open.To, open.Target) {
		return a
	}
	a.Migration, open.Migration = open.Migration, a.Migration
	return open
}

func (e *Engine) progress(in *Incident, r *Recovery, a *Attempt, m Migration) {
	if a.Migration == m.UUID && a.Status == m.Status && a.To == m.Dest {
		return
	}
	a.Migration, a.Status, a.To = m.UUID, m.Status, m.Dest
	if a.Answer != Accepted {
		a.Answer, a.Owed = Accepted, true
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
		why := fmt.Sprintf("the evacuation to %s failed (%s)", either(a.To, either(a.Target, "the scheduler's choice")), m.Status)
		if over := e.mayComeUntil(r); e.now.Before(over) {
			why += "; nobody has heard the answer to its request, which may come once more until " + clock(over)
		}
		e.again(r, why)
	}
}

// mayComeUntil is until when a request of the VM whose answer nobody heard may be delivered once more, though its evacuation has
// ended: till then the VM is started nowhere.
func (e *Engine) mayComeUntil(r *Recovery) (until time.Time) {
	for _, a := range r.Attempts {
		from := a.Intended
		if a.Answered.After(from) {
			from = a.Answered
		}
		if over := from.Add(e.cfg.Permit + e.cfg.RequestTTL); a.Owed && over.After(until) {
			until = over
		}
	}
	return until
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
	in.Before = append(in.Before, m.UUID) // an operator who lets the incident go on knows of this one
	e.tell(in, in.Foreign)
}
