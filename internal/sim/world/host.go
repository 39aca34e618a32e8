package world

import (
	"fmt"
	"slices"
	"time"
)

// Host is a compute host: its machine, its nova-compute and how they are wired.
// The fields may be read by anyone; change them by the World's methods.
type Host struct {
	Name       string
	Hypervisor string // hypervisor_hostname
	HypUUID    string // compute node, and Placement's resource provider
	HypType    string // QEMU unless set otherwise
	Zone       string
	Cell       string
	Rack       string
	Store      string // id of the store that instances_path is on
	VCPUs      int
	RAM        int // MiB
	Disk       int // GiB

	// The machine.
	Identity    string // SMBIOS uuid
	Serial      string
	On          bool // has power
	Kernel      bool // has booted so far that the kernel answers
	Frozen      bool // nothing of it runs, nothing answers; QEMUs stay and go on when thawed
	Hung        bool // agent and nova-compute stand still, the kernel answers
	AgentKilled bool
	Boot        string // boot id; "" before the kernel has started
	BootedAt    time.Time
	BMC         BMC

	// nova-compute and its record.
	ServiceID      string
	Disabled       bool
	DisabledReason string
	ForcedDown     bool
	UpdatedAt      time.Time // last report that reached Nova
	ComputeRuns    bool      // the process is there
	ComputeStarted time.Time
	ComputeKilled  bool // an operator or a fault holds it down
	GateClosed     bool

	cut        map[Plane]bool
	gated      bool
	denied     map[string]bool // uuids that libvirt's hook refuses to start
	powerLog   []powerChange
	unfed      bool
	powerEpoch int // counts power changes: plans of an earlier life are void
	computeRun int // counts lives of nova-compute, for the same reason
	castQueue  []cast
	rebuilds   *pool // of the present nova-compute: waiting work dies with it
}

// cast is an order that waits in the message queue for a nova-compute.
type cast struct {
	name string
	do   func()
}

// HostSpec describes a host to be added. Zero fields get defaults.
type HostSpec struct {
	Name, Hypervisor, HypType, Zone, Cell, Rack, Store string
	VCPUs, RAM, Disk                                   int
	Driver                                             string // of the BMC: "ipmi" (default) or "redfish"
}

// AddHost adds a machine that is on, booted, with its nova-compute running.
func (w *World) AddHost(s HostSpec) *Host {
	h := &Host{
		Name: s.Name, Hypervisor: or(s.Hypervisor, s.Name), HypType: or(s.HypType, "QEMU"), Zone: or(s.Zone, "nova"),
		Cell: or(s.Cell, "cell1"), Rack: s.Rack, Store: or(s.Store, "local:"+s.Name),
		VCPUs: orInt(s.VCPUs, 64), RAM: orInt(s.RAM, 256<<10), Disk: orInt(s.Disk, 4000),
		HypUUID: w.uuid(), ServiceID: w.uuid(), Identity: w.uuid(), Boot: w.uuid(),
		On: true, Kernel: true, BootedAt: w.now, ComputeRuns: true, ComputeStarted: w.now, UpdatedAt: w.now,
		cut: map[Plane]bool{}, denied: map[string]bool{}, gated: w.opt.Gated,
		powerLog: []powerChange{{w.now, true}}, rebuilds: &pool{limit: w.opt.Timing.PerDestination},
	}
	h.Serial = "SIM" + h.Identity[:8]
	h.BMC = BMC{Driver: or(s.Driver, "ipmi"), User: "admin", Password: "sim-" + h.Identity[:8], Machine: h.Name}
	if w.stores[h.Store] == nil {
		w.stores[h.Store] = &Store{ID: h.Store}
	}
	w.hosts[h.Name] = h
	w.hostNames = append(w.hostNames, h.Name)
	// Reports of many hosts are spread over the interval, as in life.
	w.after(time.Duration(w.rng.Int64N(int64(w.opt.Timing.ReportInterval))), func() { w.report(h, h.computeRun) })
	return h
}

// AddStore adds a store; hosts name it in HostSpec.Store.
func (w *World) AddStore(id string, shared bool) { w.stores[id] = &Store{ID: id, Shared: shared} }

