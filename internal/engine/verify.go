package engine

import (
	"fmt"
	"time"
)

// askedWithin is how long an agent may take to answer about its guests before Nova's word alone counts.
const askedWithin = 15 * time.Second

const seenWithin = 60 * time.Second // an agent lists its guests every few seconds; by then it must have seen the VM

// looked takes in one VM read afresh: it verifies a recovery, or finds a VM that was unaccounted for.
func (e *Engine) looked(ev Looked) {
	act := e.answeredBy(ev.Action)
	if act == nil {
		return
	}
	in, r := e.incidents[act.Incident], e.vms[act.Incident][act.VM]
	if in == nil || r == nil || in.closed() || ev.Err != "" {
		return
	}
	e.paused = zeroTime
	switch {
	case r.State == Unaccounted:
		e.found(in, r, ev)
	case r.State == Resurrecting && !ev.Found && r.Open() != nil:
		a := r.Open()
		a.Ended, a.Why, r.Restart = e.now, "its VM was deleted", false
		e.setState(r, Skipped, "gone: deleted during the recovery")
	case r.State == Verifying && !ev.Found:
		r.Restart = false
		e.setState(r, Skipped, "gone: deleted during the recovery")
	case r.State == Verifying:
		e.verify(in, r, ev.VM)
	}
}

func (e *Engine) found(in *Incident, r *Recovery, ev Looked) {
	switch {
	case !ev.Found:
		r.Restart = false
		e.setState(r, Skipped, "gone: Nova no longer knows it")
	case ev.VM.Status == "UNKNOWN" || ev.VM.Status == "" || ev.VM.Host == "" && ev.VM.Status != "SHELVED_OFFLOADED":
		// Its cell doesn't answer: it stays unaccounted for.
	case ev.VM.Host != in.Host && ev.VM.Host != "":
		e.foundElsewhere(in, r, ev.VM)
	default:
		r.VM = ev.VM
		if r.Reason != foundAgain {
			e.setState(r, Unaccounted, foundAgain) // its cell hid its migrations as well
		}
		e.list(in, time.Second, foundAgain)
	}
}

// foundAgain is why a VM stays unaccounted until a list that has it has brought its migrations, too.
const foundAgain = "found there; whether it was moving when its host failed is read first"

// foundElsewhere: Nova counts it on another host. Whether it runs there is that host's agent's to say: one that was ended
// there, or never started, is down although Nova shows it active.
func (e *Engine) foundElsewhere(in *Incident, r *Recovery, vm VM) {
	if o := e.incidentOf(vm.Host); o != nil && o.acting() {
		if o.fenced() {
			e.handOver(o, r, vm)
		}
		return
	}
	h, asked := e.host(vm.Host), e.askedSince(in, vm.ID)
	runs, known := h.runs(e.now, vm.ID, asked)
	state, reason := Skipped, "runs on "+vm.Host+", says Nova"
	switch {
	case (vm.Status == "REBUILD" || vm.Task != "") && e.now.Sub(asked) < seenWithin:
		return // somebody is at it
	case !active[vm.Status]:
		reason = fmt.Sprintf("is on %s by now, %s, says Nova", vm.Host, vm.Status)
	case h.blind():
	case runs:
		reason = "runs on " + vm.Host + "; its agent sees the domain running"
	case known:
		state = Held
		reason = fmt.Sprintf("Nova counts it on %s, whose agent sees no such guest: openstack server reboot --hard %s", vm.Host, vm.ID)
	case e.now.Sub(asked) > askedWithin:
		reason += "; its agent doesn't answer"
	default:
		e.askGuests(in, vm.Host, vm.Name+" should run there")
		return
	}
	r.Restart, r.To = false, vm.Host
	e.setState(r, state, reason)
}

// stays: once the host is on its way back nothing is sent elsewhere any more; the VM waits for it.
func (e *Engine) stays(in *Incident, r *Recovery) {
	if r.State == Queued && in.coming() {
		e.setState(r, Held, "its host is coming back")
	}
}

