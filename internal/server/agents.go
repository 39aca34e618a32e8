package server

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
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

	writes    turn          // one writer of agents' records at a time; taken before mu
	dirty     chan struct{} // some record differs from what is stored
	toldAhead atomic.Int64  // our epoch when it was said that an agent knows of a later one

	mu         sync.RWMutex
	records    map[string]AgentRecord
	kept       map[string]AgentRecord // as they are in the store
	unkept     map[string]bool        // whose record differs from what is in the store
	identities identities
	reports    map[string]*report
	links      map[string][]*transport.Link // the newest last
	heard      map[string]uint64            // the highest epoch that a host's agent has heard of; also of hosts whose link has ended
	waiting    map[uint64]order
	gates      map[string]uint64 // generation of the last gate order
	last       uint64            // number of the last order
}

// report is an agent's view of its host, and where its list of guests came from.
type report struct {
	engine.AgentReport
	gate   bool            // this boot's gate has been reported
	listed *transport.Link // where the guests came from
	at     time.Time       // and when
}

func newAgents(s *Server) *agents {
	return &agents{
		s: s, log: s.log, writes: newTurn(), dirty: make(chan struct{}, 1), records: map[string]AgentRecord{}, kept: map[string]AgentRecord{}, unkept: map[string]bool{},
		identities: identities{}, reports: map[string]*report{}, links: map[string][]*transport.Link{}, heard: map[string]uint64{},
		waiting: map[uint64]order{}, gates: map[string]uint64{},
		last: uint64(time.Now().UnixMicro()), // orders of a restarted server never repeat a number
	}
}

// load takes in the records, so that a host that died before this server led is still known. Of hosts whose agents
// are connected here this server knows better, unless the name was given to another machine meanwhile.
func (g *agents) load(records []store.Record) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.kept)
	for host := range g.records {
		g.unkept[host] = true
	}
	for _, rec := range records {
		if !strings.HasPrefix(rec.Key, agentsPrefix) {
			continue
		}
		var a AgentRecord
		if _, err := store.Decode(rec, format, &a); err != nil {
			return err
		}
		g.kept[a.Host] = a
		known, had := g.records[a.Host]
		switch {
		case had && len(g.links[a.Host]) > 0 && !a.another(known.Machine):
			known.Joined, known.Rejoin = a.Joined, a.Rejoin
			g.set(known)
		default:
			g.set(a)
			g.dismiss(a)
		}
	}
	return nil
}

// another reports whether id is certainly a machine other than the one on record. Firmware that was never filled in
// says nothing of either.
func (a AgentRecord) another(id fence.Identity) bool {
	return a.Machine.Usable() && id.Usable() && !a.Machine.Match(id)
}

// set puts a record in its place. Call with g.mu held.
func (g *agents) set(a AgentRecord) {
	if old, ok := g.records[a.Host]; ok {
		g.identities.remove(old.Machine, a.Host)
	}
	g.identities.add(a.Machine, a.Host)
	g.records[a.Host] = a
	g.compare(a.Host)
}

// compare notes whether a host's record is to be written. Call with g.mu held.
func (g *agents) compare(host string) {
	if kept, ok := g.kept[host]; ok && sameRecord(kept, g.records[host]) {
		delete(g.unkept, host)
	} else {
		g.unkept[host] = true
	}
}

// dismiss ends the links of machines that don't own the name any more. Call with g.mu held.
func (g *agents) dismiss(a AgentRecord) {
	for _, l := range g.links[a.Host] {
		if a.another(machineOf(l.Machine())) {
			l.Close(a.Host + " is another machine by now")
		}
	}
}

func machineOf(m pki.Machine) fence.Identity { return fence.Identity{UUID: m.UUID, Serial: m.Serial} }

func (g *agents) of(host string) (AgentRecord, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	a, ok := g.records[host]
	return a, ok && !a.Joined.IsZero()
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
	if twins := g.twins(a.Machine, host); len(twins) > 0 {
		return fmt.Sprintf("%s has the same machine identity: fencing one would kill both", twins[0])
	}
	return ""
}

// twins are the hosts, by name, whose machine has this identity. Call with g.mu held.
func (g *agents) twins(id fence.Identity, except string) []string {
	var out []string
	for host := range g.identities.candidates(id) {
		if host != except && g.records[host].Machine.Match(id) {
			out = append(out, host)
		}
	}
	slices.Sort(out)
	return out
}

// owner returns another host, with an agent connected, whose machine identity this is; "" if there is none.
func (g *agents) owner(id fence.Identity, except string) string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, host := range g.twins(id, except) {
		if len(g.links[host]) > 0 {
			return host
		}
	}
	return ""
}

// each shows the hosts with a link to this server, in no order. What is called must be quick and must not come back here.
func (g *agents) each(show func(AgentRecord)) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for host := range g.links {
		show(g.records[host])
	}
}

// count is how many hosts have a link to this server.
func (g *agents) count() int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.links)
}

func (g *agents) isConnected(host string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.links[host]) > 0
}

// at are the hosts that have an address on one of their planes.
func (g *agents) at(address string) []string {
	return g.which(func(a AgentRecord) bool { return has(a.Planes, address) })
}

// running are the hosts whose last known boot this is.
func (g *agents) running(boot string) []string {
	return g.which(func(a AgentRecord) bool { return a.Boot == boot })
}

func (g *agents) which(is func(AgentRecord) bool) []string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var out []string
	for host, a := range g.records {
		if is(a) {
			out = append(out, host)
		}
	}
	slices.Sort(out)
	return out
}

func has(m map[string]string, value string) bool {
	for v := range maps.Values(m) {
		if v == value {
			return true
		}
	}
	return false
}

// loadCA reads this server's CA. Where it is the only one it makes the first: with others, each would make its own.
func loadCA(dir, cluster string, servers int) (*pki.CA, error) {
	ca, err := pki.Load(dir)
	switch {
	case !errors.Is(err, pki.ErrNoCA) && !errors.Is(err, fs.ErrNotExist):
		return ca, err
	case servers > 1:
		return nil, fmt.Errorf("%s holds no CA, and this is one of %d servers (cluster.initial), which need the same: on the first one, "+
			"`ninelives server init --bundle-out FILE` before its first start; on each other one start once with --bundle FILE", dir, servers)
	}
	return pki.Init(dir, cluster, time.Now())
}

// introduce tells a new reign's engine what agents said. Of those that aren't connected only the stores are known: what
// a dead host saw is needed to bring its VMs back.
func (g *agents) introduce(in *inbox) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for host, a := range g.records {
		switch rep, ok := g.reports[host]; {
		case ok && rep.gate:
			in.put(engine.AgentReported{Host: host, Report: rep.AgentReport})
		case !ok:
			in.put(engine.AgentReported{Host: host, Report: engine.AgentReport{Stores: a.Stores}})
		}
	}
}
