package engine

import (
	"fmt"
	"slices"
	"time"
)

// An incident outlives its host's readmission while VMs of it have no end: those that did not come up are tried again
// with back-off until an operator gives up (promise S3), and what may run elsewhere stays forbidden on its host. The host
// itself is in service meanwhile: it takes VMs, and a new failure of it is a new incident.

// unfinished reports whether a readmitted host's VM keeps the incident open.
func (r *Recovery) unfinished() bool {
	switch r.State {
	case Skipped, Recovered:
		return false
	case Held:
		return r.Elsewhere != ""
	default:
		return true
	}
}

func (e *Engine) anyUnfinished(in *Incident) bool {
	return slices.ContainsFunc(e.recoveries(in), (*Recovery).unfinished)
}

// goOnTrying drives what is left of an incident whose host is back in service.
func (e *Engine) goOnTrying(in *Incident) {
	if o := e.incidentOf(in.Host); o != nil && o.acting() {
		e.block(in, []Interlock{{Code: LockReturn, Reason: in.Host + " failed again: incident " + o.ID + " takes over"}})
		if o.Planned { // those that it listed are its own by now: see inherit
			for _, r := range e.recoveries(in) {
				if r.unfinished() && r.Open() == nil {
					e.setState(r, Skipped, "its host failed again, and incident "+o.ID+" did not find it there")
				}
			}
			e.closeIncident(in, "incident "+o.ID+" has what was left")
		}
		return
	}
	locks := e.mayWrite(in)
	may := len(locks) == 0
	if n := len(e.unfinishedNames(in)); n > 0 {
		locks = append(locks, Interlock{Code: LockFailed, Reason: fmt.Sprintf(
			"%s is back in service without %s; tried again until it runs, or until you give up: ninelives incident abort %s --reason …", in.Host, some(e.unfinishedNames(in)), in.ID)})
	}
	if e.unhealthy(in, e.host(in.Host)) {
		may = false
		locks = append(locks, Interlock{Code: LockReturn, Reason: in.Host + " isn't healthy now"})
	}
	e.block(in, locks)
	e.stayed(in)
	e.restart(in, may)
	if !e.anyUnfinished(in) {
		e.closeIncident(in, e.summary(in))
	}
}

func (e *Engine) unfinishedNames(in *Incident) []string {
	var out []string
	for _, r := range e.recoveries(in) {
		if r.unfinished() {
			out = append(out, r.VM.Name)
		}
	}
	return out
}

// inherit passes a VM on to its host's new incident, with what must not be forgotten: where it may run besides.
func (e *Engine) inherit(in *Incident, r *Recovery) {
	for _, o := range e.open {
		left := e.vms[o.ID][r.VM.ID]
		if o.Phase != PhaseRetrying || o.Host != in.Host || left == nil || !left.unfinished() {
			continue
		}
		r.Elsewhere, r.Disputed = left.Elsewhere, left.Disputed
		e.setState(left, Skipped, "its host failed again: incident "+in.ID+" has it")
	}
}

// keptForbidden lists what a host's agent must go on refusing although the host is back in service.
func (e *Engine) keptForbidden(host string) []string {
	out := merge(slices.Clone(e.host(host).forbidden), e.lateOrders(host))
	for _, in := range e.openOf(host) {
		if in.Phase != PhaseRetrying {
			continue
		}
		for _, r := range e.recoveries(in) {
			if r.Elsewhere != "" && r.unfinished() {
				out = merge(out, []string{r.VM.ID})
			}
		}
	}
	return out
}

// listPeriod is how often Nova is asked what held VMs wait for.
func (in *Incident) listPeriod() time.Duration {
	if in.Phase == PhaseRetrying {
		return time.Minute // it may last for days
	}
	return 5 * time.Second
}
