package agent

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ninelives-ha/ninelives/internal/probe"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

const patience = 10 * time.Second // only ever used up by a failing test

// fakeMachine is a host without hardware.
type fakeMachine struct {
	boot transport.Boot

	mu      sync.Mutex
	guests  []Guest
	fresh   int // fresh readings
	leaving bool
	killed  []string
}

func (m *fakeMachine) Boot() (transport.Boot, error) { return m.boot, nil }
func (m *fakeMachine) Identity() (pki.Machine, error) {
	return pki.Machine{UUID: "11111111-0000-0000-0000-000000000001"}, nil
}

func (m *fakeMachine) Guests(fresh bool) ([]Guest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if fresh {
		m.fresh++
	}
	return slices.Clone(m.guests), nil
}

func (m *fakeMachine) Kill(_ context.Context, vm string) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := len(m.guests)
	m.guests = slices.DeleteFunc(m.guests, func(g Guest) bool { return g.UUID == vm })
	m.killed = append(m.killed, vm)
	return before - len(m.guests), nil
}

func (m *fakeMachine) Stores(context.Context) ([]Store, error) {
	return []Store{{"nfs4", "nas:/nova mark", "/var/lib/nova/instances"}}, nil
}

func (m *fakeMachine) Facts(context.Context) Facts {
	return Facts{Nova: &agentv1.Nova{Host: "compute-01"}, HookInstalled: true}
}
func (m *fakeMachine) ShuttingDown(context.Context) bool { return m.leaving }

func (m *fakeMachine) run(guests ...Guest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.guests = guests
}

// serverSide is a server that tells the test what it was told.
type serverSide struct {
	t      *testing.T
	ca     *pki.CA
	server *transport.Server
	tokens map[string]pki.TokenRecord

	pulseMs uint32
	links   chan *transport.Link
	hellos  chan *agentv1.Hello
	msgs    chan *agentv1.FromAgent
	pulses  chan uint64
	closed  chan transport.End
}

func (s *serverSide) Hello(l *transport.Link, h *agentv1.Hello) (*agentv1.Welcome, error) {
	s.hellos <- h
	s.links <- l
	return &agentv1.Welcome{Epoch: 7, PulseMs: s.pulseMs, Cluster: "mycloud"}, nil
}

func (s *serverSide) Pulse(_ *transport.Link, seq uint64) {
	select {
	case s.pulses <- seq:
	default:
	}
}
func (s *serverSide) Message(_ *transport.Link, m *agentv1.FromAgent)      { s.msgs <- m }
func (s *serverSide) Closed(_ *transport.Link, how transport.End, _ error) { s.closed <- how }
func (s *serverSide) Join(context.Context, transport.Joining) error        { return nil }
func (s *serverSide) Renew(context.Context, transport.Renewing) error      { return nil }
func (s *serverSide) Create(_ context.Context, r pki.TokenRecord) error {
	s.tokens[r.ID] = r
	return nil
}
func (s *serverSide) Redeem(_ context.Context, id string, use func(pki.TokenRecord) (pki.TokenRecord, error)) error {
	r, err := use(s.tokens[id])
	if err == nil {
		s.tokens[id] = r
	}
	return err
}

