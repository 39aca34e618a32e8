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
		if a.withdrawn || in == nil || !slices.Contains(concerned, in) {
			continue
		}
		if locks := e.maySend(a, in); len(locks) > 0 {
			a.withdrawn = true
			e.out.Withdrawn = append(e.out.Withdrawn, Withdrawn{Action: a.ID, Why: locks[0].Reason})
		}
	}
}

func (e *Engine) maySend(a *Action, in *Incident) []Interlock {
	if a.Do != Fence {
		return e.mayWrite(in)
	}
	locks := e.mayAct(in)
	if why := e.secondhand(in, e.host(in.Host)); why != "" {
		locks = append(locks, Interlock{Code: LockAlive, Reason: why})
	}
	return locks
}
