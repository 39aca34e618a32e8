package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// AgentRecord is what is kept of a host's agent: who it is, and what its machine was like when it last spoke.
type AgentRecord struct {
	Host      string            `json:"host"`
	Machine   fence.Identity    `json:"machine"`
	Serial    string            `json:"serial,omitempty"` // of its certificate
	Version   string            `json:"version,omitempty"`
	Boot      string            `json:"boot,omitempty"`
	Planes    map[string]string `json:"planes,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	ProbePort uint32            `json:"probe_port,omitempty"`
	Stores    []string          `json:"stores,omitempty"`
	Nova      NovaFacts         `json:"nova"`
	Joined    time.Time         `json:"joined,omitzero"`
	Rejoin    bool              `json:"rejoin,omitempty"` // an operator allows another machine to take the name over
}

// NovaFacts is what the agent reads in its host's own configuration.
type NovaFacts struct {
	Host       string   `json:"host,omitempty"`
	Hypervisor string   `json:"hypervisor,omitempty"`
	Resume     bool     `json:"resume,omitempty"`      // resume_guests_state_on_host_boot
	GuestsBoot bool     `json:"guests_boot,omitempty"` // libvirt-guests ON_BOOT=start
	Autostart  []string `json:"autostart,omitempty"`   // domains libvirt starts by itself
	Config     string   `json:"config,omitempty"`
}

func (a AgentRecord) planes() []detect.Plane {
	var out []detect.Plane
	for p := range a.Planes {
		out = append(out, detect.Plane(p))
	}
	slices.Sort(out)
	return out
}

const agentsPrefix = "agents/"

// agents holds the links to all hosts and what their agents said. It is transport's Handler.
type agents struct {
	s   *Server
	log *slog.Logger

	mu      sync.RWMutex
	records map[string]AgentRecord
	reports map[string]*engine.AgentReport
	links   map[string]map[*transport.Link]bool
	waiting map[uint64]order
	gates   map[string]uint64 // generation of the last gate order
	last    uint64            // number of the last order
}

// order is one that waits for its result.
type order struct {
	host  string
	given time.Time
	done  chan *agentv1.FromAgent
}

func newAgents(s *Server) *agents {
	return &agents{
		s: s, log: s.log, records: map[string]AgentRecord{}, reports: map[string]*engine.AgentReport{},
		links: map[string]map[*transport.Link]bool{}, waiting: map[uint64]order{}, gates: map[string]uint64{},
		last: uint64(time.Now().UnixMicro()), // orders of a restarted server never repeat a number
	}
}

// load takes in the records, so that a host that died before this server led is still known. Of hosts whose agents
// are connected here this server knows better.
func (g *agents) load(records []store.Record) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, rec := range records {
		if !strings.HasPrefix(rec.Key, agentsPrefix) {
			continue
		}
		var a AgentRecord
		if _, err := store.Decode(rec, format, &a); err != nil {
			return err
		}
		if len(g.links[a.Host]) > 0 {
			known := g.records[a.Host]
			known.Joined, known.Rejoin = a.Joined, a.Rejoin
			a = known
		}
		g.records[a.Host] = a
	}
	return nil
}

func (g *agents) of(host string) (AgentRecord, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	a, ok := g.records[host]
	return a, ok && !a.Joined.IsZero()
}

// Hello takes a host's introduction. Two machines with one name, or one machine with two names, are for people.
func (g *agents) Hello(l *transport.Link, h *agentv1.Hello) (*agentv1.Welcome, error) {
	host := l.Host()
	g.mu.Lock()
	a := g.records[host]
	if !a.Joined.IsZero() && !a.Rejoin && a.Machine.Usable() && !a.Machine.Match(identityOf(h.GetMachine())) {
		g.mu.Unlock()
		// The certificate of a machine that was replaced: it is valid, and this host's no longer.
		return nil, fmt.Errorf("%s is machine %s now, this is %s; if it was changed: ninelives host rejoin %s, then join again", host, a.Machine.UUID, h.GetMachine().GetUuid(), host)
	}
	before := a
	if a.Joined.IsZero() {
		a.Joined = time.Now()
	}
	a.Host, a.Serial, a.Version, a.Boot = host, l.Serial(), h.GetAgentVersion(), l.Boot().String()
	a.Machine = identityOf(h.GetMachine())
	a.Planes, a.Labels, a.ProbePort = h.GetPlanes(), h.GetLabels(), h.GetProbePort()
	n := h.GetNova()
	a.Nova = NovaFacts{
		Host: n.GetHost(), Hypervisor: n.GetHypervisorHostname(), Resume: n.GetResumeGuestsStateOnHostBoot(),
		GuestsBoot: n.GetLibvirtGuestsOnBoot(), Autostart: n.GetAutostarted(), Config: n.GetConfigPath(),
	}
	g.records[host] = a
	rep := g.report(host)
	if rep.Boot != a.Boot {
		rep.Guests, rep.AsOf, rep.GateClosed = nil, time.Time{}, true // of an earlier life; closed until the agent says otherwise
	}
	rep.Boot, rep.GuestsSeen = a.Boot, h.GetGuestsKnown()
	g.mu.Unlock()
	if before.Boot != a.Boot {
		g.s.inventory.rebooted(host)
	}
	if err := g.keep(before, a); err != nil {
		g.log.Warn("cannot record what an agent said of its host; this server's memory has it", "host", host, "error", err)
	}
	g.mu.Lock()
	if g.links[host] == nil {
		g.links[host] = map[*transport.Link]bool{}
	}
	g.links[host][l] = true
	g.mu.Unlock()
	g.Pulse(l, 0)
	g.s.want()
	if g.s.fencing.unbound(host) { // now that it has said which machine it is, its devices may turn out to be its own
		g.s.checkSoon()
	}
	return &agentv1.Welcome{PulseMs: uint32(g.s.times.Pulse.Milliseconds()), Cluster: g.s.ca.Cluster(), Servers: g.s.agentServers()}, nil
}

func identityOf(m *agentv1.Machine) fence.Identity {
	return fence.Identity{UUID: m.GetUuid(), Serial: m.GetSerial()}
}

// keep writes the record when something changed. Only a leader can write; the others' agents speak to it as well.
func (g *agents) keep(before, after AgentRecord) error {
	r := g.s.reign.Load()
	if r == nil || sameRecord(before, after) {
		return nil
	}
	value, err := store.Encode(format, after)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.ctx, 5*time.Second)
	defer cancel()
	_, err = g.s.store.Commit(ctx, r.epoch, store.Put(agentsPrefix+after.Host, value))
	return err
}

func sameRecord(a, b AgentRecord) bool {
	return a.Boot == b.Boot && a.Serial == b.Serial && a.Version == b.Version && a.Machine == b.Machine && a.ProbePort == b.ProbePort &&
		a.Rejoin == b.Rejoin && maps.Equal(a.Planes, b.Planes) && maps.Equal(a.Labels, b.Labels) && slices.Equal(a.Stores, b.Stores) &&
		a.Nova.Host == b.Nova.Host && a.Nova.Hypervisor == b.Nova.Hypervisor && a.Nova.Resume == b.Nova.Resume &&
		a.Nova.GuestsBoot == b.Nova.GuestsBoot && slices.Equal(a.Nova.Autostart, b.Nova.Autostart)
}

// Pulse is the hot path.
func (g *agents) Pulse(l *transport.Link, _ uint64) {
	g.s.ears.step(detect.Pulse{Host: l.Host(), Boot: l.Boot().String(), Stream: l.Remote(), Server: g.s.cfg.Name})
}

// Closed tells detection that a stream ended.
func (g *agents) Closed(l *transport.Link, how transport.End, err error) {
	g.mu.Lock()
	delete(g.links[l.Host()], l)
	g.mu.Unlock()
	g.log.Debug("an agent's link ended", "host", l.Host(), "how", string(how), "error", err)
	switch how {
	case transport.EndReset, transport.EndEOF, transport.EndGoodbye:
		g.s.ears.step(detect.StreamLost{Host: l.Host(), Stream: l.Remote(), Server: g.s.cfg.Name, Reset: how == transport.EndReset})
	}
}

// Message takes everything but pulses.
func (g *agents) Message(l *transport.Link, m *agentv1.FromAgent) {
	host := l.Host()
	switch m.Kind.(type) {
	case *agentv1.FromAgent_Goodbye:
		if m.GetGoodbye().GetLeaving() == agentv1.Leaving_LEAVING_HOST {
			g.s.ears.step(detect.Goodbye{Host: host, Boot: l.Boot().String()})
		}
	case *agentv1.FromAgent_Guests:
		g.guests(host, l.Boot().String(), m.GetGuests())
	case *agentv1.FromAgent_Stores:
		g.stores(host, m.GetStores())
	case *agentv1.FromAgent_Gate:
		g.update(host, func(r *engine.AgentReport) { r.GateClosed = !m.GetGate().GetOpen(); r.Boot = l.Boot().String() })
	case *agentv1.FromAgent_Probed:
		g.s.witness.probed(host, m.GetProbed())
	case *agentv1.FromAgent_Result:
		g.result(m)
	case *agentv1.FromAgent_Alert:
		g.s.trail.note(engine.Note{Severity: engine.Critical, Host: host, VM: m.GetAlert().GetUuid(), Text: m.GetAlert().GetText()})
	}
}

func (g *agents) guests(host, boot string, m *agentv1.Guests) {
	g.update(host, func(r *engine.AgentReport) {
		r.Boot, r.GuestsSeen, r.Guests = boot, m.GetError() == "", nil
		for _, q := range m.GetGuests() {
			r.Guests = append(r.Guests, q.GetUuid())
		}
	})
}

func (g *agents) stores(host string, m *agentv1.Stores) {
	var ids []string
	for _, st := range m.GetStores() {
		if st.GetIdentity() != "" {
			ids = append(ids, st.GetKind()+":"+st.GetIdentity())
		}
	}
	slices.Sort(ids)
	g.update(host, func(r *engine.AgentReport) { r.Stores = ids })
	g.mu.Lock()
	before := g.records[host]
	after := before
	after.Stores = ids
	g.records[host] = after
	g.mu.Unlock()
	if err := g.keep(before, after); err != nil {
		g.log.Warn("cannot record a host's stores", "host", host, "error", err)
	}
}

// report returns the host's report; g.mu must be held.
func (g *agents) report(host string) *engine.AgentReport {
	r, ok := g.reports[host]
	if !ok {
		r = &engine.AgentReport{Stores: g.records[host].Stores}
		g.reports[host] = r
	}
	return r
}

func (g *agents) update(host string, change func(*engine.AgentReport)) {
	g.mu.Lock()
	r := g.report(host)
	change(r)
	c := *r
	g.mu.Unlock()
	g.s.tell(engine.AgentReported{Host: host, Report: c})
}

func (g *agents) result(m *agentv1.FromAgent) {
	id := m.GetResult().GetOrderId()
	g.mu.Lock()
	o, ok := g.waiting[id]
	delete(g.waiting, id)
	g.mu.Unlock()
	if ok {
		o.done <- m
	}
}

// mismatch says what in the agent's own view of its host contradicts Nova's; such a host is not protected.
func (g *agents) mismatch(host, hypervisor string) string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	a := g.records[host]
	if a.Nova.Host != "" && a.Nova.Host != host {
		return fmt.Sprintf("its nova.conf (%s) says host = %s, its agent joined as %s", a.Nova.Config, a.Nova.Host, host)
	}
	if a.Nova.Hypervisor != "" && hypervisor != "" && a.Nova.Hypervisor != hypervisor {
		return fmt.Sprintf("libvirt calls it %s, Nova %s", a.Nova.Hypervisor, hypervisor)
	}
	if !a.Machine.Usable() {
		return ""
	}
	for other, b := range g.records {
		if other != host && a.Machine.Match(b.Machine) {
			return fmt.Sprintf("%s has the same machine identity: fencing one would kill both", other)
		}
	}
	return ""
}

// Join lets a machine take a host's name the first time, or when an operator said so.
func (g *agents) Join(ctx context.Context, j transport.Joining) error {
	r := g.s.reign.Load()
	if r == nil {
		return fmt.Errorf("this server does not lead; join through %s", g.s.leadership().LeaderName)
	}
	g.mu.Lock()
	before, had := g.records[j.Host]
	g.mu.Unlock()
	machine := fence.Identity{UUID: j.Machine.UUID, Serial: j.Machine.Serial}
	if had && !before.Joined.IsZero() && !before.Rejoin && !before.Machine.Match(machine) {
		return fmt.Errorf("%s is known as another machine (%s); if it was replaced: ninelives host rejoin %s", j.Host, before.Machine.UUID, j.Host)
	}
	a := before
	a.Host, a.Machine, a.Serial, a.Joined, a.Rejoin = j.Host, machine, j.Serial, time.Now(), false
	value, err := store.Encode(format, a)
	if err != nil {
		return err
	}
	if _, err := g.s.store.Commit(ctx, r.epoch, store.Put(agentsPrefix+j.Host, value)); err != nil {
		return err
	}
	g.mu.Lock()
	g.records[j.Host] = a
	g.mu.Unlock()
	g.s.trail.note(engine.Note{Host: j.Host, Text: fmt.Sprintf("%s joined from %s", j.Host, j.Remote)})
	return nil
}

// Renew lets a known agent have its next certificate.
func (g *agents) Renew(_ context.Context, r transport.Renewing) error {
	a, ok := g.of(r.Host)
	if !ok {
		return fmt.Errorf("no host %s has joined here", r.Host)
	}
	if m := (fence.Identity{UUID: r.Machine.UUID, Serial: r.Machine.Serial}); a.Machine.Usable() && !a.Machine.Match(m) {
		return fmt.Errorf("%s has been taken over by another machine", r.Host)
	}
	return nil
}

// rejoin allows another machine to take a host's name over.
func (g *agents) rejoin(host string) error {
	g.mu.Lock()
	before, ok := g.records[host]
	after := before
	after.Rejoin = true
	if ok {
		g.records[host] = after
	}
	g.mu.Unlock()
	if !ok {
		return fmt.Errorf("no host %q has joined", host)
	}
	return g.keep(before, after)
}

var _ transport.Handler = (*agents)(nil)

// loadCA reads this server's CA, or makes the first.
func loadCA(dir, cluster string) (*pki.CA, error) {
	ca, err := pki.Load(dir)
	if errors.Is(err, pki.ErrNoCA) || errors.Is(err, fs.ErrNotExist) {
		return pki.Init(dir, cluster, time.Now())
	}
	return ca, err
}

// owner returns another host, with an agent connected, whose machine identity this is; "" if there is none.
func (g *agents) owner(id fence.Identity, except string) string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for host, a := range g.records {
		if host != except && len(g.links[host]) > 0 && a.Machine.Match(id) {
			return host
		}
	}
	return ""
}

// connected are the hosts with a link to this server.
func (g *agents) connected() map[string]AgentRecord {
	g.mu.RLock()
	defer g.mu.RUnlock()
	out := make(map[string]AgentRecord, len(g.links))
	for host, links := range g.links {
		if len(links) > 0 {
			out[host] = g.records[host]
		}
	}
	return out
}

// record writes down what connected agents said while nobody led, or to a server that didn't.
func (g *agents) record(r *reign) {
	for host, a := range g.connected() {
		if err := g.keep(AgentRecord{}, a); err != nil && r.ctx.Err() == nil {
			g.log.Warn("cannot record what an agent said of its host; this server's memory has it", "host", host, "error", err)
		}
	}
}
