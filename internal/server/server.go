// Package server is the controller daemon: it listens to agents, watches the cloud, and, while it leads, runs the
// engine's decisions through fence, cloud and store.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// Options are what New needs. Config, Cloud and Drivers must be given.
type Options struct {
	Config  Config
	Cloud   cloud.Cloud
	Drivers fence.Drivers
	Prober  Prober // nil: this server doesn't probe itself, its agents do
	Logger  *slog.Logger
	// Registry gets the metrics; nil: a new one.
	Registry *prometheus.Registry
	Version  string

	// Vet says why a declared device can't be used on this server (an agent that isn't installed, or can't prove power),
	// for the import; nil: nothing is asked.
	Vet func(context.Context, fence.Spec) error

	OffTimeout     time.Duration // of one fence level; 0: fence.DefaultOffTimeout
	FenceTimeout   time.Duration // of one exchange with a fence device; 0: fence.DefaultTimeout
	ProbeAllPlanes bool          // this server's machine has all planes, not only management

	// Store keeps the records and says who leads; nil: etcd in this process, below Config.Data. A server with a store
	// handed in is one of a simulation: it opens no port and writes no file. Its agents are those that call Agents.
	Store store.Store
	// Stalled is called by each loop when it wakes up, and returns when the process may go on; nil: it always may. It is
	// how a simulation stops a process, as SIGSTOP does.
	Stalled func()
	// DialPeer opens connections to other servers; nil: net.Dialer.
	DialPeer func(ctx context.Context, addr string) (net.Conn, error)
	// Knows is the newest format of records that this server can read; 0: all that there are.
	Knows int
}

// Server is one controller.
type Server struct {
	o       Options
	cfg     Config
	log     *slog.Logger
	times   detect.Times
	cloud   cloud.Cloud
	store   store.Store
	ca      *pki.CA
	cluster string // the CA's name of it

	listener  *transport.Server
	ears      *ears
	agents    *agents
	watch     *watch
	fencing   *fencing
	inventory *inventory
	tokens    *tokens
	trail     *trail
	metrics   *metrics
	admin     string // the admin token
	cred      *pki.Credentials
	peers     *peers
	cards     *cards
	relays    *relays
	sight     *sight
	failed    chan error
	formatNow atomic.Int64           // of the records, as last seen; 0: not seen yet
	outdated  atomic.Pointer[string] // why this server can't lead, being too old
	api       *api.Server

	wanted   chan struct{} // the inventory is wanted again
	checkNow chan struct{} // the fence devices are to be checked
	reign    atomic.Pointer[reign]
	lead     atomic.Pointer[store.Leadership]
	epoch    atomic.Uint64 // the highest that this server knows of
	started  time.Time
	boot     string                            // this machine's boot
	members  atomic.Pointer[map[string]string] // cluster addresses by name, as last known

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	stops   []func(context.Context) error // run last first
	once    sync.Once
	stopErr error
}

