package engine

import "time"

// Times on record were written by another machine's clock, or by this one's before somebody set it. Within one reign all
// times come from one monotonic clock; here they are made fit for the one that begins. What an earlier leader has done
// lies before its takeover, whatever the record says: else reads would be taken for older than what they follow, and a
// back-off would last as long as the clocks differ.

// longestBackOff is the longest of all.
const longestBackOff = 5 * time.Minute

// past moves times behind the takeover that claim to be after it.
func (e *Engine) past(times ...*time.Time) {
	last := e.cfg.Takeover.Add(-1) // this leader's own begin at the takeover
	for _, t := range times {
		if !e.cfg.Takeover.IsZero() && t.After(last) {
			*t = last
		}
	}
}

// within bounds a time to wait for.
func (e *Engine) within(most time.Duration, t *time.Time) {
	if last := e.cfg.Takeover.Add(most); !e.cfg.Takeover.IsZero() && t.After(last) {
		*t = last
	}
}

func (e *Engine) rebaseIncident(in *Incident) {
	s, r := &in.Stages, &in.Return
	e.past(&in.Opened, &in.Fencing.At, &s.LastLife, &s.Suspect, &s.Verdict, &s.Proof, &s.TakenOut, &s.Resurrected, &s.Closed,
		&r.Powered, &r.Seen, &r.Healthy, &r.Readmitted)
	for _, p := range []*Proof{in.Proof, in.Earlier} {
		if p != nil {
			e.past(&p.At)
		}
	}
	e.within(longestBackOff, &in.Fencing.Next)
}

func (e *Engine) rebaseRecovery(r *Recovery) {
	e.past(&r.Accepted, &r.Done, &r.Ended)
	e.within(longestBackOff, &r.NotBefore)
	for i := range r.Attempts {
		a := &r.Attempts[i]
		e.past(&a.Intended, &a.Answered, &a.Ended)
		if a.Owed && !e.cfg.Takeover.IsZero() {
			a.Answered = e.cfg.Takeover // as below
		}
	}
	if a := r.Open(); a != nil && a.Answer == Unanswered && !e.cfg.Takeover.IsZero() {
		a.Answered = e.cfg.Takeover // how long it may still be delivered is counted anew, by the clock that counts
	}
}
