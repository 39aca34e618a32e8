package world

import "slices"

// Do carries out an API action on a VM by Nova's rules. name is one of start,
// stop, pause, unpause, suspend, resume, reboot (hard), soft-reboot, lock,
// unlock, reset-error, reset-active, delete, shelve, rescue. Nil means accepted.
func (w *World) Do(c Caller, id, name string) *Error {
	v, err := w.find(id)
	if err != nil {
		return err
	}
	switch name {
	case "lock", "unlock":
		v.Locked = name == "lock"
		w.addAction(c, v, name)
		return nil
	case "reset-error", "reset-active": // sets the record and clears task_state; touches no guest
		w.addAction(c, v, "os-resetState")
		v.VMState, v.TaskState, v.Updated = ErrorState, "", w.now
		if name == "reset-active" {
			v.VMState = Active
		}
		w.note(v, "state reset to %s by %s", v.VMState, c.User)
		return nil
	case "delete":
		return w.delete(c, v)
	}
	rule, known := guestActions(name)
	if !known {
		return refuse(400, "There is no such action: %s", name)
	}
	if err := needState(v, name, rule.from...); err != nil {
		return err
	}
	if v.TaskState != "" && name != "reboot" {
		return refuse(409, "Cannot '%s' instance %s while it is in task_state %s", name, id, v.TaskState)
	}
	h := w.hosts[v.Host]
	if h == nil {
		return refuse(409, "Instance %s is not ready", id)
	}
	w.addAction(c, v, rule.action)
	w.setTask(v, rule.task)
	w.emit("action", v.Host, id, "%s by %s", rule.action, c.User)
	w.note(v, "%s accepted", rule.action)
	w.castTo(h, rule.action, func() {
		w.whenWorks(h, w.draw(w.opt.Timing.GuestStart), func() {
			if w.vms[id] != nil { // not deleted meanwhile
				rule.run(w, h, v)
			}
		}, func() {})
	})
	return nil
}

// guestAction is an action that nova-compute carries out.
type guestAction struct {
	action string // its name in os-instance-actions
	from   []string
	task   string
	run    func(*World, *Host, *VM)
}

func guestActions(name string) (guestAction, bool) {
	to := func(state string) func(*World, *Host, *VM) {
		return func(w *World, h *Host, v *VM) {
			if !w.hasCopy(v.ID, h.Name) {
				w.fail(v, "the guest does not run on "+h.Name)
				return
			}
			w.setState(v, state)
		}
	}
	switch name {
	case "start":
		return guestAction{"start", []string{Stopped}, "powering-on", (*World).runStart}, true
	case "stop":
		return guestAction{"stop", []string{Active, Rescued, ErrorState}, "powering-off", (*World).runStop}, true
	case "reboot":
		return guestAction{"reboot", []string{Active, Stopped, Paused, Suspended, ErrorState}, "rebooting_hard", (*World).runReboot}, true
	case "soft-reboot":
		return guestAction{"reboot", []string{Active}, "rebooting", (*World).runReboot}, true
	case "pause":
		return guestAction{"pause", []string{Active, Rescued}, "pausing", to(Paused)}, true
	case "unpause":
		return guestAction{"unpause", []string{Paused}, "unpausing", to(Active)}, true
	case "suspend":
		return guestAction{"suspend", []string{Active, Rescued}, "suspending", func(w *World, h *Host, v *VM) {
			w.endCopy(v.ID, h.Name, "suspended")
			v.Wanted = false
			w.setState(v, Suspended)
		}}, true
	case "resume":
		return guestAction{"resume", []string{Suspended}, "resuming", (*World).runStart}, true
	case "rescue":
		return guestAction{"rescue", []string{Active, Stopped, ErrorState}, "rescuing", func(w *World, h *Host, v *VM) {
			if w.startCopy(v, h, "rescue") {
				w.setState(v, Rescued)
			}
		}}, true
	case "shelve":
		return guestAction{"shelve", []string{Active, Stopped, Paused, Suspended}, "shelving", func(w *World, h *Host, v *VM) {
			w.endCopy(v.ID, h.Name, "shelved")
			v.Wanted = false
			w.setState(v, Shelved)
		}}, true
	}
	return guestAction{}, false
}

// runStart powers the guest on before any check of whose VM it is by now: an
// order that waited in a dead host's queue runs when the host returns.
func (w *World) runStart(h *Host, v *VM) {
	if w.vms[v.ID] == nil {
		return
	}
	if !w.startCopy(v, h, "start") {
		if v.Host == h.Name {
			w.fail(v, "the guest could not be started")
		}
		return
	}
	if v.Host == h.Name { // else Nova's state check fails, too late
		v.Wanted = true
		w.setState(v, Active)
	}
}

func (w *World) runStop(h *Host, v *VM) {
	w.endCopy(v.ID, h.Name, "stop")
	if w.vms[v.ID] != nil && v.Host == h.Name {
		v.Wanted = false
		w.setState(v, Stopped)
	}
}

// runReboot destroys the guest and starts it anew from its disk.
func (w *World) runReboot(h *Host, v *VM) {
	if w.vms[v.ID] == nil || v.Host != h.Name {
		return
	}
	w.endCopy(v.ID, h.Name, "reboot")
	w.runStart(h, v)
}

// delete: a VM whose host is down is deleted at once from the record alone; its
// guest, if it should still run, is removed when nova-compute returns.
func (w *World) delete(c Caller, v *VM) *Error {
	w.addAction(c, v, "delete")
	w.setTask(v, "deleting")
	v.Wanted = false
	h := w.hosts[v.Host]
	if h == nil || !w.ServiceUp(v.Host) {
		w.finishDelete(v)
		return nil
	}
	w.castTo(h, "delete", func() {
		w.whenWorks(h, w.draw(w.opt.Timing.Delete), func() { w.finishDelete(v) }, func() {})
	})
	return nil
}

func (w *World) finishDelete(v *VM) {
	if w.vms[v.ID] == nil {
		return
	}
	if h := w.hosts[v.Host]; h != nil && h.computeWorks() {
		w.endCopy(v.ID, v.Host, "deleted")
	}
	if g := w.group(v.Group); g != nil {
		g.Members = slices.DeleteFunc(g.Members, func(id string) bool { return id == v.ID })
	}
	w.note(v, "deleted")
	w.emit("deleted", v.Host, v.ID, "")
	delete(w.vms, v.ID)
	// A new slice: a starting nova-compute deletes while it goes through the old one.
	w.vmIDs = slices.DeleteFunc(slices.Clone(w.vmIDs), func(id string) bool { return id == v.ID })
}
