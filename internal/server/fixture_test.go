package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// etcd leaves the idle connections between members to their read timeout, 5 s after the end.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"), goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"))
}

// bare is a server without store and listeners: its parts can be looked at one by one.
func bare(t testing.TB, c cloud.Cloud, o Options) *Server {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Name = "server-1"
	times, err := cfg.times()
	if err != nil {
		t.Fatal(err)
	}
	o.Config, o.Cloud = cfg, c
	s := &Server{o: o, cfg: cfg, log: discard(), times: times, cloud: c, wanted: make(chan struct{}, 1), checkNow: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	t.Cleanup(s.cancel)
	s.lead.Store(&store.Leadership{})
	s.metrics, s.tokens = newMetrics(s, prometheus.NewRegistry()), &tokens{s: s}
	s.trail = newTrail(s.log, s.metrics.noted)
	s.ears = newEars(times, s.heard, s.metrics.detectedLate, s.stalled)
	s.agents, s.inventory = newAgents(s), newInventory(s)
	s.peers, s.cards, s.sight = &peers{s: s, told: map[*told]struct{}{}}, newCards(s), newSight(s)
	s.fencing, s.watch = newFencing(s, o.Drivers), newWatch(s, o.Prober)
	return s
}

// led is a server that leads, on a store of its own.
func led(t testing.TB, c cloud.Cloud, o Options) *Server {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Name, cfg.Data = "server-1", t.TempDir()
	cfg.Listen = Listen{API: "127.0.0.1:0", Agents: "127.0.0.1:0", Cluster: "127.0.0.1:0"}
	o.Config, o.Cloud = cfg, c
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the server leads", func() bool { return s.reign.Load() != nil })
	return s
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(15 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 15 s: %s", what)
		case <-tick.C:
		}
	}
}

// plug is a fence device in memory.
type plug struct {
	id string

	mu       sync.Mutex
	identity fence.Identity
	state    fence.State
	sent     int
	closed   bool
	used     error         // a use after Close
	reading  chan struct{} // not nil: each reading waits for one
}

func (p *plug) ID() string     { return p.id }
func (p *plug) Driver() string { return fence.DriverIPMI }
func (p *plug) Via() string    { return p.id }

func (p *plug) touch() {
	if p.closed {
		p.used = errors.New(p.id + " was used after it was closed")
	}
}

func (p *plug) Identity(context.Context) (fence.Identity, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.touch(); !p.identity.Usable() {
		return fence.Identity{}, fence.ErrNoIdentity
	}
	return p.identity, nil
}

func (p *plug) Power(ctx context.Context) (fence.State, error) {
	if p.reading != nil {
		select {
		case <-p.reading:
		case <-ctx.Done():
			return fence.StateUnknown, ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touch()
	return p.state, nil
}

func (p *plug) set(s fence.State, permit fence.Permit) error {
	if err := permit.Ask(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touch()
	p.sent++
	p.state = s
	return nil
}

func (p *plug) Off(_ context.Context, permit fence.Permit) error {
	return p.set(fence.StateOff, permit)
}
func (p *plug) On(_ context.Context, permit fence.Permit) error { return p.set(fence.StateOn, permit) }
func (p *plug) Check(ctx context.Context) fence.Health          { return fence.Examine(ctx, p) }

func (p *plug) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

func (p *plug) shows(id fence.Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.identity = id
}

func (p *plug) is() (state fence.State, sent int, closed bool, misuse error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.sent, p.closed, p.used
}

// plugs is a driver: one plug for each address and opening.
type plugs struct {
	mu    sync.Mutex
	made  map[string][]*plug
	world map[string]fence.Identity // address → what a plug there shows
}

func newPlugs() *plugs { return &plugs{made: map[string][]*plug{}, world: map[string]fence.Identity{}} }

func (w *plugs) drivers() fence.Drivers {
	return fence.Drivers{fence.DriverIPMI: func(spec fence.Spec, _ fence.Options) (fence.Device, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		p := &plug{id: "ipmi " + spec.Address, identity: w.world[spec.Address], state: fence.StateOn}
		w.made[spec.Address] = append(w.made[spec.Address], p)
		return p, nil
	}}
}

// at is the plug last opened for an address.
func (w *plugs) at(address string) *plug {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.made[address]
	return all[len(all)-1]
}

func uuid(n int) string { return fmt.Sprintf("%08x-1111-4222-8333-%012x", n+0x10, n+0xabc) }

func id(n int) fence.Identity { return fence.Identity{UUID: uuid(n)} }

// devicesFile is a devices.yaml with one IPMI device a host, at the host's name.
func devicesFile(t testing.TB, text string) fence.Devices {
	t.Helper()
	d, err := fence.ParseDevices("devices.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// knows lets a server believe that a host's agent has joined and said which machine it is.
func (s *Server) knows(host string, machine fence.Identity, labels map[string]string) {
	s.agents.mu.Lock()
	defer s.agents.mu.Unlock()
	s.agents.set(AgentRecord{Host: host, Machine: machine, Joined: time.Now(), Labels: labels, Planes: map[string]string{"management": host, "storage": "s-" + host}})
}

// list lets a server believe that Nova lists a host.
func (s *Server) list(hosts ...string) {
	s.inventory.mu.Lock()
	defer s.inventory.mu.Unlock()
	for _, h := range hosts {
		s.inventory.hosts[h] = engine.HostFacts{Name: h}
	}
}