// verify decides from Nova's record and, where one can, from the destination's agent, whether the VM is back.
func (e *Engine) verify(in *Incident, r *Recovery, vm VM) {
	here := vm.Host == in.Host
	if here && !e.inPlaceNow(in) {
		e.notMoved(in, r, vm)
		return
	}
	if o := e.incidentOf(vm.Host); !here && o != nil && o.acting() {
		if o.fenced() {
			e.handOver(o, r, vm)
		}
		return // its new host is failing too: that incident decides
	}
	r.To = vm.Host
	if here {
		r.VM.Status, r.VM.Power = vm.Status, vm.Power // decides how it is brought up, should it not run
	}
	since, h := r.Done, e.host(vm.Host)
	if here || since.IsZero() {
		since = r.Accepted
	}
	late := e.now.Sub(since) >= seenWithin
	if since.IsZero() { // nothing was done that it could have come up by: a list from now on tells
		since = e.askedSince(in, vm.ID)
	}
	wrong := ""
	switch {
	case r.Pause && vm.Status == "PAUSED":
		e.recovered(in, r, "paused again")
		return
	case r.Stopped && vm.Status == "SHUTOFF":
		r.SeenBy = "nova"
		e.recovered(in, r, "stopped, as it was")
		return
	case vm.Status != "ACTIVE" || vm.Power != "running" || vm.Task != "":
		wrong = fmt.Sprintf("Nova says %s, power %s", vm.Status, vm.Power)
		late = late && vm.Task == "" || vm.Status == "ERROR"
	case h.blind():
		r.SeenBy = "nova"
	default:
		runs, known := h.runs(e.now, vm.ID, since)
		switch {
		case runs:
			r.SeenBy = "agent"
		case known && late:
			wrong = "Nova says ACTIVE, but its host's agent sees no such guest"
		case late && !e.last(in, "asked/"+vm.ID).IsZero() && e.now.Sub(e.last(in, "asked/"+vm.ID)) > askedWithin:
			r.SeenBy = "nova" // nobody else answers
		default:
			e.askedSince(in, vm.ID)
			e.askGuests(in, vm.Host, vm.Name+" should run there")
			return
		}
	}
	switch {
	case wrong == "":
		e.verified(in, r)
	case late && here && r.Accepted.IsZero(): // a look before another try
		e.setState(r, Restarting, wrong+"; tried again")
	case late && here:
		e.againInPlace(r, wrong)
	case late:
		// It is no longer the dead host's, and a living host's VM is never evacuated.
		e.setState(r, Held, fmt.Sprintf("was brought to %s, but %s: openstack server reboot --hard %s", vm.Host, wrong, vm.ID))
	}
}

// askedSince is from when on an agent's list of guests was wanted for a VM: from now, if it wasn't yet.
func (e *Engine) askedSince(in *Incident, vm string) time.Time {
	if e.last(in, "asked/"+vm).IsZero() {
		e.mark(in, "asked/"+vm, e.now)
	}
	return e.last(in, "asked/"+vm)
}

// verified: it runs. One that was paused is paused again, as far as that may be done.
func (e *Engine) verified(in *Incident, r *Recovery) {
	switch {
	case !r.Pause:
		e.recovered(in, r, "")
	case in.Aborted != "":
		e.recovered(in, r, "not paused again: given up")
	case len(e.mayWrite(in)) == 0 && !e.busy("pause/"+r.VM.ID):
		e.touchVM(r)
		e.do("pause/"+r.VM.ID, Action{Do: Pause, Incident: in.ID, Host: r.To, VM: r.VM.ID, Why: "it was paused"})
	}
}

// notMoved: after a refusal, or after its destination died, Nova still counts the VM on the dead host.
func (e *Engine) notMoved(in *Incident, r *Recovery, vm VM) {
	last := lastAttempt(r)
	if last != nil && last.Status == "done" {
		if e.now.Sub(r.Done) >= seenWithin { // Nova's records may disagree for a moment
			r.Elsewhere, r.Disputed = either(last.To, last.Target), true
			e.setState(r, Held, r.disputedWhy(in))
		}
		return
	}
	vm.Facts = r.VM.Facts
	why := r.Reason
	r.VM, r.To = vm, ""
	f := e.fate(in, r, nil)
	if f.state != Queued {
		e.settle(r, f)
		return
	}
	r.Reset = f.reset
	e.again(r, why)
}

// handOver gives a VM that Nova counts on another dead host to that host's incident.
func (e *Engine) handOver(o *Incident, r *Recovery, vm VM) {
	if !o.Planned {
		return // that incident's own list will find it
	}
	e.setState(r, Skipped, "taken over by incident "+o.ID+": its destination "+o.Host+" died")
	r.Restart = false
	if e.vms[o.ID][vm.ID] == nil {
		vm.Facts = r.VM.Facts
		n := &Recovery{Incident: o.ID, VM: vm}
		e.add(n)
		e.setState(n, Unaccounted, foundAgain)
		e.list(o, time.Second, foundAgain)
	}
}

func (e *Engine) recovered(in *Incident, r *Recovery, how string) {
	r.Pause, r.Elsewhere, r.Disputed = false, "", false
	text := "on " + r.To
	if r.To == in.Host {
		text = "in place"
	}
	if r.SeenBy == "agent" {
		text += "; its agent sees the domain running"
	} else {
		text += "; seen: nova"
	}
	if how != "" {
		text += "; " + how
	}
	e.setState(r, Recovered, text)
	e.arrive(r)
}

// inPlaceNow reports whether VMs are being restarted on their own host rather than elsewhere.
func (e *Engine) inPlaceNow(in *Incident) bool {
	return in.Phase == PhaseInPlace || in.Phase == PhaseRetrying || in.Phase == PhaseRecovered && in.Return.Boot != ""
}