func newServerSide(t *testing.T) *serverSide {
	t.Helper()
	ca, err := pki.NewInMemory("mycloud", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	creds, err := ca.IssueServer("server-1", []string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &serverSide{
		t: t, ca: ca, pulseMs: 50, tokens: map[string]pki.TokenRecord{}, links: make(chan *transport.Link, 10), hellos: make(chan *agentv1.Hello, 10),
		msgs: make(chan *agentv1.FromAgent, 10000), pulses: make(chan uint64, 1), closed: make(chan transport.End, 10),
	}
	s.server, err = transport.Listen(transport.ServerOptions{
		Name: "server-1", Addr: "127.0.0.1:0", Credentials: creds, CA: ca, Tokens: s, Handler: s, Epoch: func() uint64 { return 7 }, AckEvery: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.server.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func next[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

// until skips messages up to one that is wanted.
func (s *serverSide) until(what string, wanted func(*agentv1.FromAgent) bool) *agentv1.FromAgent {
	s.t.Helper()
	late := time.After(patience) // in all: an agent never falls silent
	for {
		select {
		case m := <-s.msgs:
			if wanted(m) {
				return m
			}
		case <-late:
			s.t.Fatalf("%s did not come", what)
		}
	}
}

func (s *serverSide) send(l *transport.Link, m *agentv1.FromServer) {
	s.t.Helper()
	if err := l.Send(m); err != nil {
		s.t.Fatal(err)
	}
}

// place is an agent that has joined and runs.
type place struct {
	*serverSide
	cfg     Config
	machine *fakeMachine
	agent   *Agent
	link    *transport.Link
}

func joinedAgent(t *testing.T, s *serverSide) (Config, *fakeMachine) {
	t.Helper()
	cfg := testConfig(t, bootOne)
	cfg.Servers, cfg.ProbePort = []string{s.server.Addr().String()}, 0
	boot, err := transport.ParseBoot(bootOne)
	if err != nil {
		t.Fatal(err)
	}
	m := &fakeMachine{boot: boot}
	token, record, err := s.ca.NewToken("compute-01", 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.tokens[record.ID] = record
	if err := Join(t.Context(), cfg, token.Text(), m, nil); err != nil {
		t.Fatal(err)
	}
	return cfg, m
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{serverSide: newServerSide(t)}
	p.cfg, p.machine = joinedAgent(t, p.serverSide)
	p.begin()
	return p
}

// begin starts an agent and waits until it said how the host stands.
func (p *place) begin() *agentv1.GateState {
	p.t.Helper()
	var err error
	p.agent, err = New(Options{Config: p.cfg, Machine: p.machine, Version: "1.2.3", Metrics: prometheus.NewRegistry()})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { p.end(p.agent) })
	if err := p.agent.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.link = next(p.t, p.links, "a link")
	return p.until("the gate's state", func(m *agentv1.FromAgent) bool { return m.GetGate() != nil }).GetGate()
}

func (p *place) end(a *Agent) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		p.t.Error(err)
	}
}

func TestAnAgentIntroducesItself(t *testing.T) {
	p := newPlace(t)
	h := next(t, p.hellos, "a hello")
	if h.GetHost() != "compute-01" || h.GetPlanes()["management"] != "127.0.0.1" || h.GetProbePort() != p.agent.ProbePort() || h.GetProbePort() == 0 ||
		h.GetNova().GetHost() != "compute-01" || !h.GetGuestsKnown() || h.GetAgentVersion() != "1.2.3" || h.GetDataFormat() != dataFormat {
		t.Errorf("got %v", h)
	}
	p.until("guests", func(m *agentv1.FromAgent) bool { return m.GetGuests() != nil && m.GetGuests().GetError() == "" })
	stores := p.until("stores", func(m *agentv1.FromAgent) bool { return m.GetStores() != nil }).GetStores().GetStores()
	if len(stores) != 1 || stores[0].GetIdentity() != "nas:/nova mark" {
		t.Errorf("stores %v", stores)
	}
	next(t, p.pulses, "a pulse")
	// A change is told without being asked for.
	p.machine.run(Guest{UUID: vmA, PID: 7, State: agentv1.GuestState_GUEST_STATE_RUNNING})
	p.until("the new guest", func(m *agentv1.FromAgent) bool { return len(m.GetGuests().GetGuests()) == 1 })
	// Its probe port answers.
	prober, err := probe.New(probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got, err := prober.Probe(ctx, probe.Target{Address: "127.0.0.1", Port: p.agent.ProbePort()}); got != probe.Agent {
		t.Errorf("its probe port: %q, %v", got, err)
	}
}

// The list that a server asked for is read after the order and comes before the result.
func TestListGuestsComesFreshAndFirst(t *testing.T) {
	p := newPlace(t)
	for id := uint64(1); id <= 20; id++ {
		p.machine.mu.Lock()
		before := p.machine.fresh
		p.machine.mu.Unlock()
		p.machine.run(Guest{UUID: vmA, PID: int(id), State: agentv1.GuestState_GUEST_STATE_RUNNING})
		p.send(p.link, &agentv1.FromServer{Kind: &agentv1.FromServer_Order{Order: &agentv1.Order{
			Id: id, Epoch: 7, DeadlineMs: 5000, Kind: agentv1.OrderKind_ORDER_KIND_LIST_GUESTS, Boot: bootBytes(t, bootOne),
		}}})
		var last *agentv1.Guests
		r := p.until("the result", func(m *agentv1.FromAgent) bool {
			if g := m.GetGuests(); g != nil {
				last = g
			}
			return m.GetResult() != nil
		}).GetResult()
		if !r.GetOk() || r.GetOrderId() != id {
			t.Fatalf("result %v", r)
		}
		p.machine.mu.Lock()
		after := p.machine.fresh
		p.machine.mu.Unlock()
		if len(last.GetGuests()) != 1 || last.GetGuests()[0].GetPid() != uint32(id) || after != before+1 {
			t.Fatalf("order %d: before its result came %v, after %d fresh readings", id, last, after-before)
		}
	}
}

func TestOrdersThatAreRefused(t *testing.T) {
	p := newPlace(t)
	for want, o := range map[string]*agentv1.Order{
		"another boot": {Kind: agentv1.OrderKind_ORDER_KIND_KILL_GUEST, Uuid: vmA, Boot: bootBytes(t, bootTwo)},
		"no boot":      {Kind: agentv1.OrderKind_ORDER_KIND_KILL_GUEST, Uuid: vmA},
		"is no VM":     {Kind: agentv1.OrderKind_ORDER_KIND_KILL_GUEST, Uuid: "x", Boot: bootBytes(t, bootOne)},
		"doesn't know": {Kind: 99, Boot: bootBytes(t, bootOne)},
	} {
		o.Id, o.Epoch, o.DeadlineMs = 1, 7, 5000
		p.send(p.link, &agentv1.FromServer{Kind: &agentv1.FromServer_Order{Order: o}})
		r := p.until("a refusal", func(m *agentv1.FromAgent) bool { return m.GetResult() != nil }).GetResult()
		if want == "no boot" {
			want = "another boot"
		}
		if r.GetOk() || !strings.Contains(r.GetError(), want) {
			t.Errorf("got %v, want %q", r, want)
		}
	}
	if len(p.machine.killed) > 0 {
		t.Errorf("killed %v", p.machine.killed)
	}
	p.machine.run(Guest{UUID: vmA, PID: 7})
	p.send(p.link, &agentv1.FromServer{Kind: &agentv1.FromServer_Order{Order: &agentv1.Order{
		Id: 2, Epoch: 7, DeadlineMs: 5000, Kind: agentv1.OrderKind_ORDER_KIND_KILL_GUEST, Uuid: vmA, Boot: bootBytes(t, bootOne),
	}}})
	r := p.until("a result", func(m *agentv1.FromAgent) bool { return m.GetResult() != nil }).GetResult()
	if !r.GetOk() || !slices.Equal(p.machine.killed, []string{vmA}) {
		t.Errorf("got %v, killed %v", r, p.machine.killed)
	}
}

// Closed at boot, opened by an order for this boot, still open after the agent's restart; what is forbidden is killed
// when it runs, and an operator hears of it.
func TestTheGateFromBootToHunt(t *testing.T) {
	s := newServerSide(t)
	p := &place{serverSide: s}
	p.cfg, p.machine = joinedAgent(t, s)
	if g := p.begin(); g.GetOpen() || !g.GetHookInstalled() {
		t.Fatalf("at boot: %v", g)
	}
	p.send(p.link, &agentv1.FromServer{Kind: &agentv1.FromServer_Gate{Gate: gateOrder(t, bootTwo, 7, 9, true)}})
	p.send(p.link, &agentv1.FromServer{Kind: &agentv1.FromServer_Gate{Gate: gateOrder(t, bootOne, 7, 10, true, vmA)}})
	var g *agentv1.GateState
	refused := false
	p.until("an open gate, and an alert about the order of another boot", func(m *agentv1.FromAgent) bool { // in either order
		if m.GetGate().GetOpen() {
			g = m.GetGate()
		}
		refused = refused || strings.Contains(m.GetAlert().GetText(), "another boot")
		return g != nil && refused
	})
	if g.GetGeneration() != 10 || g.GetEnforced() != 1 {
		t.Errorf("open: %v", g)
	}
	p.end(p.agent) // an upgrade
	if g := p.begin(); !g.GetOpen() {
		t.Fatalf("after the agent's restart: %v", g)
	}
	p.machine.run(Guest{UUID: vmA, PID: 7, State: agentv1.GuestState_GUEST_STATE_RUNNING}, Guest{UUID: vmB, PID: 8, State: agentv1.GuestState_GUEST_STATE_RUNNING})
	alert := p.until("an alert", func(m *agentv1.FromAgent) bool { return m.GetAlert().GetUuid() == vmA }).GetAlert()
	if !strings.Contains(alert.GetText(), "was ended") {
		t.Errorf("alert %v", alert)
	}
	p.machine.mu.Lock()
	defer p.machine.mu.Unlock()
	if len(p.machine.guests) != 1 || p.machine.guests[0].UUID != vmB {
		t.Errorf("left: %v, want %s alone", p.machine.guests, vmB)
	}
}

func TestAnOperatorOpensUnderARunningAgent(t *testing.T) {
	p := newPlace(t)
	if _, err := OpenByHand(p.cfg, "I looked"); err != nil {
		t.Fatal(err)
	}
	g := p.until("an open gate", func(m *agentv1.FromAgent) bool { return m.GetGate().GetOpen() }).GetGate()
	if !g.GetOpenedByHand() {
		t.Errorf("got %v", g)
	}
}

func TestAWitness(t *testing.T) {
	p := newPlace(t)
	quiet, err := net.ListenPacket("udp4", "127.0.0.1:0") // never answers, and is there
	if err != nil {
		t.Fatal(err)
	}
	defer quiet.Close()
	order := func(o *agentv1.ProbeOrder) *agentv1.Probed {
		o.Epoch = 7
		p.send(p.link, &agentv1.FromServer{Kind: &agentv1.FromServer_Probe{Probe: o}})
		return p.until("an answer", func(m *agentv1.FromAgent) bool { return m.GetProbed() != nil }).GetProbed()
	}
	got := order(&agentv1.ProbeOrder{
		Id: 5, DeadlineMs: 1500, Plane: "management", Nonce: []byte("fresh"),
		Targets:  []*agentv1.ProbeTarget{{Host: "compute-02", Address: "192.0.2.1", ProbePort: 9}, {Host: "odd", Address: "nonsense"}},
		Controls: []*agentv1.ProbeTarget{{Host: "compute-03", Address: "127.0.0.1", ProbePort: p.agent.ProbePort()}},
	})
	if got.GetOrderId() != 5 || got.GetError() != "" || len(got.GetResults()) != 2 || len(got.GetControls()) != 1 {
		t.Fatalf("got %v", got)
	}
	for _, r := range got.GetResults() {
		if r.GetAnswer() != agentv1.ProbeAnswer_PROBE_ANSWER_NONE || r.GetError() == "" {
			t.Errorf("%v lives, or its silence has no reason", r)
		}
	}
	if c := got.GetControls()[0]; c.GetAnswer() != agentv1.ProbeAnswer_PROBE_ANSWER_AGENT || c.GetHost() != "compute-03" {
		t.Errorf("control %v", c)
	}
	for want, o := range map[string]*agentv1.ProbeOrder{
		"nonce":     {Plane: "management", Targets: []*agentv1.ProbeTarget{{}}},
		"addresses": {Plane: "management", Nonce: []byte("x")},
		"plane":     {Plane: "tenant", Nonce: []byte("x"), Targets: []*agentv1.ProbeTarget{{}}},
	} {
		o.Id, o.DeadlineMs = 6, 1000
		if got := order(o); !strings.Contains(got.GetError(), want) || len(got.GetResults()) > 0 {
			t.Errorf("got %v, want %q", got, want)
		}
	}
}

func TestGoodbyes(t *testing.T) {
	for leaving, want := range map[bool]agentv1.Leaving{false: agentv1.Leaving_LEAVING_AGENT, true: agentv1.Leaving_LEAVING_HOST} {
		p := newPlace(t)
		p.machine.leaving = leaving
		p.end(p.agent)
		bye := p.until("a goodbye", func(m *agentv1.FromAgent) bool { return m.GetGoodbye() != nil }).GetGoodbye()
		if bye.GetLeaving() != want {
			t.Errorf("shutting down %t: %v", leaving, bye)
		}
		if how := next(t, p.closed, "the end"); how != transport.EndGoodbye {
			t.Errorf("the link ended by %s", how)
		}
		p.end(p.agent) // again is fine
		if err := p.agent.Start(); err == nil {
			t.Error("a stopped agent starts")
		}
	}
}

// Killed, it says nothing.
func TestKillSaysNothing(t *testing.T) {
	p := newPlace(t)
	if err := p.agent.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if how := next(t, p.closed, "the end"); how == transport.EndGoodbye {
		t.Errorf("the link ended by %s", how)
	}
	for len(p.msgs) > 0 {
		if m := <-p.msgs; m.GetGoodbye() != nil {
			t.Errorf("it said %v", m)
		}
	}
}

func TestStartWithoutCredentialsSaysWhatToDo(t *testing.T) {
	cfg := testConfig(t, bootOne)
	cfg.ProbePort = 0
	a, err := New(Options{Config: cfg, Machine: &fakeMachine{boot: transport.Boot{1}}})
	if err != nil {
		t.Fatal(err)
	}
	err = a.Start()
	if !errors.Is(err, ErrNotJoined) || !strings.Contains(err.Error(), "ninelives token create compute-01") {
		t.Errorf("got %v", err)
	}
	if joined, err := Joined(cfg); joined || err != nil {
		t.Errorf("joined %t, %v", joined, err)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Errorf("stopping what never ran: %v", err)
	}
	s := newServerSide(t)
	cfg, m := joinedAgent(t, s)
	if joined, err := Joined(cfg); !joined || err != nil {
		t.Errorf("after joining: %t, %v", joined, err)
	}
	cfg.Host, cfg.ProbePort = "compute-02", 0 // renamed
	if a, err = New(Options{Config: cfg, Machine: m}); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err == nil || !strings.Contains(err.Error(), "for host compute-01") {
		t.Errorf("another host's credentials: %v", err)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFactsOfFiles(t *testing.T) {
	cfg := testConfig(t, bootOne)
	write(t, cfg.NovaConf, "[DEFAULT]\nhost=compute-01\ncompute_driver=fake.FakeDriver\nresume_guests_state_on_host_boot=yes\n", 0o644)
	f := NewMachine(cfg).Facts(t.Context())
	if n := f.Nova; n.GetHost() != "compute-01" || n.GetHypervisorHostname() != "compute-01" || !n.GetResumeGuestsStateOnHostBoot() || n.GetConfigPath() != cfg.NovaConf {
		t.Errorf("got %v", n)
	}
	etc := t.TempDir()
	for _, tc := range []struct {
		file, text string
		want       bool
	}{
		{"default/libvirt-guests", "ON_BOOT=start\n", false}, // not enabled
		{"systemd/system/multi-user.target.wants/libvirt-guests.service", "", true},
		{"default/libvirt-guests", "#ON_BOOT=ignore\n", true}, // its default
		{"default/libvirt-guests", "ON_BOOT=ignore\n", false},
	} {
		write(t, filepath.Join(etc, tc.file), tc.text, 0o644)
		if got := libvirtGuestsStart(etc); got != tc.want {
			t.Errorf("after %s %q: %t", tc.file, tc.text, got)
		}
	}
	write(t, filepath.Join(etc, "autostart/one.xml"), "", 0o644)
	write(t, filepath.Join(etc, "autostart/two.txt"), "", 0o644)
	if got := autostarted(filepath.Join(etc, "autostart")); !slices.Equal(got, []string{"one"}) {
		t.Errorf("autostarted %v", got)
	}
}
