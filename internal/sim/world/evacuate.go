package world

import "slices"

// Caller is who makes an API call; Nova keeps it in actions and migrations.
type Caller struct{ User, Project, RequestID string }

// Evacuate asks for a VM to be brought back elsewhere, by Nova's rules: its
// state and its host's service are checked, task_state and other evacuations
// are not. It is not idempotent. keepStopped is microversion 2.95's behaviour.
func (w *World) Evacuate(c Caller, id, target string, keepStopped bool) *Error {
	if target != "" && w.hosts[target] == nil {
		return refuse(404, "Compute host %s not found.", target)
	}
	v, err := w.find(id)
	if err != nil {
		return err
	}
	if v.Host == target { // also for a VM without host and no target
		return refuse(400, "The target host can't be the same one.")
	}
	if err := needState(v, "evacuate", Active, Stopped, ErrorState); err != nil {
		return err
	}
	if v.TrustedVTPM {
		return refuse(409, "Operation 'evacuate' not supported for vTPM-enabled instance %s.", id)
	}
	if w.ServiceUp(v.Host) {
		return refuse(400, "Compute service of %s is still in use.", v.Host)
	}

	w.addAction(c, v, "evacuate")
	if w.faults.HalfNext > 0 {
		w.faults.HalfNext--
		return refuse(500, "Unexpected API Error.")
	}
	w.setTask(v, "rebuilding")
	m := w.addMigration(c, v, "evacuation", v.Host, target, "accepted")
	w.emit("evacuate-accepted", v.Host, id, "migration %d target=%q user=%s", m.ID, target, c.User)
	w.note(v, "evacuation %d from %s accepted (target %q)", m.ID, m.Source, target)
	if w.faults.ForgetNext > 0 {
		w.faults.ForgetNext--
		w.emit("evacuate-forgotten", v.Host, id, "migration %d", m.ID)
		return nil
	}
	e := &evacuation{w: w, vm: v, m: m, target: target, was: v.VMState, keepStopped: keepStopped}
	w.conductor.run(e.schedule)
	return nil
}

// evacuation is one accepted evacuation on its way.
type evacuation struct {
	w           *World
	vm          *VM
	m           *Migration
	target      string
	was         string // vm_state when asked
	keepStopped bool
	slots       *pool // of the destination's nova-compute that took it
}

func (e *evacuation) schedule() {
	e.w.after(e.w.draw(e.w.opt.Timing.Schedule), func() {
		w := e.w
		own := e.m
		e.m = w.firstAccepted(own)
		own.Unused, e.m.Unused = true, false
		dest := w.pick(e.vm, e.target)
		if dest == nil {
			w.conductor.release()
			w.setMigration(e.m, "error")
			w.fail(e.vm, "No valid host was found.")
			w.emit("evacuate-failed", e.m.Source, e.vm.ID, "migration %d: no valid host", e.m.ID)
			return
		}
		e.m.Dest, e.m.Updated = dest.Name, w.now
		w.castTo(dest, "rebuild "+e.vm.ID, func() {
			e.slots = dest.rebuilds
			e.slots.run(func() { e.claim(dest) })
		})
		w.conductor.release() // the cast is the conductor's last act
	})
}

// firstAccepted is the record that Nova's conductor notes an evacuation in: the VM's first one that reads accepted,
// whichever request it belongs to.
func (w *World) firstAccepted(m *Migration) *Migration {
	for _, o := range w.migrations {
		if o.VM == m.VM && o.Type == m.Type && o.Status == "accepted" {
			return o
		}
	}
	return m
}

func (e *evacuation) claim(dest *Host) {
	w := e.w
	if w.vms[e.vm.ID] == nil {
		e.end(dest, "failed")
		return
	}
	breaks := w.faults.BreakNext > 0
	if breaks {
		w.faults.BreakNext--
	}
	if breaks || !w.fits(e.vm, dest) {
		// A failed claim gives the VM its old state back, on its old host.
		e.vm.VMState, e.vm.TaskState = e.was, ""
		e.end(dest, "failed")
		return
	}
	w.setMigration(e.m, "pre-migrating")
	w.setTask(e.vm, "rebuild_spawning")
	w.whenWorks(dest, w.draw(w.opt.Timing.Evacuate), func() { e.finish(dest) }, func() {
		// The destination died, and its slots with it: the record stays pre-migrating for ever.
		w.emit("evacuate-abandoned", dest.Name, e.vm.ID, "migration %d", e.m.ID)
	})
}

