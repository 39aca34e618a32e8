package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// world is a small cloud for tests: the truth about machines and guests, and a Nova that behaves like the real one where
// it matters. It accepts any number of evacuations of one VM, keeps orders in the queues of dead hosts, and answers as it
// is told to. Nothing in it knows what the engine believes.
type world struct {
	now      time.Time
	machines map[string]*machine
	vms      map[string]*VM
	moves    []*move
	actions  map[string][]time.Time // evacuate actions that Nova's instance actions show
	answers  map[Kind]string
	twice    []string // VMs that ran in two places
	undated  bool     // its answers have no date: what a list's migrations show is all there is
}

type machine struct {
	name      string
	on        bool
	cut       bool // no network: it runs, and nobody hears it
	boot      int
	guests    map[string]bool
	gate      bool      // nova-compute may start
	byHand    bool      // because an operator said so there
	orders    [2]int    // gate orders: sent, in force
	asOf      time.Time // when its agent last listed its guests because it was asked to
	forbidden []string
	queue     []func() // Nova's orders, waiting for nova-compute
	service   Service
	facts     HostFacts
	power     string // what the device reads, if it doesn't tell the truth
}

// move is a migration record, and its evacuation under way.
type move struct {
	Migration
	due time.Time // when its destination finishes it
}

func (m *machine) bootID() string { return fmt.Sprintf("boot%d-%s", m.boot, m.name) }

func newWorld(now time.Time) *world {
	return &world{now: now, machines: map[string]*machine{}, vms: map[string]*VM{}, actions: map[string][]time.Time{}, answers: map[Kind]string{}}
}

func (w *world) addMachine(name, zone, levels string) *machine {
	m := &machine{name: name, on: true, boot: 1, gate: true, guests: map[string]bool{}, service: Service{ID: "svc-" + name, Up: true, Fresh: true}}
	m.facts = HostFacts{Name: name, Zone: zone, Hypervisor: "QEMU", FreeMB: 64000, FreeVCPUs: 64}
	switch levels {
	case "0":
	case "2":
		m.facts.Levels = []string{"bmc-" + name, "pdu-" + name + "-a + pdu-" + name + "-b"}
	default:
		m.facts.Levels = []string{"bmc-" + name}
	}
	w.machines[name] = m
	return m
}

func (w *world) addVM(id, host string) *VM {
	v := &VM{
		ID: id, Name: id, Host: host, Status: "ACTIVE", Power: "running", Launched: true, ImageBooted: true, MemoryMB: 512, VCPUs: 1,
		Facts: policy.VM{ID: id, Name: id, Zone: "nova", Aggregates: []string{}, FlavorExtra: map[string]string{}, ImageProperties: map[string]string{}, Metadata: map[string]string{}, Tags: []string{}},
	}
	w.vms[id] = v
	w.machines[host].guests[id] = true
	return v
}

func (w *world) names() []string { return slices.Sorted(maps.Keys(w.machines)) }

func (w *world) on(host string) []VM {
	var out []VM
	for _, id := range slices.Sorted(maps.Keys(w.vms)) {
		if w.vms[id].Host == host {
			out = append(out, *w.vms[id])
		}
	}
	return out
}

// start runs a copy of a VM, and remembers when another one runs already.
func (w *world) start(id string, m *machine) {
	if !m.on || slices.Contains(m.forbidden, id) || w.vms[id] == nil {
		return
	}
	m.guests[id] = true
	for _, n := range w.names() {
		o := w.machines[n]
		if o != m && o.guests[id] {
			w.twice = append(w.twice, fmt.Sprintf("%s runs on %s and %s", id, o.name, m.name))
		}
	}
}

// kill ends a machine's life, with all its guests.
func (w *world) kill(m *machine) {
	m.on, m.guests = false, map[string]bool{}
	m.service.Fresh, m.service.Up = false, false
}

// boots starts a new life: its gate is closed until it is told otherwise.
func (w *world) boots(m *machine) {
	w.kill(m)
	m.on, m.gate, m.byHand, m.power, m.asOf = true, false, false, "", time.Time{}
	m.boot++
}

func (w *world) report(m *machine) AgentReport {
	return AgentReport{
		Boot: m.bootID(), Guests: slices.Sorted(maps.Keys(m.guests)), GuestsSeen: true, Stores: []string{"nfs:shared"}, GateClosed: !m.gate, AsOf: m.asOf,
		ByHand: m.byHand, GateStale: m.orders[0] != m.orders[1], Refuses: len(m.forbidden),
	}
}

