package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// plan makes the recoveries of an incident out of a list read after the proof.
func (e *Engine) plan(in *Incident, ev Listed) {
	in.Listed, in.Before = ev.Date, evacuationsOf(in.Host, ev.Migrations)
	for _, vm := range ev.VMs {
		if owner := e.owner(vm.ID); owner != nil && owner.Incident != in.ID {
			if e.takeOver(in, owner, vm) {
				continue
			}
		}
		r := &Recovery{Incident: in.ID, VM: vm}
		e.vms[in.ID][vm.ID] = r
		e.classify(in, r, ev.Migrations)
	}
	for _, m := range ev.Migrations {
		if m.Type == "evacuation" && m.Source == in.Host && !m.final() {
			e.foreign(in, m) // this incident has sent nothing yet
		}
	}
	e.account(in, ev)
	e.arrivals(in, ev)
	e.arrange(in)
	in.Planned = true
	e.tell(in, e.planInWords(in))
}

func evacuationsOf(host string, migrations []Migration) []string {
	var out []string
	for _, m := range migrations {
		if m.Type == "evacuation" && m.Source == host {
			out = append(out, m.UUID)
		}
	}
	return out
}

// owner returns the open recovery of a VM, if any incident has one.
func (e *Engine) owner(vm string) *Recovery {
	for _, in := range e.open() {
		if r := e.vms[in.ID][vm]; r != nil && (r.State != Skipped && r.State != Recovered) {
			return r
		}
	}
	return nil
}

// takeOver moves a VM that died on its way to this incident's host here, out of the incident that had sent it. It
// reports whether the VM stays with the other incident instead.
func (e *Engine) takeOver(in *Incident, other *Recovery, vm VM) (stays bool) {
	if open := other.Open(); open != nil {
		if open.To != "" && open.To != in.Host {
			return true
		}
		open.Ended, open.Why = e.now, "its destination "+in.Host+" has a proof"
	}
	e.setState(other, Skipped, "taken over by incident "+in.ID+": its destination "+in.Host+" died")
	return false
}

// classify says what is to become of a VM: DESIGN §7's table, first match.
func (e *Engine) classify(in *Incident, r *Recovery, migrations []Migration) {
	vm := r.VM
	d := e.policy.Decide(vm.Facts)
	r.Rule, r.Priority, r.Rebuild = d.Reason, d.Priority, d.Rebuild
	r.Restart = vm.Status == "ACTIVE" || vm.Status == "PAUSED" || vm.Status == "RESCUE"
	set := func(s State, format string, args ...any) { e.setState(r, s, fmt.Sprintf(format, args...)) }
	if why := e.entangled(in, vm, migrations); why != "" {
		set(Held, "%s", why)
		return
	}
	switch {
	case d.Action == policy.Hold || d.Action == "":
		set(Held, "%s", d.Reason)
	case d.Action != policy.Resurrect:
		set(Skipped, "left alone: %s", d.Reason)
	case vm.Task == "deleting" || vm.Status == "DELETED" || vm.Status == "SOFT_DELETED" || vm.Status == "SHELVED_OFFLOADED":
		r.Restart = false
		set(Skipped, "gone: %s", strings.ToLower(either(vm.Status, vm.Task)))
	case vm.Status == "ERROR" && !vm.Launched:
		set(Skipped, "never ran")
	case slices.Contains(heldStatuses, vm.Status) || vm.Task == "migrating":
		set(Held, "%s: %s", vm.Status, heldWhy(vm))
	case vm.Immovable != "":
		set(Skipped, "Nova can't evacuate it: %s", vm.Immovable)
	case vm.Status == "SHUTOFF" && (d.Stopped == policy.StoppedLeave || d.Stopped != policy.StoppedResurrect && !e.cfg.StaysStopped):
		set(Skipped, "stopped, stays with its host")
	case vm.Status == "SHUTOFF":
		r.Stopped = true
		set(Queued, "")
	case vm.Status == "PAUSED":
		r.Reset, r.Pause = true, true
		set(Queued, "paused: comes back and is paused again; what was in its memory is gone")
	case vm.Status == "RESCUE":
		r.Reset = true
		set(Queued, "rescued: comes back unrescued")
	case vm.Status == "ACTIVE" || vm.Status == "ERROR":
		set(Queued, "")
	default:
		r.Reset = true
		set(Held, "%s: Nova's state is none that this version knows how to bring back; set it (openstack server set --state active %s), then: ninelives incident retry %s", vm.Status, vm.ID, in.ID)
	}
}

