package world

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// VMSpec describes a VM to be added.
type VMSpec struct {
	Name, Host, Project, User, Group, KeyName string
	Flavor                                    Flavor
	Image                                     string // "" with Volumes: boot from volume
	Volumes, Tags                             []string
	Metadata                                  map[string]string
	State                                     string // vm_state, default Active
	TaskState                                 string
	Locked, VTPM                              bool
	NeverRan                                  bool
}

// AddVM adds a VM that has been there for a while, with its QEMU if its state has one.
func (w *World) AddVM(s VMSpec) *VM {
	h := w.mustHost(s.Host)
	v := &VM{
		ID: w.uuid(), Name: s.Name, Project: or(s.Project, DemoProject), User: or(s.User, "user"), VMState: or(s.State, Active),
		TaskState: s.TaskState, Host: h.Name, Flavor: s.Flavor, Image: s.Image, Volumes: s.Volumes, Tags: s.Tags,
		Metadata: maps.Clone(s.Metadata), Locked: s.Locked, Group: s.Group, KeyName: s.KeyName, TrustedVTPM: s.VTPM, Cell: h.Cell,
		Created: w.now, Updated: w.now, Launched: w.now,
	}
	if v.Flavor.Name == "" {
		v.Flavor = Flavor{ID: "m1.small", Name: "m1.small", VCPUs: 1, RAM: 2048, Disk: 20}
	}
	if len(v.Volumes) == 0 {
		v.DiskStore = h.Store
		v.Image = or(v.Image, "cirros")
	}
	if v.Metadata == nil {
		v.Metadata = map[string]string{}
	}
	if s.NeverRan {
		v.Launched = time.Time{}
	}
	if g := w.group(s.Group); g != nil {
		g.Members = append(g.Members, v.ID)
	}
	w.vms[v.ID] = v
	w.vmIDs = append(w.vmIDs, v.ID)
	v.PowerState = powerFor(v.VMState)
	w.addAction(Caller{User: v.User, Project: v.Project, RequestID: "req-" + w.uuid()}, v, "create")
	switch v.VMState {
	case Active, Paused, Rescued, Resized:
		v.Wanted = v.VMState == Active
		if !s.NeverRan {
			w.startCopy(v, h, "was there")
		}
	}
	return v
}

// DemoProject is the project of VMs that name none.
const DemoProject = "5f0c1b7d3a1e4b0d9c5a8e2f7b6d4c3a"

func powerFor(state string) int {
	switch state {
	case Active, Rescued, Resized:
		return PowerRunning
	case Paused:
		return PowerPaused
	case Stopped, Suspended, Shelved:
		return PowerShut
	}
	return PowerNone
}

// VM returns a VM's record, or nil. Change it only in tests.
func (w *World) VM(id string) *VM { return w.vms[id] }

// VMByName returns the first VM of that name, or nil.
func (w *World) VMByName(name string) *VM {
	for _, id := range w.vmIDs {
		if w.vms[id].Name == name {
			return w.vms[id]
		}
	}
	return nil
}

// VMIDs lists all VMs that were not deleted, in order of creation.
func (w *World) VMIDs() []string { return slices.Clone(w.vmIDs) }

// Status is the API's word for vm_state and task_state.
func (v *VM) Status() string {
	switch v.VMState {
	case Active:
		switch v.TaskState {
		case "rebooting", "reboot_pending", "reboot_started":
			return "REBOOT"
		case "rebooting_hard", "reboot_pending_hard", "reboot_started_hard":
			return "HARD_REBOOT"
		case "rebuilding", "rebuild_block_device_mapping", "rebuild_spawning":
			return "REBUILD"
		case "migrating":
			return "MIGRATING"
		case "resize_prep", "resize_migrating", "resize_migrated", "resize_finish":
			return "RESIZE"
		}
		return "ACTIVE"
	case Stopped:
		switch v.TaskState {
		case "rebuilding", "rebuild_block_device_mapping", "rebuild_spawning":
			return "REBUILD"
		}
		return "SHUTOFF"
	case Building:
		return "BUILD"
	case Rescued:
		return "RESCUE"
	case Resized:
		return "VERIFY_RESIZE"
	case Offloaded:
		return "SHELVED_OFFLOADED"
	case SoftDeleted:
		return "SOFT_DELETED"
	}
	return strings.ToUpper(v.VMState) // PAUSED, SUSPENDED, SHELVED, DELETED, ERROR
}

// ServerQuery narrows Servers.
type ServerQuery struct {
	Host, Name, Status, Project string
	Marker                      string
	Limit                       int
}

// Servers lists VMs, newest first as Nova does, one page; more says that there
// are further ones. VMs of cells that don't answer are left out without a word.
func (w *World) Servers(q ServerQuery) (page []*VM, more bool, err *Error) {
	limit := w.opt.MaxLimit
	if q.Limit > 0 {
		limit = min(q.Limit, limit)
	}
	skip := q.Marker != ""
	if skip && w.vms[q.Marker] == nil {
		return nil, false, refuse(400, "marker [%s] not found", q.Marker)
	}
	for _, id := range slices.Backward(w.vmIDs) {
		v := w.vms[id]
		if skip {
			skip = id != q.Marker
			continue
		}
		if w.cellsDown[v.Cell] || w.hidden[id] || q.Host != "" && v.Host != q.Host || q.Name != "" && !strings.Contains(v.Name, q.Name) ||
			q.Status != "" && v.Status() != q.Status || q.Project != "" && v.Project != q.Project || v.VMState == SoftDeleted {
			continue
		}
		if len(page) == limit {
			return page, true, nil
		}
		page = append(page, v)
	}
	return page, false, nil
}

// find is the VM of an API call.
func (w *World) find(id string) (*VM, *Error) {
	v := w.vms[id]
	if v == nil {
		return nil, refuse(404, "Instance %s could not be found.", id)
	}
	if w.cellsDown[v.Cell] || w.hidden[id] {
		return nil, refuse(503, "The cell of instance %s does not answer.", id)
	}
	return v, nil
}

// CellDown makes a cell's database answer (false) or not (true).
func (w *World) CellDown(cell string, down bool) {
	w.cellsDown[cell] = down
	w.emit("cell", "", "", "%s down=%t", cell, down)
}

// Hide leaves one VM out of Nova's lists, as a part of a cell's database that does not answer; false shows it again.
func (w *World) Hide(id string, hidden bool) {
	w.hidden[id] = hidden
	w.emit("hidden", "", id, "%t", hidden)
}

func (w *World) setTask(v *VM, task string) { v.TaskState, v.Updated = task, w.now }

func (w *World) setState(v *VM, state string) {
	v.VMState, v.TaskState, v.PowerState, v.Updated = state, "", powerFor(state), w.now
}

func (w *World) fail(v *VM, why string) {
	v.VMState, v.TaskState, v.Fault, v.Updated = ErrorState, "", why, w.now
	w.note(v, "ERROR: %s", why)
}
