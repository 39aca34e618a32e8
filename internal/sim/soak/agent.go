package soak

import (
	"fmt"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/agent"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// Times of the agent and of its links, as packages agent and transport have them.
const (
	pulse       = time.Second
	guestsEvery = 5 * time.Second
	storesEvery = 20 * time.Second
	ackLimit    = 4 // pulses in a row without an ack, then the agent gives a server up
	quietLimit  = 20 * time.Second
)

// agentOn is a compute host's agent: its pulses, its gate, its witness. It calls the servers' handlers as the network
// would let it.
type agentOn struct {
	c      *cluster
	host   string
	boot   string // of the process; "" for none
	epochs *transport.EpochFence
	seq    uint64
	sentAt map[uint64]time.Time
	links  map[string]*uplink
	gate   agent.Gate // on its disk
	told   []string   // guests, as all servers were told last
	listed time.Time
	shelf  time.Time
	state  *agentv1.GateState
	inbox  []func() // what came while it stood still
}

// uplink is its link to one process of a server.
type uplink struct {
	a       *agentOn
	l       *life
	link    *transport.Link
	acked   uint64
	arrival time.Time // of the last thing said: a stream keeps its order
	order   time.Time // of the last order, for the same reason
	over    bool      // for the agent
	gone    bool      // for the server
}

func (a *agentOn) at() *world.Host { return a.c.w.Host(a.host) }

// beat is a tick of the agent's second.
func (a *agentOn) beat() {
	a.c.after(pulse+a.c.span(-ms(3), ms(3)), a.beat)
	h := a.at()
	if h.Boot != a.boot || !h.On || !h.Kernel {
		a.lost()
	}
	if !h.AgentRuns() {
		if h.AgentKilled && h.On && h.Kernel && !h.Frozen {
			a.lost()
		}
		return
	}
	if a.boot == "" {
		a.begin(h.Boot)
	}
	inbox := a.inbox
	a.inbox = nil
	for _, do := range inbox {
		do()
	}
	a.seq++
	a.sentAt[a.seq] = time.Now()
	delete(a.sentAt, a.seq-250)
	for _, name := range a.c.names {
		a.pulse(name)
	}
	a.look()
}

// begin is a new process of the agent.
func (a *agentOn) begin(boot string) {
	a.boot, a.epochs, a.seq, a.sentAt = boot, &transport.EpochFence{}, 0, map[uint64]time.Time{}
	a.gate.Boots(boot)
	a.told, a.state, a.listed, a.shelf = nil, nil, time.Time{}, time.Time{}
	a.enforce()
}

// lost: the process has ended, with or without its machine.
func (a *agentOn) lost() {
	if a.boot == "" {
		return
	}
	kernel := a.at().On && a.at().Kernel && a.at().Boot == a.boot // which says so to the peers
	a.boot, a.inbox = "", nil
	for _, name := range a.c.names {
		if u := a.links[name]; u != nil {
			u.end(kernel)
		}
	}
}

// end closes the agent's end of a link. The server hears of it at once if a kernel can tell it, else after a long silence.
func (u *uplink) end(said bool) {
	if u.over {
		return
	}
	u.over = true
	delete(u.a.links, u.l.name)
	how, in := transport.EndTimeout, quietLimit
	if said && u.a.c.open(u.a.host, u.l.name) {
		how, in = transport.EndEOF, ms(5)
	}
	u.a.c.after(in, func() { u.close(how) })
}

func (u *uplink) close(how transport.End) {
	u.l.reach(func() {
		if !u.gone {
			u.gone = true
			u.link.Gone()
			u.l.server.Agents().Closed(u.link, how, nil)
		}
	})
}

// pulse says one to a server, or tries to reach it.
func (a *agentOn) pulse(name string) {
	u, l := a.links[name], a.c.lives[name]
	if u != nil && u.l != l { // that process has ended, and its kernel said so, or the next one's does
		u.over, u.gone = true, true
		delete(a.links, name)
		u = nil
	}
	if u == nil {
		if l != nil && !l.killed() && !l.paused() && a.c.open(a.host, name) && a.c.open(name, a.host) {
			a.connect(l)
		}
		return
	}
	if a.seq-u.acked > ackLimit {
		u.end(true)
		return
	}
	seq := a.seq
	u.say(func() {
		if u.gone {
			return
		}
		u.link.Hear(seq)
		u.l.server.Agents().Pulse(u.link, seq)
		if a.c.open(name, a.host) {
			u.acked = max(u.acked, seq)
			a.epochs.See(u.l.server.Epoch())
		}
	})
}

// say has something arrive at the server, after all that was said before.
func (u *uplink) say(do func()) {
	c := u.a.c
	at := time.Now().Add(c.span(ms(1), ms(6)))
	if at.Before(u.arrival) {
		at = u.arrival
	}
	u.arrival = at
	var try func()
	try = func() {
		switch {
		case u.over && !c.open(u.a.host, u.l.name): // nobody repeats it any more
		case !c.open(u.a.host, u.l.name):
			u.arrival = time.Now().Add(ms(250))
			c.after(ms(250), try)
		default:
			u.l.reach(do)
		}
	}
	c.after(time.Until(at), try)
}

func (u *uplink) message(m *agentv1.FromAgent) {
	u.say(func() {
		if !u.gone {
			u.l.server.Agents().Message(u.link, m)
		}
	})
}

// connect opens a link: Hello, and how things stand.
func (a *agentOn) connect(l *life) {
	h := a.at()
	boot, err := transport.ParseBoot(a.boot)
	if err != nil {
		panic(err) // the world makes boots
	}
	u := &uplink{a: a, l: l, acked: a.seq}
	id := pki.Machine{UUID: h.Identity, Serial: h.Serial}.Normal()
	a.c.streams++
	u.link = transport.Direct{
		Host: a.host, Machine: id, Boot: boot, Remote: fmt.Sprintf("%s:%d", a.host, a.c.streams),
		Deliver: func(m *agentv1.FromServer) { a.c.post(l.name+" order "+a.host, func() { u.sent(m) }) },
		Dropped: func(string) {
			a.c.post(l.name+" drops "+a.host, func() { u.close(transport.EndDropped); u.end(false) })
		},
	}.Link()
	hello := &agentv1.Hello{
		Host: a.host, Boot: boot.Bytes(), Machine: &agentv1.Machine{Uuid: id.UUID, Serial: id.Serial}, AgentVersion: "sim", ProbePort: 7403,
		Planes: a.c.planes(a.host), Labels: map[string]string{"rack": h.Rack}, StartedSeq: a.seq, GuestsKnown: true, DataFormat: 1,
		Nova: &agentv1.Nova{Host: h.Name, HypervisorHostname: h.Hypervisor, ComputeDriver: "libvirt.LibvirtDriver", VirtType: "kvm", ConfigPath: "/etc/nova/nova.conf"},
	}
	a.links[l.name] = u
	u.say(func() {
		if _, err := l.server.Agents().Hello(u.link, hello); err != nil {
			a.c.note("%s refuses %s: %v", l, a.host, err)
			u.gone = true
			delete(a.links, l.name)
		}
	})
	u.message(gateMessage(a.gate.State(agent.Facts{HookInstalled: true, NovaComputeRunning: h.ComputeRuns})))
	u.message(a.guests())
	u.message(a.stores())
}

// sent is a message of a server on its way to the agent.
func (u *uplink) sent(m *agentv1.FromServer) {
	a := u.a
	if u.l.paused() {
		u.l.late = append(u.l.late, func() { u.sent(m) })
		return
	}
	var arrive func()
	arrive = func() {
		switch {
		case u.over || u.l.killed():
		case !a.c.open(u.l.name, a.host):
			a.c.after(ms(250), arrive)
		case !a.at().AgentRuns() || a.at().Boot != a.boot:
			a.inbox = append(a.inbox, func() { a.order(u, m) })
		default:
			a.order(u, m)
		}
	}
	at := time.Now().Add(a.c.span(ms(1), ms(6)))
	if at.Before(u.order) {
		at = u.order
	}
	u.order = at
	a.c.after(time.Until(at), arrive)
}

// look tells the servers what has changed on the host, and ends what must not run here.
func (a *agentOn) look() {
	for _, id := range a.gate.Hunted(time.Since(a.c.began)) {
		if slices.Contains(a.c.w.Guests(a.host), id) {
			a.c.note("%s ends %s, which must not run there", a.host, a.c.vm(id))
			a.c.w.KillGuest(a.host, id)
		}
	}
	if guests := a.c.w.Guests(a.host); !slices.Equal(guests, a.told) || time.Since(a.listed) >= guestsEvery {
		a.told, a.listed = guests, time.Now()
		a.toAll(a.guests())
	}
	if time.Since(a.shelf) >= storesEvery {
		a.shelf = time.Now()
		a.toAll(a.stores())
	}
	state := a.gate.State(agent.Facts{HookInstalled: true, NovaComputeRunning: a.at().ComputeRuns})
	if a.state == nil || a.state.Open != state.Open || a.state.Generation != state.Generation || a.state.NovaComputeRunning != state.NovaComputeRunning {
		a.state = state
		a.toAll(gateMessage(state))
	}
}

func (a *agentOn) toAll(m *agentv1.FromAgent) {
	for _, name := range a.c.names {
		if u := a.links[name]; u != nil {
			u.message(m)
		}
	}
}

// enforce has the host's libvirt and nova-compute do what the gate says.
func (a *agentOn) enforce() {
	a.c.w.DenyGuests(a.host, a.gate.Forbidden())
	if a.gate.Open() {
		a.c.w.OpenGate(a.host)
	}
}

func gateMessage(s *agentv1.GateState) *agentv1.FromAgent {
	return &agentv1.FromAgent{Kind: &agentv1.FromAgent_Gate{Gate: s}}
}

func (a *agentOn) guests() *agentv1.FromAgent {
	boot, _ := transport.ParseBoot(a.boot) // the world makes boots
	m := &agentv1.Guests{Boot: boot.Bytes(), AtSeq: a.seq}
	for i, id := range a.c.w.Guests(a.host) {
		m.Guests = append(m.Guests, &agentv1.Guest{Uuid: id, State: agentv1.GuestState_GUEST_STATE_RUNNING, Pid: uint32(1000 + i)})
	}
	return &agentv1.FromAgent{Kind: &agentv1.FromAgent_Guests{Guests: m}}
}

func (a *agentOn) stores() *agentv1.FromAgent {
	s := a.c.w.StoreOf(a.host)
	return &agentv1.FromAgent{Kind: &agentv1.FromAgent_Stores{Stores: &agentv1.Stores{AtSeq: a.seq, Stores: []*agentv1.Store{{
		Kind: "nfs", Identity: s.ID, Path: "/var/lib/nova/instances",
	}}}}}
}