// pass lets Nova's work under way go on.
func (w *world) pass(now time.Time) {
	w.now = now
	for _, n := range w.names() {
		m := w.machines[n]
		if m.on && m.gate && !m.cut {
			m.service.Fresh, m.service.Up = true, !m.service.ForcedDown
			for _, order := range m.queue {
				order()
			}
			m.queue = nil
		}
	}
	for _, mv := range w.moves {
		if mv.due.IsZero() || now.Before(mv.due) {
			continue
		}
		mv.due = time.Time{}
		m := w.machines[mv.Dest]
		m.queue = append(m.queue, func() { w.arrive(mv, m) })
	}
}

func (w *world) arrive(mv *move, m *machine) {
	v := w.vms[mv.VM]
	if v == nil {
		return // deleted meanwhile: Nova leaves the record as it is, for ever
	}
	if mv.Status == "failed" {
		v.Status = "ERROR"
		return
	}
	w.start(v.ID, m)
	if m.guests[v.ID] {
		v.Host, v.Status, v.Power = m.name, "ACTIVE", "running"
		for _, o := range w.moves { // Nova's conductor takes the first record that reads accepted, whosever request it works on
			if o.VM == mv.VM && o.Type == "evacuation" && o.Status == "accepted" {
				mv = o
				break
			}
		}
		mv.Status, mv.Dest = "done", m.name
	}
}

// evacuate is Nova taking the request.
func (w *world) evacuate(vm, target, user string) (int, string) {
	v := w.vms[vm]
	switch {
	case v == nil:
		return 404, "no such server"
	case v.Status != "ACTIVE" && v.Status != "SHUTOFF" && v.Status != "ERROR" && v.Status != "REBUILD": // its vm_state counts, not its task
		return 409, "Cannot 'evacuate' while it is in " + v.Status
	case !w.machines[v.Host].service.ForcedDown:
		return 400, "service is still in use"
	case slices.Contains(strings.Split(w.answers["full"], "+"), target):
		return 400, "No valid host was found"
	}
	w.actions[vm] = append(w.actions[vm], w.now)
	mv := &move{Migration: Migration{UUID: fmt.Sprintf("m%d-%s", len(w.moves)+1, vm), VM: vm, Type: "evacuation", Status: "accepted", Source: v.Host, Dest: target, User: user, Created: w.now}}
	if target == "" {
		for _, n := range w.names() {
			if m := w.machines[n]; n != v.Host && m.on && !m.service.ForcedDown {
				mv.Dest = n
			}
		}
	}
	if mv.Dest != "" {
		mv.due = w.now.Add(2 * time.Second)
	}
	w.moves = append(w.moves, mv)
	v.Status = "REBUILD" // what Nova shows until the destination is done; for ever, if that dies
	return 200, ""
}

func (w *world) migrations(host string, evacuationsOnly bool) []Migration {
	var out []Migration
	for _, mv := range w.moves {
		if mv.Source == host && mv.Type == "evacuation" || !evacuationsOnly && (mv.Source == host || mv.Dest == host) {
			out = append(out, mv.Migration)
		}
	}
	return out
}

// read answers an action that only reads, or tells.
func (w *world) read(a Action) Event {
	trouble := ""
	if w.answers["nova"] == "down" && a.Do != ReadPower && a.Do != AskGuests && a.Do != SendGate {
		trouble = "503 Service Unavailable"
	}
	m := w.machines[a.Host]
	if m == nil {
		panic(fmt.Sprintf("%s of an unknown host %q, incident %q, %s", a.Do, a.Host, a.Incident, a.Why))
	}
	switch a.Do {
	case ReadPower:
		return PowerRead{Action: a.ID, Readings: []Reading{{Device: "bmc-" + a.Host, State: m.reads(), At: w.now}}}
	case ListServers:
		if trouble != "" {
			return Listed{Action: a.ID, Err: trouble}
		}
		date := w.now
		if w.undated && len(w.migrations(a.Host, false)) == 0 {
			date = time.Time{}
		}
		return Listed{Action: a.ID, Date: date, VMs: w.listed(a.Host), Allocated: w.consumers(a.Host), Allocations: true, Migrations: w.migrations(a.Host, false), Service: m.service}
	case Track:
		return Tracked{Action: a.ID, Migrations: w.migrations(a.Host, true), Err: trouble}
	case Inspect:
		ev := Inspected{Action: a.ID, Err: trouble}
		for _, at := range w.actions[a.VM] {
			if !at.Before(a.Since) {
				ev.Evacuations++
			}
		}
		return ev
	case Look:
		v := w.vms[a.VM]
		if v == nil || trouble != "" {
			return Looked{Action: a.ID, Err: trouble}
		}
		return Looked{Action: a.ID, Found: true, VM: *v}
	case ReadService:
		return ServiceRead{Action: a.ID, Host: a.Host, Service: m.service, Err: trouble}
	case SendGate:
		if !m.on || m.cut || a.Gate.Boot != m.bootID() || w.answers[SendGate] == "not-sent" {
			return Answered{Action: a.ID, Answer: NotSent, Text: "no agent is connected"}
		}
		m.orders[0]++
		if w.answers[SendGate] == "lost" {
			return Answered{Action: a.ID, Answer: Accepted}
		}
		m.gate, m.forbidden, m.orders[1] = m.gate || a.Gate.Open, a.Gate.Forbidden, m.orders[0]
		for _, id := range m.forbidden {
			delete(m.guests, id) // the agent's second net
		}
		return Answered{Action: a.ID, Answer: Accepted}
	}
	return nil
}