// Host returns a host, or nil.
func (w *World) Host(name string) *Host { return w.hosts[name] }

// HostNames lists all hosts in order of creation.
func (w *World) HostNames() []string { return slices.Clone(w.hostNames) }

func (w *World) mustHost(name string) *Host {
	h := w.hosts[name]
	if h == nil {
		panic(fmt.Sprintf("sim/world: no host %q", name)) // a test's mistake, not an operator's
	}
	return h
}

// runs says whether programs on the host run at all.
func (h *Host) runs() bool { return h.On && h.Kernel && !h.Frozen }

// CanReach says whether the host's kernel takes part in a plane.
func (h *Host) CanReach(p Plane) bool { return h.runs() && !h.cut[p] }

// IsCut says whether the host is cut off from a plane.
func (h *Host) IsCut(p Plane) bool { return h.cut[p] }

// AgentRuns says whether a process of the agent could run now.
func (h *Host) AgentRuns() bool { return h.runs() && !h.Hung && !h.AgentKilled }

// computeWorks says whether nova-compute does its work and can be reached.
func (h *Host) computeWorks() bool {
	return h.ComputeRuns && h.runs() && !h.Hung && !h.cut[Management]
}

// Answer is what a probe of a host gets.
type Answer string

// Answers to a probe.
const (
	AnswerNone   Answer = "none"
	AnswerKernel Answer = "kernel" // ICMP echo
	AnswerAgent  Answer = "agent"  // the agent's probe port
)

// Probe says what a probe from one host to another on a plane gets. From ""
// is a server's machine, which is always on every plane.
func (w *World) Probe(from string, p Plane, to string) Answer {
	if from != "" && !w.mustHost(from).CanReach(p) {
		return AnswerNone
	}
	h := w.hosts[to]
	switch {
	case h == nil || !h.CanReach(p):
		return AnswerNone
	case h.AgentRuns():
		return AnswerAgent
	}
	return AnswerKernel
}

// CutPlane cuts a host off a network; HealPlane joins it again. VMs run on.
func (w *World) CutPlane(host string, p Plane) {
	w.mustHost(host).cut[p] = true
	w.emit("plane-cut", host, "", "%s", p)
}

// HealPlane ends a CutPlane. What waited in the message queue is then worked on.
func (w *World) HealPlane(host string, p Plane) {
	h := w.mustHost(host)
	h.cut[p] = false
	w.emit("plane-heal", host, "", "%s", p)
	w.resumeCompute(h)
}

// Freeze stops the whole machine: nothing answers, but its QEMUs are still
// there and would write again when thawed. Its power stays on.
func (w *World) Freeze(host string) {
	h := w.mustHost(host)
	h.Frozen = true
	w.emit("freeze", host, "", "")
}

// Thaw ends a Freeze.
func (w *World) Thaw(host string) {
	h := w.mustHost(host)
	h.Frozen = false
	w.emit("thaw", host, "", "")
	w.resumeCompute(h)
}

// Hang makes agent and nova-compute stand still; the kernel answers and VMs run.
func (w *World) Hang(host string) {
	w.mustHost(host).Hung = true
	w.emit("hang", host, "", "")
}

// Unhang ends a Hang.
func (w *World) Unhang(host string) {
	h := w.mustHost(host)
	h.Hung = false
	w.emit("unhang", host, "", "")
	w.resumeCompute(h)
}

// KillAgent ends the agent's process; StartAgent begins one.
func (w *World) KillAgent(host string) {
	w.mustHost(host).AgentKilled = true
	w.emit("agent-killed", host, "", "")
}

// StartAgent ends a KillAgent.
func (w *World) StartAgent(host string) {
	w.mustHost(host).AgentKilled = false
	w.emit("agent-started", host, "", "")
}

// DenyGuests sets the uuids that the host's libvirt hook refuses to start. The
// list survives reboots, as the agent keeps it on disk.
func (w *World) DenyGuests(host string, uuids []string) {
	h := w.mustHost(host)
	h.denied = map[string]bool{}
	for _, id := range uuids {
		h.denied[id] = true
	}
	w.emit("guests-denied", host, "", "%d", len(uuids))
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func orInt(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}