var heldStatuses = []string{"SUSPENDED", "SHELVED", "RESIZE", "VERIFY_RESIZE", "REVERT_RESIZE", "BUILD", "REBUILD", "MIGRATING", "HARD_REBOOT", "PASSWORD"}

func heldWhy(vm VM) string {
	switch vm.Status {
	case "SUSPENDED":
		return "its memory is saved on the dead host; resume it when the host is back, or reset its state to bring back its disk"
	case "SHELVED":
		return "it is shelved but not offloaded; it runs nowhere. Unshelve it when its host is back"
	case "BUILD", "REBUILD":
		return "it was being built; delete it and build it again"
	case "VERIFY_RESIZE", "RESIZE", "REVERT_RESIZE":
		return "a resize is open; confirm or revert it, then: ninelives incident retry"
	default:
		return "Nova is in the middle of something; it is looked at again"
	}
}

// account looks for VMs that were known on the host and are missing from Nova's list: cells that don't answer are left
// out of it without a word. None may be lost silently (promise S3).
func (e *Engine) account(in *Incident, ev Listed) {
	h := e.host(in.Host)
	known := map[string]string{}
	for _, vm := range h.vms {
		known[vm.ID] = "the inventory before the failure"
	}
	if h.report.Boot == in.Boot {
		for _, g := range h.report.Guests {
			known[g] = "the agent's last list of guests"
		}
	}
	for _, c := range ev.Allocated {
		known[c] = "Placement's allocations"
	}
	for id, by := range known {
		if e.vms[in.ID][id] != nil {
			continue
		}
		if o := e.owner(id); o != nil {
			continue
		}
		vm := VM{ID: id, Name: id, Host: in.Host}
		if i := slices.IndexFunc(h.vms, func(v VM) bool { return v.ID == id }); i >= 0 {
			vm = h.vms[i]
		}
		r := &Recovery{Incident: in.ID, VM: vm}
		e.vms[in.ID][id] = r
		e.setState(r, Unaccounted, "known by "+by+", missing from Nova's list of "+in.Host)
	}
}

// planInWords is the sentence the plan is told in.
func (e *Engine) planInWords(in *Incident) string {
	n := map[State]int{}
	for _, r := range e.vms[in.ID] {
		n[r.State]++
	}
	text := fmt.Sprintf("plan: %d to resurrect", n[Queued])
	for _, s := range []State{Restarting, Recovered, Skipped, Held, Unaccounted} {
		if n[s] > 0 {
			text += fmt.Sprintf(", %d %s", n[s], s)
		}
	}
	return text
}

// arrange numbers the queue: priority, then size (the largest are hardest to place), then name.
func (e *Engine) arrange(in *Incident) {
	rs := e.recoveries(in)
	slices.SortStableFunc(rs, func(a, b *Recovery) int {
		switch {
		case a.Priority != b.Priority:
			return b.Priority - a.Priority
		case a.VM.MemoryMB != b.VM.MemoryMB:
			return b.VM.MemoryMB - a.VM.MemoryMB
		case a.VM.Name != b.VM.Name:
			return strings.Compare(a.VM.Name, b.VM.Name)
		default:
			return strings.Compare(a.VM.ID, b.VM.ID)
		}
	})
	for i, r := range rs {
		if r.Order != i+1 {
			r.Order = i + 1
			e.touchVM(r)
		}
	}
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