func (w *world) listed(host string) []VM {
	hidden := strings.Split(w.answers["hidden"], "+")
	return slices.DeleteFunc(w.on(host), func(v VM) bool { return slices.Contains(hidden, v.ID) })
}

// consumers are what Placement knows on a host; it doesn't depend on Nova's cells.
func (w *world) consumers(host string) []string {
	var out []string
	for _, v := range w.on(host) {
		out = append(out, v.ID)
	}
	return out
}

func (m *machine) reads() string {
	switch {
	case m.power != "":
		return m.power
	case m.on:
		return "on"
	}
	return "off"
}

// write carries out a dangerous act and answers it, as told by answers: "" does it; refused, not-sent, unanswered (lost
// before Nova took it), lost (Nova took it, the answer was lost), doomed (Nova took it, and its migration fails), silent (nothing happens and nobody answers).
func (w *world) write(a Action) Event {
	m, v := w.machines[a.Host], w.vms[a.VM]
	how, text, _ := strings.Cut(w.answers[a.Do], " ")
	status := 0
	if how == "refused" {
		if _, err := fmt.Sscanf(text, "%d", &status); err == nil {
			_, text, _ = strings.Cut(text, " ")
		}
	}
	switch how {
	case "silent":
		return nil
	case "refused", "not-sent", "unanswered":
		if a.Do == Fence {
			var sent []string
			if how == "unanswered" {
				sent = strings.Split(m.facts.Levels[a.Level], devicesJoined)
			}
			return FenceDone{Action: a.ID, Sent: sent != nil, Devices: sent, Err: either(text, "the device does not answer")}
		}
		return Answered{Action: a.ID, Answer: Answer(how), Status: status, Text: text}
	}
	if how == "lying" { // a device that says off and does nothing
		return FenceDone{Action: a.ID, Proven: true, Device: "bmc-" + a.Host, Devices: []string{"bmc-" + a.Host}, Sent: true}
	}
	ev := w.act(a)
	switch how {
	case "doomed": // Nova takes it, and it fails at once
		for _, mv := range w.moves {
			if a.Do == Evacuate && mv.VM == a.VM && !mv.due.IsZero() {
				mv.Status, mv.due, v.Status = "failed", time.Time{}, "ERROR"
			}
		}
	case "lost":
		return Answered{Action: a.ID, Answer: Unanswered, Text: "connection closed"}
	case "lost-silent":
		return nil
	}
	return ev
}

func (w *world) act(a Action) Event {
	done := Answered{Action: a.ID, Answer: Accepted}
	m, v := w.machines[a.Host], w.vms[a.VM]
	switch a.Do {
	case Fence:
		devices := strings.Split(m.facts.Levels[a.Level], devicesJoined)
		w.kill(m)
		return FenceDone{Action: a.ID, Proven: true, Device: devices[0], Devices: devices, Sent: true}
	case PowerOn:
		w.boots(m)
	case TakeOut:
		m.service.ForcedDown, m.service.Up = true, false
		if a.Disable {
			m.service.Disabled, m.service.DisabledReason = true, a.Why
		}
	case PutBack:
		m.service.ForcedDown = false
		if a.Disable {
			m.service.Disabled, m.service.DisabledReason = false, ""
		}
	case Evacuate:
		if status, text := w.evacuate(a.VM, a.Target, "ninelives"); status != 200 {
			return Answered{Action: a.ID, Answer: Refused, Status: status, Text: text}
		}
		if a.Stopped {
			w.moves[len(w.moves)-1].due = time.Time{}
			v.Host, v.Status, w.moves[len(w.moves)-1].Status = a.Target, "SHUTOFF", "done"
		}
	case ResetState:
		v.Status = "ERROR"
	case Pause:
		v.Status, v.Power = "PAUSED", "paused"
	case Start, HardReboot:
		m.queue = append(m.queue, func() {
			if v.Host == m.name {
				w.start(v.ID, m)
				v.Status, v.Power = "ACTIVE", "running"
			}
		})
	}
	return done
}
