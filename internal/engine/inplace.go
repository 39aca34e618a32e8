package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// inPlace brings back the VMs of a host that rebooted by itself, on that host. If it isn't healthy in time, it is
// fenced as soon as that is allowed, and they come back elsewhere.
func (e *Engine) inPlace(in *Incident) {
	if !in.Planned {
		e.list(in, 2*time.Second, "which VMs were running")
	}
	e.repeat(in, "service/"+in.ID, 2*time.Second, Action{Do: ReadService, Incident: in.ID, Host: in.Host})
	if e.unhealthy(in, e.host(in.Host)) {
		e.notHealthy(in)
		return
	}
	locks := e.mayWrite(in)
	e.block(in, locks)
	if !in.Planned {
		return
	}
	e.restart(in, len(locks) == 0)
	if e.settled(in) && !e.anyIn(in, Failed) {
		in.Stages.Resurrected, in.Restart = e.now, false
		e.closeIncident(in, e.summary(in)+", in place")
	}
}

func (e *Engine) notHealthy(in *Incident) {
	if e.now.Sub(in.Stages.Verdict) <= e.policy.RebootWait() {
		e.block(in, nil)
		return
	}
	in.Unhealthy = true
	locks := e.mayFence(in)
	e.block(in, locks)
	if len(locks) > 0 {
		in.Unhealthy = false // it may become healthy while that lasts
		return
	}
	e.tell(in, fmt.Sprintf("not healthy %s after its reboot: it is fenced, and its VMs come back elsewhere", e.policy.RebootWait()))
	e.beginAnew(in, PhaseFencing)
	e.fence(in)
}

func (e *Engine) anyIn(in *Incident, s State) bool {
	return slices.ContainsFunc(e.recoveries(in), func(r *Recovery) bool { return r.State == s })
}

// unhealthy: the agent pulses without doubt and nova-compute reports, or not. A reading from before the new boot says
// nothing: our own write to the service's record looks like a report.
func (e *Engine) unhealthy(in *Incident, h *host) bool {
	s := h.facts.Service
	return !h.alive() || h.now.Suspect || h.now.Boot != in.Return.Boot || !s.Fresh || h.serviceAt.Before(in.Return.Seen) ||
		h.report.Boot != in.Return.Boot || h.report.GateClosed
}

// planInPlace lists the VMs of a rebooted host; those that ran before are restarted.
func (e *Engine) planInPlace(in *Incident, ev Listed) {
	in.Listed, in.Before, in.Planned = ev.Date, evacuationsOf(in.Host, ev.Migrations), true
	for _, vm := range ev.VMs {
		r := e.vms[in.ID][vm.ID]
		if r != nil && r.Open() != nil {
			continue
		}
		r = &Recovery{Incident: in.ID, VM: vm}
		e.inherit(in, r)
		e.add(r)
		e.classifyInPlace(in, r, ev.Migrations)
	}
	e.watchForOthers(in, ev.Migrations)
	e.account(in, ev)
	e.arrange(in)
	e.tell(in, e.planInWords(in))
}

// refreshInPlace decides about VMs that were found again.
func (e *Engine) refreshInPlace(in *Incident, ev Listed) {
	for _, vm := range ev.VMs {
		if r := e.vms[in.ID][vm.ID]; r != nil && r.State == Unaccounted && r.Reason == foundAgain {
			vm.Facts = r.VM.Facts
			r.VM = vm
			e.classifyInPlace(in, r, ev.Migrations)
		}
	}
}

// classifyInPlace: what ran when the host went down is restarted; what may run elsewhere never is.
func (e *Engine) classifyInPlace(in *Incident, r *Recovery, migrations []Migration) {
	vm := r.VM
	d := e.policy.Decide(vm.Facts)
	r.Rule, r.Priority, r.Was = d.Reason, d.Priority, vm.Status
	ran := slices.ContainsFunc(e.host(in.Host).vms, func(v VM) bool { return v.ID == vm.ID && v.Status == "ACTIVE" })
	if other, why := e.entangled(in, vm, migrations); other != "" {
		r.Elsewhere = other
		e.setState(r, Held, why)
		return
	}
	if r.Disputed {
		e.setState(r, Held, r.disputedWhy(in))
		return
	}
	switch {
	case vm.Task == "deleting" || vm.Status == "DELETED" || vm.Status == "SOFT_DELETED" || vm.Status == "SHELVED_OFFLOADED":
		e.setState(r, Skipped, "gone: "+strings.ToLower(either(vm.Task, vm.Status)))
	case active[vm.Status] || vm.Status == "SHUTOFF" && ran:
		r.Restart = true
		e.setState(r, Restarting, "the host rebooted")
	case vm.Status == "SHUTOFF":
		e.setState(r, Skipped, "stopped before")
	case vm.Status == "ERROR" && !vm.Launched:
		e.setState(r, Skipped, "never ran")
	default:
		e.setState(r, Held, vm.Status+": its memory is gone; bring it back by hand (openstack server reboot --hard)")
	}
}

// restart brings VMs back on their own, living host: a hard reboot where Nova believes the VM active, a start where
// Nova has noticed that it is off, nothing where the agent sees it running already.
func (e *Engine) restart(in *Incident, may bool) {
	if !may {
		return
	}
	under := e.inFlight("restart/" + in.ID)
	for _, r := range e.recoveries(in) {
		if r.dueAgain(e.now) && r.Back == in.Return.Boot && r.Restart {
			r.Accepted = zeroTime // somebody may have brought it up: see verify
			e.setState(r, Verifying, "looked at before another try: "+r.Reason)
			e.look(in, r)
		}
		key := "restart/" + in.ID + "/" + r.VM.ID
		if r.State != Restarting || e.now.Before(r.NotBefore) || e.now.Before(e.mayComeUntil(r)) || e.busy(key) {
			continue
		}
		if runs, known := e.host(in.Host).runs(e.now, r.VM.ID, in.Return.Seen); known && runs {
			r.Accepted = e.now
			e.setState(r, Verifying, "runs already")
			continue
		}
		if in.Return.Lived && r.Tries == 0 { // no list since says so; a hard reboot would end it
			r.Back, r.Tries, r.Accepted = in.Return.Boot, 1, zeroTime
			e.setState(r, Verifying, "looked at first: it may run")
			e.look(in, r)
			continue
		}
		if under >= e.cfg.PerTarget {
			return
		}
		r.Back = in.Return.Boot
		r.Tries++
		kind := HardReboot
		if r.VM.Status == "SHUTOFF" {
			kind = Start
		}
		under++
		e.touchVM(r)
		e.do(key, Action{Do: kind, Incident: in.ID, Host: in.Host, VM: r.VM.ID, Why: "in place"})
	}
}

// againInPlace: it did not come up on its own host. After five tries it counts as failed, and is tried at longer intervals.
func (e *Engine) againInPlace(r *Recovery, why string) {
	if r.Tries >= triesBeforeFailed {
		r.NotBefore = e.now.Add(backoff(r.Tries, 5*time.Second, 5*time.Minute))
		e.setState(r, Failed, fmt.Sprintf("it did not come up in place: %s (%d tries; next at %s)", why, r.Tries, clock(r.NotBefore)))
		return
	}
	r.NotBefore = e.now.Add(backoff(r.Tries, 5*time.Second, time.Minute))
	e.setState(r, Restarting, why+"; tried again")
}

func (e *Engine) inFlight(prefix string) int {
	n := 0
	for key := range e.inflight {
		if strings.HasPrefix(key, prefix) {
			n++
		}
	}
	return n
}
