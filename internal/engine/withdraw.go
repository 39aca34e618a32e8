package engine

import "slices"

// withdraw takes back what was begun and may not be sent any more: the shell asks before its bytes leave, which can be
// long after the decision (a slow BMC's login, a connection that waits). It is the interlocks' second look, so that
// disarming stops also what was decided before.
func (e *Engine) withdraw(ev Event) {
	if len(e.dangerous) == 0 {
		return
	}
	concerned := e.concerned(ev)
	for _, a := range e.dangerous {
		in := e.incidents[a.Incident]
		if a.withdrawn || in == nil || !in.closed() && !slices.Contains(concerned, in) {
			continue
		}
		if why := e.maySend(a, in); why != "" {
			a.withdrawn = true
			e.out.Withdrawn = append(e.out.Withdrawn, Withdrawn{Action: a.ID, Why: why})
		}
	}
}

// maySend says why an act may not be sent any more, "" if it may.
func (e *Engine) maySend(a *Action, in *Incident) string {
	if in.closed() {
		return "incident " + in.ID + " is closed"
	}
	var locks []Interlock
	if a.Do != Fence {
		locks = e.mayWrite(in)
	} else if locks = e.mayAct(in); len(locks) == 0 {
		return e.secondhand(in, e.host(in.Host))
	}
	if len(locks) > 0 {
		return locks[0].Reason
	}
	return ""
}
