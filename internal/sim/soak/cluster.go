package soak

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/policy"
	"github.com/ninelives-ha/ninelives/internal/server"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// Options say what a run is made of.
type Options struct {
	Seed         uint64
	Hosts, VMs   int
	Racks        int
	Full         string // the host that all VMs are on; "": they are spread
	Narrow       bool   // servers are on the management plane only
	Outlets      bool   // a second fence level: two outlets of a PDU, both of which must be off
	SlowMoves    bool   // Nova's record of a live migration may be seconds behind the guest
	Microversion cloud.Microversion
	Trace        bool // keep it
}

// cluster is a simulated cloud with three real servers.
type cluster struct {
	*loop
	o      Options
	names  []string         // of the servers
	lives  map[string]*life // their processes; nil: none
	born   map[string]int
	hosts  []string
	agents map[string]*agentOn
	quorum *quorum
	clocks map[string]*clock
	truth  *truth

	blocked         map[[2]string]bool // from, to: servers and hosts, on the management plane
	noNova          map[string]bool    // servers that can't reach Nova
	noBMC           map[string]bool    // servers that can't reach the controllers
	bmcLoses        map[string]int     // so many next orders to a host's controller are carried out, and the answer is lost
	outlets         map[string]*outlet // by host: what feeds its power supplies
	requests        int
	pickEvacuations int // while positive: what happens to the next writes happens to evacuations only
	streams         int
	people          int // operators who wait for an answer
	electedAt       time.Time

	atPoint  func(l *life, point, what string) // what happens at a boundary; nil: nothing
	names4vm map[string]string
}

// settled is how long after its start a cloud is left alone: the servers dismiss what they hear in the first 20 s, and
// bind the fence devices meanwhile.
const settled = 24 * time.Second

// permitFor is what internal/server derives for three servers: half an election timeout.
const permitFor = election / 2

// requestTTL is internal/server's default.
const requestTTL = 90 * time.Second

// policyText is short of patience, so that schedules are short.
const policyText = "hosts: {settle: 2s}\n"

// newCluster makes a cloud and starts its servers. To be called in a bubble.
func newCluster(o Options) (*cluster, error) {
	timing := world.DemoTiming()
	if o.SlowMoves {
		timing.PostMigration.Max = 4 * time.Second
	}
	w := world.New(world.Options{Seed: o.Seed, Start: time.Now().UTC().Round(0), Gated: true, Timing: timing})
	c := &cluster{
		loop: newLoop(o.Seed, w, o.Trace), o: o, lives: map[string]*life{}, born: map[string]int{}, agents: map[string]*agentOn{},
		clocks: map[string]*clock{}, blocked: map[[2]string]bool{}, noNova: map[string]bool{}, noBMC: map[string]bool{}, names4vm: map[string]string{},
		bmcLoses: map[string]int{}, outlets: map[string]*outlet{},
	}
	for i := range 3 {
		c.names = append(c.names, fmt.Sprintf("server-%d", i+1))
	}
	c.quorum = &quorum{c: c, cut: map[string]bool{}, full: map[string]bool{}, lost: map[[2]string]bool{}}
	c.quorum.mem = store.NewMemory(store.MemoryOptions{Servers: c.names, Permit: permitFor, ByHand: true, Travel: c.quorum.travel})
	for _, name := range c.names {
		c.clocks[name] = &clock{began: time.Now()}
		c.quorum.mem.SetClock(name, c.clocks[name])
	}
	c.truth = newTruth(c)
	c.check = c.truth.step
	c.populate()
	if err := c.furnish(); err != nil {
		return nil, err
	}
	c.electedAt = time.Now()
	for _, name := range c.names {
		if err := c.start(name); err != nil {
			return nil, err
		}
	}
	for _, host := range c.hosts {
		a := &agentOn{c: c, host: host, links: map[string]*uplink{}}
		c.agents[host] = a
		a.begin(w.Host(host).Boot)
		open := transportOpen(w.Host(host).Boot)
		if err := a.gate.Obey(open, time.Since(c.began)); err != nil {
			return nil, err
		}
		c.after(c.span(0, pulse), a.beat)
	}
	return c, nil
}

// populate makes hosts and VMs.
func (c *cluster) populate() {
	c.w.AddStore("nfs", true)
	for i := range c.o.Hosts {
		name := fmt.Sprintf("h%d", i+1)
		c.hosts = append(c.hosts, name)
		c.w.AddHost(world.HostSpec{Name: name, Store: "nfs", Rack: fmt.Sprintf("r%d", i%max(1, c.o.Racks)+1), RAM: 64 << 10})
	}
	for i := range c.o.VMs {
		host := c.hosts[i%len(c.hosts)]
		if c.o.Full != "" {
			host = c.o.Full
		}
		v := c.w.AddVM(world.VMSpec{Name: fmt.Sprintf("vm%d", i+1), Host: host})
		c.names4vm[v.ID] = v.Name
	}
}

