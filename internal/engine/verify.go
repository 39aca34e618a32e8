package engine

import (
	"fmt"
	"time"
)

const seenWithin = 60 * time.Second // an agent lists its guests every few seconds; by then it must have seen the VM

// looked takes in one VM read afresh: it verifies a recovery, or finds a VM that was unaccounted for.
func (e *Engine) looked(ev Looked) {
	act := e.answeredBy(ev.Action)
	if act == nil {
		return
	}
	in, r := e.incidents[act.Incident], e.vms[act.Incident][act.VM]
	if in == nil || r == nil || ev.Err != "" {
		return
	}
	e.paused = zeroTime
	switch {
	case r.State == Unaccounted:
		e.found(in, r, ev)
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
		e.setState(r, Skipped, "gone: Nova no longer knows it")
	case ev.VM.Host != "" && ev.VM.Host != in.Host:
		e.setState(r, Skipped, "runs on "+ev.VM.Host+", says Nova")
	default:
		r.VM = ev.VM
		e.tellVM(r, "found again")
		e.classify(in, r, nil)
		e.arrange(in)
	}
}

// verify decides from Nova's record and, where one can, from the destination's agent, whether the VM is back.
func (e *Engine) verify(in *Incident, r *Recovery, vm VM) {
	if r.To == "" && vm.Host != in.Host && in.Phase != PhaseInPlace {
		r.To = vm.Host
	}
	if vm.Host == in.Host && !e.inPlaceNow(in, r) {
		e.notMoved(in, r, vm)
		return
	}
	if o := e.incidentOf(vm.Host); vm.Host != in.Host && o != nil && o.Proof != nil && o.Proof.Kind != "reboot" {
		e.handOver(o, r, vm)
		return
	}
	r.To = vm.Host
	if vm.Status == "ERROR" {
		e.again(r, fmt.Sprintf("Nova says done, but the VM is in ERROR on %s", vm.Host))
		return
	}
	if r.Stopped {
		if vm.Status == "SHUTOFF" {
			r.SeenBy = "nova"
			e.recovered(in, r, "stopped, as it was")
		}
		return
	}
	if vm.Status != "ACTIVE" || vm.Power != "running" {
		if e.inPlaceNow(in, r) && vm.Task == "" && e.now.Sub(r.Accepted) > seenWithin {
			e.setState(r, Restarting, fmt.Sprintf("still %s, power %s; tried again", vm.Status, vm.Power))
		}
		return
	}
	h := e.host(vm.Host)
	if h.blind() {
		r.SeenBy = "nova"
	} else if runs, known := h.runs(e.now, vm.ID, either2(r.Done, r.Accepted)); known && runs {
		r.SeenBy = "agent"
	} else if e.now.Sub(either2(r.Done, r.Accepted)) < seenWithin {
		e.do("guests/"+vm.Host, Action{Do: AskGuests, Host: vm.Host, Why: vm.Name + " should run there"})
		return
	} else if known {
		e.again(r, fmt.Sprintf("Nova says ACTIVE on %s, but its agent sees no such guest", vm.Host))
		return
	} else {
		r.SeenBy = "nova"
	}
	if r.Pause {
		e.do("pause/"+vm.ID, Action{Do: Pause, Incident: in.ID, Host: vm.Host, VM: vm.ID, Why: "it was paused"})
		return
	}
	e.recovered(in, r, "")
}

// notMoved: after a refusal for a conflict, or after its destination died, Nova still counts the VM on the dead host.
func (e *Engine) notMoved(in *Incident, r *Recovery, vm VM) {
	if vm.Task == "deleting" {
		r.Restart = false
		e.setState(r, Skipped, "gone: being deleted")
		return
	}
	if n := len(r.Attempts); n > 0 && r.Attempts[n-1].Status == "done" && e.now.Sub(r.Done) < seenWithin {
		return // Nova's records may disagree for a moment
	}
	vm.Facts = r.VM.Facts
	r.VM, r.To = vm, ""
	r.NotBefore = e.now.Add(backoff(r.Tries, 2*time.Second, 5*time.Minute))
	e.classify(in, r, nil)
}

// handOver gives a VM that Nova counts on another dead host to that host's incident.
func (e *Engine) handOver(o *Incident, r *Recovery, vm VM) {
	if !o.Planned {
		return // that incident's own list will find it
	}
	e.setState(r, Skipped, "taken over by incident "+o.ID+": its destination "+o.Host+" died")
	if _, there := e.vms[o.ID][vm.ID]; !there {
		vm.Facts = r.VM.Facts
		n := &Recovery{Incident: o.ID, VM: vm}
		e.vms[o.ID][vm.ID] = n
		e.classify(o, n, nil)
		e.arrange(o)
		if o.Phase == PhaseRecovered && !o.Return.PowerOn {
			o.Phase = PhaseResurrecting
			e.touch(o)
		}
	}
}

func (e *Engine) recovered(in *Incident, r *Recovery, how string) {
	text := "on " + r.To
	if e.inPlaceNow(in, r) {
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
}

// inPlaceNow reports whether the VM is being restarted on its own host rather than elsewhere.
func (e *Engine) inPlaceNow(in *Incident, r *Recovery) bool {
	return in.Phase == PhaseInPlace || in.Phase == PhaseRecovered && in.Return.Boot != ""
}

func either2(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return a
}
