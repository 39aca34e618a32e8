package engine

import (
	"maps"
	"slices"
	"time"
)

// lateFor is how long after its readmission a host goes on refusing the VMs that were resurrected from it. An order that
// Nova gave while the host was dead may have gone into its dead connection: RabbitMQ notices that by its heartbeat (60 s
// by default, two may pass) and delivers the order once more, to a host that is back in service by then. Seen: a queued
// start that came 58 s after the power cut, half a second after the host was readmitted.
const lateFor = 5 * time.Minute

// refuseLate has a host that is being readmitted go on refusing what runs elsewhere. It is on record before the incident
// closes: a new leader that finds the incident closed finds it there.
func (e *Engine) refuseLate(in *Incident) {
	h := e.host(in.Host)
	until := in.Return.Healthy.Add(e.policy.Settle() + lateFor)
	for _, vm := range e.forbiddenOn(in) {
		if !h.late[vm].Before(until) {
			continue
		}
		if h.late == nil {
			h.late = map[string]time.Time{}
		}
		h.late[vm] = until
		e.touchHost(in.Host)
	}
}

// lateOrders are the VMs that a host refuses for what may still be under way to it. Those whose time is over are forgotten.
func (e *Engine) lateOrders(name string) []string {
	h := e.host(name)
	for vm, until := range h.late {
		if !e.now.Before(until) {
			delete(h.late, vm)
			e.touchHost(name)
		}
	}
	return slices.Sorted(maps.Keys(h.late))
}

// liftLate: what Nova counts on the host may run there; somebody has moved it back.
func (e *Engine) liftLate(name string, vms []VM) {
	h := e.host(name)
	if len(h.late) == 0 {
		return
	}
	before := len(h.late)
	for _, vm := range vms {
		delete(h.late, vm.ID)
	}
	if len(h.late) != before {
		e.touchHost(name)
		e.regate(name)
	}
}