// New opens the store, reads or makes the CA, and binds the agents' port. Start begins to work.
func New(o Options) (*Server, error) {
	if err := o.Config.check(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	times, err := o.Config.times()
	if err != nil {
		return nil, err
	}
	s := &Server{
		o: o, cfg: o.Config, log: o.Logger.With("server", o.Config.Name), times: times, cloud: o.Cloud,
		wanted: make(chan struct{}, 1), checkNow: make(chan struct{}, 1), started: time.Now(), boot: ownBoot(),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.lead.Store(&store.Leadership{})
	s.metrics, s.tokens = newMetrics(s, o.Registry), &tokens{s: s}
	s.trail = newTrail(s.log, s.metrics.noted)
	s.ears = newEars(times, s.heard, s.metrics.detectedLate, s.stalled)
	s.agents, s.inventory = newAgents(s), newInventory(s)
	s.peers, s.cards, s.sight = &peers{s: s, told: map[*told]struct{}{}}, newCards(s), newSight(s)
	s.relays, s.failed = &relays{s: s, others: map[string]*other{}}, make(chan error, 2)
	s.fencing, s.watch = newFencing(s, o.Drivers), newWatch(s, o.Prober)
	if err := s.open(); err != nil {
		stopErr := s.Stop(context.Background())
		return nil, errors.Join(err, stopErr)
	}
	return s, nil
}

// open does what can fail, and notes how each is undone.
func (s *Server) open() error {
	if s.o.Store != nil {
		s.store, s.cluster = s.o.Store, clusterName(s.cfg)
		return nil
	}
	if err := os.MkdirAll(s.cfg.Data, 0o700); err != nil {
		return fmt.Errorf("cannot use the data directory: %w", err)
	}
	var err error
	pkiDir := filepath.Join(s.cfg.Data, "pki")
	if s.ca, err = loadCA(pkiDir, clusterName(s.cfg), len(s.cfg.Cluster.Initial)); err != nil {
		return err
	}
	s.cluster = s.ca.Cluster()
	if s.cred, err = s.ca.EnsureServer(pkiDir, s.cfg.Name, s.cfg.names(), time.Now()); err != nil {
		return err
	}
	if s.admin, err = ensureToken(filepath.Join(s.cfg.Data, "admin.token")); err != nil {
		return err
	}
	if s.store, err = s.openStore(pkiDir); err != nil {
		return err
	}
	s.stops = append(s.stops, func(context.Context) error { return s.store.Close() })
	s.listener, err = transport.Listen(transport.ServerOptions{
		Name: s.cfg.Name, Addr: s.cfg.Listen.Agents, Credentials: s.cred, CA: s.ca, Tokens: s.tokens, Handler: s.agents, Peers: s.peers, Logger: s.log,
		Epoch: s.Epoch,
	})
	if err != nil {
		return err
	}
	s.stops = append(s.stops, s.listener.Stop)
	return s.openAPI()
}

// Start begins to listen, to watch and, once elected, to lead.
func (s *Server) Start() error {
	if s.api != nil {
		s.api.Start()
	}
	for _, run := range []func(context.Context){s.ears.run, s.govern, s.inventory.run, s.watch.run, s.fencing.watch, s.keepHouse, s.cards.run, s.sight.run, s.watchFailures} {
		s.running.Go(func() { run(s.ctx) })
	}
	if s.listener != nil {
		s.listener.Start()
	}
	return nil
}

// Stop ends everything within ctx; it may be called more than once. Leading and acting end first, then the listeners,
// then the store.
func (s *Server) Stop(ctx context.Context) error {
	s.once.Do(func() {
		s.cancel()
		if err := s.ended(ctx); err != nil {
			s.stopErr = err
		}
		for _, stop := range slices.Backward(s.stops) {
			s.stopErr = errors.Join(s.stopErr, stop(ctx))
		}
	})
	return s.stopErr
}

// ended waits for what Start began.
func (s *Server) ended(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("not all of this server's work has ended in time: %w", ctx.Err())
	}
}

// Failed tells when this server can't go on: its store has failed for good, or another process has its identity. The
// process must end.
func (s *Server) Failed() <-chan error { return s.failed }

// watchFailures gathers what ends this server.
func (s *Server) watchFailures(ctx context.Context) {
	var store <-chan error
	if own, ok := s.store.(interface{ Failed() <-chan error }); ok {
		store = own.Failed()
	}
	select {
	case <-ctx.Done():
	case err := <-store:
		s.failed <- err
	case err := <-s.cards.failed:
		s.failed <- err
	}
}

// Agents is where what agents say comes in, for agents that have no network between them and this server.
func (s *Server) Agents() transport.Handler { return s.agents }

// Operators is what the API does for operators, for those in the same process.
func (s *Server) Operators() api.Backend { return &backend{s: s} }

// Leads reports whether this server leads.
func (s *Server) Leads() bool { return s.leadership().Leader }

// Epoch is the highest that this server knows of: its own, or that of a leader who asked it; 0: none.
func (s *Server) Epoch() uint64 { return s.epoch.Load() }

// heardEpoch takes note of an epoch that has begun.
func (s *Server) heardEpoch(epoch uint64) {
	for seen := s.epoch.Load(); epoch > seen && !s.epoch.CompareAndSwap(seen, epoch); seen = s.epoch.Load() {
	}
}

// stalled returns when this process may go on.
func (s *Server) stalled() {
	if s.o.Stalled != nil {
		s.o.Stalled()
	}
}

// AgentsAddr is where agents reach this server.
func (s *Server) AgentsAddr() net.Addr { return s.listener.Addr() }

// AdminToken is the secret that the API asks for.
func (s *Server) AdminToken() string { return s.admin }

func (s *Server) agentServers() []string {
	if s.listener == nil {
		return nil
	}
	return s.cfg.servers(s.listener.Addr())
}

// heard passes what detection found to the engine, if this server leads.
func (s *Server) heard(changes []detect.Change) {
	for _, c := range changes {
		s.tell(heard(c))
	}
}

func (s *Server) tell(ev engine.Event) {
	if r := s.reign.Load(); r != nil {
		r.in.put(ev)
	}
}

// introduce tells a new reign's engine what the server knows already.
func (s *Server) introduce(r *reign) {
	s.inventory.introduce(r.in)
	s.agents.introduce(r.in)
	r.in.put(s.assumed())
	s.want()
	s.inventory.listSoon()
	s.fencing.checkSoon("")
}

// want asks for the inventory soon.
func (s *Server) want() {
	select {
	case s.wanted <- struct{}{}:
	default:
	}
}

func (s *Server) setLeader(l store.Leadership) {
	s.lead.Store(&l)
	s.heardEpoch(uint64(l.Epoch))
	s.agents.sayAhead(math.MaxUint64)
}

func (s *Server) leadership() store.Leadership { return *s.lead.Load() }

// keepHouse forgets, while this server leads, what is older than the history that is kept, and join tokens that nobody
// can use any more. (Incidents the engine forgets by itself.)
func (s *Server) keepHouse(ctx context.Context) {
	tick := time.NewTicker(houseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if r := s.reign.Load(); r != nil {
			if err := s.prune(ctx, r.epoch, time.Now()); err != nil && ctx.Err() == nil {
				s.log.Warn("cannot forget old history", "error", err)
			}
		}
	}
}

func (s *Server) prune(ctx context.Context, epoch store.Epoch, now time.Time) error {
	_, audit := store.PruneAudit(ctx, s.store, epoch, now.Add(-history))
	_, tokens := store.Prune(ctx, s.store, epoch, tokensPrefix, func(rec store.Record) bool {
		var t pki.TokenRecord
		_, err := store.Decode(rec, format, &t)
		return err == nil && now.After(t.Expires.Add(history))
	})
	return errors.Join(audit, tokens)
}

const (
	history    = 90 * 24 * time.Hour // how long incidents and the audit trail are kept
	houseEvery = time.Hour
)

func clusterName(c Config) string { return either(c.Cloud.Name, "ninelives") }
