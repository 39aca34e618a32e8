package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/planted"
	"github.com/ninelives-ha/ninelives/internal/policy"
)

// plan makes the recoveries of an incident out of a list read after the proof.
func (e *Engine) plan(in *Incident, ev Listed) {
	if in.Listed.IsZero() { // of a plan made anew the first list counts: what was sent since is still being read back
		in.Listed = ev.Date
	}
	in.Before = merge(in.Before, evacuationsOf(in.Host, slices.DeleteFunc(slices.Clone(ev.Migrations), func(m Migration) bool {
		r := e.vms[in.ID][m.VM]
		return r != nil && r.Open() != nil
	})))
	for _, vm := range ev.VMs {
		r := e.vms[in.ID][vm.ID] // of an earlier life of the host, in an incident that began anew
		if r == nil {
			r = &Recovery{Incident: in.ID, VM: vm}
			e.inherit(in, r)
		}
		if owner := e.owner(vm.ID); owner != nil && owner.Incident != in.ID && e.takeOver(in, owner, vm) {
			continue
		}
		if r.Open() != nil {
			continue
		}
		r.VM, r.To, r.Back, r.Done, r.Tries, r.NotBefore, r.Was = vm, "", "", zeroTime, 0, zeroTime, ""
		e.add(r)
		e.classify(in, r, ev.Migrations)
		e.stays(in, r)
	}
	e.watchForOthers(in, ev.Migrations)
	e.account(in, ev)
	e.arrivals(in, ev)
	e.arrange(in)
	in.Planned = true
	e.mark(in, "tracked", e.now)
	e.tell(in, e.planInWords(in))
}

// watchForOthers: an evacuation from the host that is under way when the plan is made, and that no incident has sent.
func (e *Engine) watchForOthers(in *Incident, migrations []Migration) {
	for _, m := range migrations {
		if m.Type == "evacuation" && m.Source == in.Host && !m.final() && !e.sentBefore(m) {
			e.foreign(in, m)
		}
	}
}

// sentBefore reports whether a migration record is one of ours, of whatever incident: one whose destination died stays
// "accepted" for ever.
func (e *Engine) sentBefore(m Migration) bool {
	for _, vms := range e.vms {
		if r := vms[m.VM]; r != nil && slices.ContainsFunc(r.Attempts, func(a Attempt) bool { return a.Migration == m.UUID }) {
			return true
		}
	}
	return false
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
	for _, in := range e.open {
		if r := e.vms[in.ID][vm]; r != nil && (r.Open() != nil || r.State != Skipped && r.State != Recovered) {
			return r
		}
	}
	return nil
}

// takeOver moves a VM that died on its way to this incident's host here, out of the incident that had sent it. It
// reports whether the VM stays with the other incident instead.
func (e *Engine) takeOver(in *Incident, other *Recovery, vm VM) (stays bool) {
	if open := other.Open(); open != nil {
		if dest := either(open.To, open.Target); dest != "" && dest != in.Host {
			return true
		}
		e.endAtProof(in, other, open)
	}
	e.setState(other, Skipped, "taken over by incident "+in.ID+": its destination "+in.Host+" died")
	other.Restart = false
	return false
}

// fate is what is to become of a VM, with the reason, and what must be known on the way.
type fate struct {
	state         State
	reason        string
	decision      policy.Decision
	elsewhere     string
	reset, paused bool
	stopped, runs bool // runs: to be restarted in place, should its host come back first
}

// classify decides a VM's fate and puts it into force.
func (e *Engine) classify(in *Incident, r *Recovery, migrations []Migration) {
	if r.Was == "" {
		r.Was = r.VM.Status
	}
	e.settle(r, e.fate(in, r, migrations))
}

func (e *Engine) settle(r *Recovery, f fate) {
	r.Rule, r.Priority, r.Rebuild = f.decision.Reason, f.decision.Priority, f.decision.Rebuild
	r.Elsewhere, r.Reset, r.Pause, r.Stopped, r.Restart = f.elsewhere, f.reset, f.paused, f.stopped, f.runs
	e.setState(r, f.state, f.reason)
}

