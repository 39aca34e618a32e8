package world

import (
	"slices"
	"time"
)

// report is nova-compute's report loop.
func (w *World) report(h *Host, run int) {
	if h.computeRun != run {
		return // that process is gone; the next one has its own loop
	}
	if h.computeWorks() {
		h.UpdatedAt = w.now
	}
	w.after(w.opt.Timing.ReportInterval, func() { w.report(h, run) })
}

// ServiceUp is Nova's opinion of a host's nova-compute.
func (w *World) ServiceUp(host string) bool {
	h := w.hosts[host]
	return h != nil && !h.ForcedDown && w.now.Sub(h.UpdatedAt) <= w.opt.Timing.ServiceDown
}

// KillCompute ends nova-compute until StartCompute.
func (w *World) KillCompute(host string) {
	h := w.mustHost(host)
	h.ComputeKilled = true
	w.endCompute(h)
	w.emit("compute-killed", host, "", "")
}

// endCompute ends a nova-compute with all that it was doing or had taken from the queue.
func (w *World) endCompute(h *Host) {
	h.ComputeRuns = false
	h.computeRun++
	h.rebuilds = &pool{limit: w.opt.Timing.PerDestination}
}

// StartCompute ends a KillCompute.
func (w *World) StartCompute(host string) {
	h := w.mustHost(host)
	h.ComputeKilled = false
	if h.Kernel && !h.GateClosed && !h.ComputeRuns {
		w.startComputeSoon(h)
	}
}

func (w *World) startComputeSoon(h *Host) {
	h.computeRun++
	run := h.computeRun
	var try func()
	try = func() {
		if h.computeRun != run || h.ComputeKilled || h.GateClosed {
			return
		}
		if !h.runs() || h.Hung || h.cut[Management] { // it can't reach the message bus yet
			w.after(time.Second, try)
			return
		}
		w.computeStarted(h)
	}
	w.after(w.draw(w.opt.Timing.ComputeStart), try)
}

// computeStarted is nova-compute's init_host, in Nova's order: evacuated guests
// are cleaned up, then interrupted work is judged, then the queue is consumed.
func (w *World) computeStarted(h *Host) {
	h.ComputeRuns, h.ComputeStarted, h.UpdatedAt = true, w.now, w.now
	run := h.computeRun
	w.emit("compute-start", h.Name, "", "")
	evacuated := w.cleanEvacuated(h)
	w.reap(h)
	for _, id := range w.vmIDs {
		if v := w.vms[id]; v != nil && v.Host == h.Name && !evacuated[id] {
			w.initInstance(h, v)
		}
	}
	w.after(w.opt.Timing.ReportInterval, func() { w.report(h, run) })
	w.after(w.opt.Timing.PowerSync, func() { w.syncPower(h, run) })
	w.resumeCompute(h)
}

// cleanEvacuated destroys guests that were evacuated from the host, and marks
// their records completed. Nova takes accepted and pre-migrating ones in too.
func (w *World) cleanEvacuated(h *Host) map[string]bool {
	gone := map[string]bool{}
	for _, m := range w.migrations {
		if m.Type != "evacuation" || m.Source != h.Name || !slices.Contains([]string{"accepted", "pre-migrating", "done"}, m.Status) {
			continue
		}
		gone[m.VM] = true
		w.endCopy(m.VM, h.Name, "nova-compute removed a guest evacuated from here")
		w.setMigration(m, "completed")
	}
	return gone
}

// reap removes guests of VMs that were deleted while nova-compute was away.
func (w *World) reap(h *Host) {
	for _, id := range w.leftovers(h.Name) {
		w.endCopy(id, h.Name, "nova-compute removed the guest of a deleted VM")
	}
}

// initInstance is what a starting nova-compute does with each VM it owns.
func (w *World) initInstance(h *Host, v *VM) {
	switch v.TaskState {
	case "rebuilding", "rebuild_block_device_mapping", "rebuild_spawning":
		w.fail(v, "interrupted by a restart of nova-compute")
		return
	case "scheduling", "spawning", "networking", "block_device_mapping":
		w.fail(v, "interrupted by a restart of nova-compute")
		return
	case "deleting":
		w.finishDelete(v)
		return
	case "powering-off":
		w.castTo(h, "stop", func() { w.runStop(h, v) })
		return
	case "powering-on":
		w.castTo(h, "start", func() { w.runStart(h, v) })
		return
	case "":
	default: // rebooting, migrating, …: Nova gives the guest back as it was
		w.setTask(v, "")
	}
	if w.opt.ResumeGuests && v.VMState == Active && v.PowerState == PowerRunning && !w.hasCopy(v.ID, h.Name) {
		w.startCopy(v, h, "resume_guests_state_on_host_boot")
	}
}

// syncPower is the periodic task that believes the hypervisor: a VM that
// should run and doesn't is made SHUTOFF.
func (w *World) syncPower(h *Host, run int) {
	if h.computeRun != run {
		return
	}
	if h.computeWorks() {
		w.reap(h)
		for _, id := range w.vmIDs {
			v := w.vms[id]
			if v.Host == h.Name && v.TaskState == "" && v.VMState == Active && !w.hasCopy(id, h.Name) {
				v.VMState, v.PowerState = Stopped, PowerShut
				w.note(v, "Nova found no guest on %s: SHUTOFF", h.Name)
			}
		}
	}
	w.after(w.opt.Timing.PowerSync, func() { w.syncPower(h, run) })
}

// castTo sends an order to a host's nova-compute. Nobody checks that it is
// there: the order waits in the queue and runs when it returns.
func (w *World) castTo(h *Host, name string, do func()) {
	if h.computeWorks() {
		do()
		return
	}
	h.castQueue = append(h.castQueue, cast{name, do})
	w.emit("cast-queued", h.Name, "", "%s", name)
}

// resumeCompute lets a nova-compute that works again consume its queue and report.
func (w *World) resumeCompute(h *Host) {
	if !h.computeWorks() {
		return
	}
	h.UpdatedAt = w.now // queued reports arrive at once: up 0.7 s after the link came back, on the lab
	waiting := h.castQueue
	h.castQueue = nil
	for _, c := range waiting {
		w.emit("cast-run", h.Name, "", "%s", c.name)
		c.do()
	}
}

// whenWorks runs do after d if the process that began the work is still there;
// while it stands still (frozen, hung) the work waits. gone runs when it died.
func (w *World) whenWorks(h *Host, d time.Duration, do, gone func()) {
	run := h.computeRun
	var try func()
	try = func() {
		switch {
		case h.computeRun != run:
			gone()
		case !h.runs() || h.Hung:
			w.after(250*time.Millisecond, try)
		default:
			do()
		}
	}
	w.after(d, try)
}
