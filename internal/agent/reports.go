package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

const (
	scanEvery   = time.Second
	guestsEvery = 5 * time.Second  // at the latest, when nothing changes
	storesEvery = 20 * time.Second // servers want them no older than a minute
	storesTime  = 10 * time.Second // for one look at them
	greetMost   = 32               // servers that may wait to be told how things stand
)

// lister sends lists of guests in the order in which they were read: a server that asked takes the list before the
// result for one that was read after its order, so no older one may come between.
type lister struct {
	mu   sync.Mutex
	told []Guest // what all servers were told last
	err  string  // and the list's error then
	sent time.Time
}

// reportGuests reads the process table and sends the list to one server, or to all (addr ""): at once, or only if
// something changed or it is due.
func (a *Agent) reportGuests(addr string, fresh, atOnce bool) error {
	a.list.mu.Lock()
	defer a.list.mu.Unlock()
	began := time.Now()
	seq := a.up.Seq()
	guests, err := a.machine.Guests(fresh)
	a.metrics.scanned(time.Since(began), len(guests))
	slices.SortFunc(guests, func(x, y Guest) int { return x.PID - y.PID })
	text := ""
	if err != nil {
		text = err.Error()
	}
	a.hunt(guests)
	changed := text != a.list.err || !slices.Equal(guests, a.list.told)
	if !atOnce && !changed && time.Since(a.list.sent) < guestsEvery {
		return nil
	}
	m := &agentv1.Guests{Boot: a.boot.Bytes(), AtSeq: seq, Error: text}
	for _, g := range guests {
		m.Guests = append(m.Guests, &agentv1.Guest{Uuid: g.UUID, State: g.State, Pid: uint32(g.PID)})
	}
	out := &agentv1.FromAgent{Kind: &agentv1.FromAgent_Guests{Guests: m}}
	if addr != "" {
		return a.up.SendTo(addr, out)
	}
	if text != a.list.err {
		a.log.Warn("whether the guest list is complete changed", "error", text)
	}
	a.up.Send(out)
	a.list.told, a.list.err, a.list.sent = guests, text, time.Now()
	return nil
}

// watchGuests reads the process table every second, and keeps an eye on the gate and what waits for it.
func (a *Agent) watchGuests() {
	tick := time.NewTicker(scanEvery)
	defer tick.Stop()
	var sent *agentv1.GateState
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-tick.C:
		case <-a.kick:
		}
		_ = a.reportGuests("", false, false) // to all: never an error
		a.gate.refresh()
		state := a.gateState()
		if !proto.Equal(state, sent) {
			a.up.Send(gateMessage(state))
			sent = state
		}
		a.gate.explain(a.whyClosed())
		a.metrics.state(a.up.Connected(), state.GetOpen())
		a.alerts.deliver(a.up.Send)
	}
}

func (a *Agent) gateState() *agentv1.GateState {
	f := a.facts.Load()
	if f == nil {
		f = &Facts{}
	}
	return a.gate.current().wire(*f)
}

func gateMessage(s *agentv1.GateState) *agentv1.FromAgent {
	return &agentv1.FromAgent{Kind: &agentv1.FromAgent_Gate{Gate: s}}
}

// readFacts asks for the host's facts, with a bound: libvirt may hang.
func (a *Agent) readFacts() Facts {
	ctx, cancel := context.WithTimeout(a.ctx, 3*time.Second)
	defer cancel()
	f := a.machine.Facts(ctx)
	a.facts.Store(&f)
	return f
}

// whyClosed is what `ninelives gate` says while it waits; "" when the gate is open.
func (a *Agent) whyClosed() string {
	g := a.gate.current()
	if g.Open {
		return ""
	}
	if a.up.Connected() > 0 {
		return g.Reason
	}
	why := "NO SERVER CAN BE REACHED, and only a server knows which VMs of this host run elsewhere by now"
	for _, s := range a.up.States() {
		switch {
		case s.Refused != "":
			why += "; " + s.Addr + " refuses: " + s.Refused
		case s.Err != nil:
			why += "; " + s.Addr + ": " + s.Err.Error()
		}
	}
	return why
}

// shelf is the last list of stores.
type shelf struct {
	mu   sync.Mutex
	last *agentv1.Stores
}

// watchStores looks at the stores and the host's facts every 20 s and sends what it found.
func (a *Agent) watchStores() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	said := ""
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-timer.C:
		}
		a.readFacts() // here, and not where guests are watched: libvirt may hang
		m, err := a.readStores()
		text := ""
		if err != nil {
			text = err.Error()
		}
		if text != said && a.ctx.Err() == nil {
			said = text
			a.log.Warn("what is known of the stores of instances' disks changed", "error", text)
		}
		a.up.Send(storesMessage(m))
		timer.Reset(storesEvery)
	}
}

// readStores looks at the stores. One that can't be identified is sent without identity: nobody shares it.
func (a *Agent) readStores() (*agentv1.Stores, error) {
	ctx, cancel := context.WithTimeout(a.ctx, storesTime)
	defer cancel()
	m := &agentv1.Stores{AtSeq: a.up.Seq()}
	list, err := a.machine.Stores(ctx)
	for _, s := range list {
		m.Stores = append(m.Stores, &agentv1.Store{Kind: s.Kind, Identity: s.Identity, Path: s.Path})
	}
	a.stores.mu.Lock()
	a.stores.last = m
	a.stores.mu.Unlock()
	return m, err
}

func storesMessage(m *agentv1.Stores) *agentv1.FromAgent {
	return &agentv1.FromAgent{Kind: &agentv1.FromAgent_Stores{Stores: m}}
}

// greetServers tells a server that was just reached how things stand.
func (a *Agent) greetServers() {
	for {
		select {
		case <-a.ctx.Done():
			return
		case addr := <-a.greet:
			err := a.up.SendTo(addr, gateMessage(a.gateState()))
			if err == nil {
				err = a.reportGuests(addr, false, true)
			}
			a.stores.mu.Lock()
			stores := a.stores.last
			a.stores.mu.Unlock()
			if err == nil && stores != nil { // else they come with the first look
				err = a.up.SendTo(addr, storesMessage(stores))
			}
			if err != nil {
				a.log.Warn("cannot tell a server how this host stands", "server", addr, "error", err)
			}
			a.alerts.deliver(a.up.Send)
		}
	}
}

// hello introduces this host on a new stream.
func (a *Agent) hello() *agentv1.Hello {
	_, err := a.machine.Guests(false)
	return &agentv1.Hello{
		Host: a.host, Boot: a.boot.Bytes(), Machine: &agentv1.Machine{Uuid: a.id.UUID, Serial: a.id.Serial}, AgentVersion: a.o.Version,
		Planes: a.o.Config.Planes, Labels: a.o.Config.Labels, ProbePort: a.echo.Port(), Nova: a.readFacts().Nova, DataFormat: dataFormat,
		GuestsKnown: err == nil,
	}
}

// ear is what transport calls. Its calls return at once: they hold up a server's stream.
type ear struct{ a *Agent }

// Connected has the greeter tell this server how things stand.
func (e ear) Connected(addr string, _ *agentv1.Welcome) {
	select {
	case e.a.greet <- addr:
	default: // as many as there are servers wait already; the lists that come every few seconds will do
	}
}

// Changed has the reason of a closed gate looked at.
func (e ear) Changed(transport.ServerState) { e.a.wake() }

// wake has watchGuests look at once.
func (a *Agent) wake() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}