// fate is the table of what becomes of a VM, first match. One that may run elsewhere comes before all of it: not even its
// returned host may start it.
func (e *Engine) fate(in *Incident, r *Recovery, migrations []Migration) fate {
	vm, d := r.VM, e.policy.Decide(r.VM.Facts)
	was := either(r.Was, vm.Status) // our own reset turns every state into ERROR
	f := fate{decision: d, runs: active[was] || was == "MIGRATING" || was == "PAUSED" || was == "RESCUE"}
	set := func(s State, format string, args ...any) fate {
		f.state, f.reason = s, fmt.Sprintf(format, args...)
		return f
	}
	if other, why := e.entangled(in, vm, migrations); other != "" {
		f.elsewhere = other
		return set(Held, "%s", why)
	}
	if r.Disputed {
		f.elsewhere = r.Elsewhere
		return set(Held, "%s", r.disputedWhy(in))
	}
	if vm.Status == "REBUILD" && r.interrupted() {
		vm.Status, f.reset = was, true // nobody works on it any more, whatever Nova shows
	}
	switch {
	case d.Action == policy.Hold || d.Action == "":
		return set(Held, "%s", d.Reason)
	case d.Action != policy.Resurrect:
		return set(Skipped, "left alone: %s", d.Reason)
	case vm.Task == "deleting" || vm.Status == "DELETED" || vm.Status == "SOFT_DELETED" || vm.Status == "SHELVED_OFFLOADED":
		f.runs = false
		return set(Skipped, "gone: %s", strings.ToLower(either(vm.Task, vm.Status)))
	case vm.Status == "ERROR" && !vm.Launched:
		return set(Skipped, "never ran")
	case slices.Contains(heldStatuses, vm.Status) || vm.Task == "migrating":
		return set(Held, "%s: %s", vm.Status, heldWhy(vm))
	case vm.Immovable != "":
		return set(Skipped, "Nova can't evacuate it: %s", vm.Immovable)
	case vm.Status == "SHUTOFF" && (d.Stopped == policy.StoppedLeave || d.Stopped != policy.StoppedResurrect && !e.cfg.StaysStopped):
		return set(Skipped, "stopped, stays with its host")
	case vm.Status == "SHUTOFF":
		f.stopped, f.runs = true, false
		return set(Queued, "")
	case was == "PAUSED":
		f.reset, f.paused = vm.Status == "PAUSED", true
		return set(Queued, "paused: comes back and is paused again; what was in its memory is gone")
	case vm.Status == "RESCUE":
		f.reset = true
		return set(Queued, "rescued: comes back unrescued")
	case active[vm.Status] || vm.Status == "ERROR":
		return set(Queued, "")
	default:
		return set(Held, "%s: Nova's state is none that this version knows how to bring back; set it (openstack server set --state active %s), then: ninelives incident retry %s", vm.Status, vm.ID, in.ID)
	}
}

// interrupted reports whether an evacuation of ours ended with its destination: Nova shows the VM in the middle of it for ever.
func (r *Recovery) interrupted() bool {
	last := lastAttempt(r)
	return last != nil && !last.Unresolved() && last.Answer != Refused && last.Answer != NotSent && last.Status != "failed" && last.Status != "error"
}

// active are the statuses of Nova's vm_state active, which is what evacuate asks for; the others say what a user was
// doing when the host died.
var active = map[string]bool{"ACTIVE": true, "REBOOT": true, "HARD_REBOOT": true, "PASSWORD": true}

var heldStatuses = []string{"SUSPENDED", "SHELVED", "RESIZE", "VERIFY_RESIZE", "REVERT_RESIZE", "BUILD", "REBUILD", "MIGRATING"}

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
	if planted.Unaccounted {
		return
	}
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
	for _, id := range slices.Sorted(maps.Keys(known)) {
		by := known[id]
		if e.vms[in.ID][id] != nil {
			continue
		}
		if o := e.owner(id); o != nil && e.incidents[o.Incident].Phase != PhaseRetrying {
			continue
		}
		vm := VM{ID: id, Name: id, Host: in.Host}
		if i := slices.IndexFunc(h.vms, func(v VM) bool { return v.ID == id }); i >= 0 {
			vm = h.vms[i]
		}
		r := &Recovery{Incident: in.ID, VM: vm}
		e.add(r)
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
	rs := slices.Clone(e.recoveries(in))
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
	e.queues[in.ID] = rs
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