func (e *evacuation) finish(dest *Host) {
	w, v := e.w, e.vm
	if w.vms[v.ID] == nil {
		e.end(dest, "failed")
		return
	}
	if len(v.Volumes) == 0 && v.DiskStore != dest.Store {
		w.lose(v, "rebuilt from its image: "+dest.Name+" does not see its disk on "+v.DiskStore)
		v.DiskStore = dest.Store
	}
	stays := e.was == Stopped || e.keepStopped
	ran := !e.keepStopped // before 2.95 every evacuated guest is booted, and a stopped one stopped again
	if ran && !w.startCopy(v, dest, "evacuation") {
		w.fail(v, "the guest could not be started")
		e.end(dest, "failed")
		return
	}
	v.Host, v.Cell, v.Fault = dest.Name, dest.Cell, ""
	if stays {
		w.endCopy(v.ID, dest.Name, "stopped, as it was before its evacuation")
		w.setState(v, Stopped)
	} else {
		w.setState(v, Active)
	}
	if v.Launched.IsZero() {
		v.Launched = w.now
	}
	e.end(dest, "done")
}

func (e *evacuation) end(dest *Host, status string) {
	e.w.setMigration(e.m, status)
	e.w.emit("evacuate-"+status, dest.Name, e.vm.ID, "migration %d", e.m.ID)
	e.w.note(e.vm, "evacuation %d to %s: %s", e.m.ID, dest.Name, status)
	e.slots.release()
}

// needState is Nova's check of vm_state.
func needState(v *VM, what string, allowed ...string) *Error {
	if slices.Contains(allowed, v.VMState) {
		return nil
	}
	return refuse(409, "Cannot '%s' instance %s while it is in vm_state %s", what, v.ID, v.VMState)
}

// pick is the scheduler: the named target if it passes the filters, else the
// passing host with most free memory. It counts only what has been claimed, so
// a burst of evacuations piles up on one host.
func (w *World) pick(v *VM, target string) *Host {
	var best *Host
	bestFree := -1
	for _, name := range w.hostNames {
		h := w.hosts[name]
		if target != "" && name != target || name == v.Host || h.Disabled || !w.ServiceUp(name) ||
			h.Cell != v.Cell || !w.fits(v, h) || w.apart(v, name) {
			continue
		}
		if free := h.RAM - w.Used(name).RAM; free > bestFree {
			best, bestFree = h, free
		}
	}
	return best
}

// apart says whether anti-affinity forbids the host.
func (w *World) apart(v *VM, host string) bool {
	g := w.group(v.Group)
	if g == nil || g.Policy != "anti-affinity" {
		return false
	}
	return slices.ContainsFunc(g.Members, func(id string) bool {
		o := w.vms[id]
		return o != nil && id != v.ID && o.Host == host
	})
}

func (w *World) fits(v *VM, h *Host) bool {
	used := w.Used(h.Name)
	return used.RAM+v.Flavor.RAM <= h.RAM && used.VCPUs+v.Flavor.VCPUs <= 16*h.VCPUs // Nova's cpu_allocation_ratio
}

// Usage is what a host's VMs take.
type Usage struct{ VCPUs, RAM, Disk, VMs int }

// Used sums up what Nova counts on a host: its VMs and claimed incoming ones.
func (w *World) Used(host string) Usage {
	var u Usage
	add := func(v *VM) {
		u.VCPUs += v.Flavor.VCPUs
		u.RAM += v.Flavor.RAM
		u.Disk += v.Flavor.Disk
		u.VMs++
	}
	for _, id := range w.vmIDs {
		if v := w.vms[id]; v.Host == host && v.VMState != Offloaded {
			add(v)
		}
	}
	for _, m := range w.migrations {
		if v := w.vms[m.VM]; v != nil && m.Dest == host && v.Host != host && (m.Status == "pre-migrating" || m.Status == "running") {
			add(v)
		}
	}
	return u
}
