package engine

import (
	"slices"
	"time"
)

// hostSeen takes in a host's facts. Once its service was taken out, only readings made for the incident count: a list
// begun before our own write would undo it in our eyes.
func (e *Engine) hostSeen(f HostFacts) {
	h := e.host(f.Name)
	switch in := e.incidentOf(f.Name); {
	case in == nil || !in.Out.Begun:
		h.serviceAt = e.now
	case h.facts.Service.ID != "":
		f.Service = h.facts.Service
	default: // a new leader's first: its ID is right, the rest may be from before our write
		h.serviceAt = zeroTime
	}
	e.recount = e.recount || h.facts.Zone != f.Zone
	h.facts = f
	e.takeBack(h)
}

// takeBack: an operator took back a host that a given-up incident had left as it was.
func (e *Engine) takeBack(h *host) {
	if h.leftAlone() && e.incidentOf(h.facts.Name) == nil && h.takenBack() {
		e.note(Info, h.facts.Name, "", "", "taken back by an operator: protected again")
		e.protectAgain(h)
	}
}

func (h *host) leftAlone() bool { return h.givenUp != "" || len(h.forbidden) > 0 }

// protectAgain ends what a given-up incident left behind.
func (e *Engine) protectAgain(h *host) {
	h.givenUp, h.forbidden = "", nil
	e.touchHost(h.facts.Name)
	e.regate(h.facts.Name)
}

// hostForgotten forgets a host that Nova no longer lists. One that pulses is no less there for a cell that doesn't answer.
func (e *Engine) hostForgotten(name string) {
	if h := e.hosts[name]; h != nil && e.incidentOf(name) == nil && !h.pulses() {
		delete(e.hosts, name)
		e.names, e.recount = nil, true
		delete(e.gated, name)
		e.touchHost(name)
	}
}

// inventoryRead keeps the last list from before a failure until the incident's own plan was checked against it.
func (e *Engine) inventoryRead(ev InventoryRead) {
	h := e.host(ev.Host)
	if in := e.incidentOf(ev.Host); h.now.Suspect || in != nil && in.acting() && !in.Planned {
		return
	}
	since := ev.Since
	if since.IsZero() {
		since = e.now
	}
	h.arrived = slices.DeleteFunc(h.arrived, func(a arrival) bool { return a.at.Before(since) })
	h.read(ev.VMs)
	e.liftLate(ev.Host, ev.VMs)
}

// read replaces the list, but for those that came later.
func (h *host) read(vms []VM) {
	h.vms, h.listed = vms, true
	for _, a := range h.arrived {
		h.add(a.vm)
	}
}

// arrivedLately is how long after a recovery a new leader takes it for one that its first reading may not show: longer
// than a reading takes.
const arrivedLately = time.Hour

// arrival is a VM that was brought to a host, and when.
type arrival struct {
	vm VM
	at time.Time
}

// arrive puts a VM on the list of the host it was brought to. The next reading may be minutes away and the host fail
// before: what is not on the list then is missed by nobody, and not known to have run.
func (e *Engine) arrive(r *Recovery) {
	h, vm := e.host(r.To), r.VM
	vm.Host, vm.Status, vm.Task = r.To, "ACTIVE", ""
	if r.Stopped {
		vm.Status = "SHUTOFF"
	}
	h.arrived = append(h.arrived, arrival{vm, r.Ended})
	h.add(vm)
}

// add takes a VM into the list unless it has it. Lists belong to who read them: this is a new one.
func (h *host) add(vm VM) {
	if !slices.ContainsFunc(h.vms, func(v VM) bool { return v.ID == vm.ID }) {
		h.vms = append(slices.Clip(h.vms), vm)
	}
}
