package engine

import (
	"fmt"
	"strings"
	"time"
)

// inPlace brings back the VMs of a host that rebooted by itself, on that host. If it isn't healthy in time, it is
// fenced and they come back elsewhere.
func (e *Engine) inPlace(in *Incident) {
	h := e.host(in.Host)
	if !in.Planned {
		if e.every("list/"+in.ID, 2*time.Second) {
			e.do("list/"+in.Host, Action{Do: ListServers, Incident: in.ID, Host: in.Host, Why: "which VMs were running"})
		}
	}
	if e.unhealthy(in, h) && e.now.Sub(in.Stages.Verdict) > e.policy.RebootWait() {
		e.tell(in, fmt.Sprintf("not healthy %s after its reboot: it is fenced, and its VMs come back elsewhere", e.policy.RebootWait()))
		in.Phase, in.Proof, in.Boot, in.Verdict, in.Unhealthy = PhaseOpen, nil, in.Return.Boot, Dead, true
		in.Planned, in.Return = false, Return{}
		clear(e.vms[in.ID])
		return
	}
	if e.every("service/"+in.ID, 2*time.Second) {
		e.do("service/"+in.ID, Action{Do: ReadService, Incident: in.ID, Host: in.Host})
	}
	if !in.Planned || e.unhealthy(in, h) {
		return
	}
	locks := e.mayWrite(in)
	e.block(in, locks)
	e.restart(in, len(locks) == 0)
	if e.settled(in) {
		in.Stages.Resurrected = e.now
		e.closeIncident(in, e.summary(in)+", in place")
	}
}

// unhealthy: the agent pulses without doubt and nova-compute reports, or not.
func (e *Engine) unhealthy(in *Incident, h *host) bool {
	return !h.alive() || h.now.Suspect || h.now.Boot != in.Return.Boot || !h.facts.Service.Fresh ||
		h.report.Boot == in.Return.Boot && h.report.GateClosed
}

// planInPlace lists the VMs of a rebooted host; those that ran before are restarted.
func (e *Engine) planInPlace(in *Incident, ev Listed) {
	h := e.host(in.Host)
	ran := map[string]bool{}
	for _, vm := range h.vms {
		ran[vm.ID] = vm.Status == "ACTIVE"
	}
	for _, vm := range ev.VMs {
		r := &Recovery{Incident: in.ID, VM: vm}
		e.vms[in.ID][vm.ID] = r
		d := e.policy.Decide(vm.Facts)
		r.Rule, r.Priority = d.Reason, d.Priority
		switch {
		case vm.Status == "ACTIVE" || vm.Status == "SHUTOFF" && ran[vm.ID]:
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
	in.Listed, in.Planned = ev.Date, true
	e.account(in, ev)
	e.arrange(in)
	e.tell(in, e.planInWords(in))
}

// restart brings VMs back on their own, living host: a hard reboot where Nova believes the VM active, a start where
// Nova has noticed that it is off, nothing where the agent sees it running already.
func (e *Engine) restart(in *Incident, may bool) {
	h := e.host(in.Host)
	for _, r := range e.recoveries(in) {
		switch r.State {
		case Unaccounted:
			if e.every("look/"+r.VM.ID, 5*time.Second) {
				e.look(in, r)
			}
		case Verifying:
			if e.every("look/"+r.VM.ID, time.Second) {
				e.look(in, r)
			}
		case Restarting:
			if !may || e.now.Before(r.NotBefore) || e.busy("restart/"+r.VM.ID) {
				continue
			}
			if runs, known := h.runs(e.now, r.VM.ID, in.Return.Seen); known && runs {
				r.Accepted = e.now
				e.setState(r, Verifying, "runs already")
				continue
			}
			if e.inFlight("restart/") >= e.cfg.PerTarget {
				return
			}
			if r.Tries++; r.Tries > triesBeforeFailed {
				e.setState(r, Failed, "it did not come up in place after five tries")
				continue
			}
			kind := HardReboot
			if r.VM.Status == "SHUTOFF" {
				kind = Start
			}
			e.touchVM(r)
			e.do("restart/"+r.VM.ID, Action{Do: kind, Incident: in.ID, Host: in.Host, VM: r.VM.ID, Why: "in place"})
		}
	}
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