// furnish writes what an operator has set up: fence devices and the policy.
func (c *cluster) furnish() error {
	p, err := policy.Parse("policy.yaml", []byte(policyText))
	if err != nil {
		return err
	}
	value, err := store.Encode(1, p)
	if err != nil {
		return err
	}
	armed, err := store.Encode(1, engine.Switches{Armed: true, By: "operator", At: time.Now()})
	if err != nil {
		return err
	}
	ops := []store.Op{store.Put(store.PolicyKey, value), store.Put(store.ArmedKey, armed)}
	for i, host := range c.hosts {
		device := func(net int) fence.Spec {
			return fence.Spec{Driver: fence.DriverIPMI, Address: fmt.Sprintf("10.9.%d.%d:623", net, i+1), Username: "admin", PasswordEnv: "BMC_PASSWORD"}
		}
		levels := [][]fence.Spec{{device(0)}}
		if c.o.Outlets {
			levels = append(levels, []fence.Spec{device(1), device(2)})
		}
		rec := server.DevicesRecord{Machine: fence.Machine{Host: host, Levels: levels}}
		if value, err = store.Encode(1, rec); err != nil {
			return err
		}
		ops = append(ops, store.Put(store.DevicesKey(host), value))
	}
	leader, epoch := c.quorum.mem.Leader()
	_, err = c.quorum.mem.Server(leader).Commit(bg, epoch, ops...)
	return err
}

// start begins a process of a server.
func (c *cluster) start(name string) error {
	c.born[name]++
	l := &life{c: c, name: name, n: c.born[name], dead: make(chan struct{})}
	cfg := server.DefaultConfig()
	cfg.Name, cfg.Data, cfg.Listen.API = name, "none", ""
	cfg.Cluster.Initial = map[string]string{}
	for i, n := range c.names {
		cfg.Cluster.Initial[n] = fmt.Sprintf("10.0.0.%d:7402", i+1)
	}
	var err error
	l.server, err = server.New(server.Options{
		Config: cfg, Cloud: nova{l}, Drivers: l.drivers(), Prober: prober{l}, Version: "sim", Logger: slog.New(logTo{c, l, nil}),
		Store: memory{c.quorum.mem.Server(name), l}, Stalled: l.stalled, ProbeAllPlanes: !c.o.Narrow,
	})
	if err != nil {
		return err
	}
	c.lives[name] = l
	return l.server.Start()
}

// stop ends everything.
func (c *cluster) stop() {
	for _, name := range c.names {
		if l := c.lives[name]; l != nil {
			l.kill()
		}
	}
	c.run(time.Now().Add(15*time.Second), nil)
}

// killServer ends a server's process now, as kill -9 does, and starts another after a while.
func (c *cluster) killServer(name string, down time.Duration) {
	l := c.lives[name]
	if l == nil {
		return
	}
	c.note("%s is killed", l)
	c.lives[name] = nil
	l.kill()
	if leader, _ := c.quorum.mem.Leader(); leader == name {
		c.quorum.mem.Elect("")
	}
	c.quorum.changed()
	c.after(max(down, 500*time.Millisecond), func() {
		if err := c.start(name); err != nil {
			c.truth.fail("%s does not start: %v", name, err)
			return
		}
		c.note("%s starts", c.lives[name])
		c.quorum.changed()
	})
}

// pauseServer stops a server's process for a while.
func (c *cluster) pauseServer(name string, d time.Duration) {
	l := c.lives[name]
	if l == nil || l.paused() {
		return
	}
	c.note("%s is paused", l)
	l.pause()
	c.quorum.changed()
	c.after(d, func() {
		if l.killed() {
			return
		}
		c.note("%s goes on", l)
		l.resume()
		c.quorum.changed()
	})
}

// leader is the process of the elected leader, nil if it doesn't run.
func (c *cluster) leader() *life {
	name, _ := c.quorum.mem.Leader()
	return c.lives[name]
}

// boundary is a point at which a process can be stopped: before or after something leaves it or arrives.
func (c *cluster) boundary(l *life, point, what string) {
	if c.atPoint == nil {
		return
	}
	c.atPoint(l, point, what)
}

// open says whether what one sends now reaches the other on the management plane: one is a host, the other a server.
func (c *cluster) open(from, to string) bool {
	if c.blocked[[2]string{from, to}] {
		return false
	}
	for _, name := range []string{from, to} {
		if h := c.w.Host(name); h != nil && !h.CanReach(world.Management) {
			return false
		}
	}
	return true
}

// probe is what a probe from a host or a server gets.
func (c *cluster) probe(from string, p world.Plane, address string) world.Answer {
	host := c.at(address)
	if host == "" || p == world.Management && (c.blocked[[2]string{from, host}] || c.blocked[[2]string{host, from}]) {
		return world.AnswerNone
	}
	if c.w.Host(from) == nil {
		from = ""
	}
	return c.w.Probe(from, p, host)
}

// planes are a host's addresses.
func (c *cluster) planes(host string) map[string]string {
	out := map[string]string{}
	for i, p := range world.Planes() {
		out[string(p)] = fmt.Sprintf("10.%d.0.%s", i+1, strings.TrimPrefix(host, "h"))
	}
	return out
}

// at is the host with an address on a plane; behind the one with a controller's.
func (c *cluster) at(address string) string {
	return "h" + address[strings.LastIndexByte(address, '.')+1:]
}

func (c *cluster) behind(address string) string {
	return c.at(strings.TrimSuffix(address, ":623"))
}

// vm is a VM's name, for the trace; its uuid says little.
func (c *cluster) vm(id string) string { return c.names4vm[id] }

func (c *cluster) service(id string) string {
	for _, h := range c.hosts {
		if c.w.Host(h).ServiceID == id {
			return h
		}
	}
	return id
}

func (c *cluster) hypervisor(id string) string {
	for _, h := range c.hosts {
		if c.w.Host(h).HypUUID == id {
			return h
		}
	}
	return id
}
