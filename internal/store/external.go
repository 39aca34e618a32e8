package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// ExternalOptions say how to use an etcd of the operator's own.
type ExternalOptions struct {
	Name      string   // this server's name, required
	Endpoints []string // https://host:2379, required
	TLS       ClientTLS

	// Lease is how long a leader that says nothing more keeps its claim: whole seconds, two at least; default 3 s. What
	// etcd grants may be longer.
	Lease time.Duration
	// Permit is how long permits are good. Default and upper bound: LeasePermit.
	Permit time.Duration
	Clock  Clock // default SystemClock

	CallTimeout time.Duration // bound of each call; default 5 s
	Logger      *slog.Logger  // default: nothing is logged
}

// ClientTLS are PEM files; CertFile and KeyFile may be empty where etcd wants none.
type ClientTLS struct{ CAFile, CertFile, KeyFile string }

// External is a Store on an etcd of the operator's own: leadership is a claim on the
// same epoch key, guarded by a lease (campaign.go).
type External struct {
	db
	o     ExternalOptions
	leads announcer
	kicks chan struct{}
	lease atomic.Pointer[lease]
	turn  sync.Mutex // of the election's rounds and of handing over
	fault fault      // why etcd isn't reached

	closing atomic.Bool
	end     context.CancelFunc
	tasksMu sync.Mutex
	tasks   sync.WaitGroup
	close   func() error
}

var _ Store = (*External)(nil)

// OpenExternal takes part in elections. It doesn't wait for etcd: until that answers,
// Lead and Status say so and calls end with ErrNoQuorum.
func OpenExternal(o ExternalOptions) (*External, error) {
	cfg, err := o.complete()
	if err != nil {
		return nil, fmt.Errorf("cannot open store: %w", err)
	}
	cli, err := clientv3.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot open store: %w", err)
	}
	s := &External{o: o, kicks: make(chan struct{}, 1), fault: fault{endpoints: o.Endpoints, tls: cfg.TLS}}
	s.db = db{cli: cli, name: o.Name, callTimeout: o.CallTimeout, alive: s.usable, words: s.inWords, kick: s.wake, task: s.run, guards: func(e Epoch) []clientv3.Cmp {
		return []clientv3.Cmp{
			clientv3.Compare(clientv3.ModRevision(root+epochKey), "=", int64(e)),
			clientv3.Compare(clientv3.CreateRevision(leaderKey), "=", int64(e)), // it is under our lease
		}
	}}
	s.life, s.end = context.WithCancel(context.Background())
	s.close = sync.OnceValue(s.shutdown)
	s.run(s.campaign)
	return s, nil
}

func (o *ExternalOptions) complete() (clientv3.Config, error) {
	setDefault(&o.Lease, 3*time.Second)
	setDefault(&o.CallTimeout, 5*time.Second)
	bound, _ := LeasePermit(o.Lease)
	setDefault(&o.Permit, bound)
	if o.Clock == nil {
		o.Clock = SystemClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	cfg := clientv3.Config{
		Endpoints: o.Endpoints, DialTimeout: o.CallTimeout, Logger: zap.NewNop(),
		DialKeepAliveTime: 5 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		MaxCallSendMsgSize: 2 * MaxBytes, // keys' prefixes and protobuf come on top
	}
	switch {
	case o.Name == "":
		return cfg, errors.New("the server's name is missing")
	case len(o.Endpoints) == 0:
		return cfg, errors.New("no endpoint of etcd is named")
	case o.Lease < 2*time.Second || o.Lease%time.Second != 0:
		return cfg, fmt.Errorf("a lease of %v is refused: etcd counts whole seconds, two at least", o.Lease)
	case o.Permit < 0 || o.Permit > bound:
		return cfg, fmt.Errorf("permits of %v are refused: with a lease of %v another leader could act before they end; at most %v", o.Permit, o.Lease, bound)
	}
	if o.TLS != (ClientTLS{}) {
		tls, err := transport.TLSInfo{CertFile: o.TLS.CertFile, KeyFile: o.TLS.KeyFile, TrustedCAFile: o.TLS.CAFile}.ClientConfig()
		if err != nil {
			return cfg, fmt.Errorf("cannot use etcd's TLS files: %w", err)
		}
		cfg.TLS = tls
	}
	return cfg, nil
}

// Name is this server's name.
func (s *External) Name() string { return s.o.Name }

// run starts a task that ends with s.life; false: the store is closing.
func (s *External) run(task func()) bool {
	s.tasksMu.Lock()
	defer s.tasksMu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.tasks.Go(task)
	return true
}

func (s *External) usable() error {
	if s.closing.Load() {
		return ErrClosed
	}
	return nil
}

// inWords is etcd's error as one of ours.
func (s *External) inWords(err error) error {
	switch {
	case s.closing.Load():
		return ErrClosed
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: etcd has reached its quota", ErrNoSpace)
	case errors.Is(err, rpctypes.ErrTooManyOps), errors.Is(err, rpctypes.ErrRequestTooLarge):
		return fmt.Errorf("%w: start etcd with --max-txn-ops=%d --max-request-bytes=%d (%v)", ErrTooLarge, MaxOps, 2*MaxBytes, err)
	}
	return fmt.Errorf("%w: %v", ErrNoQuorum, err)
}

// Commit implements Store. The permit ends with the lease as well, by this server's
// own clocks: see holds.
func (s *External) Commit(ctx context.Context, epoch Epoch, ops ...Op) (Permit, error) {
	permit, err := begin(s.o.Clock, s.o.Permit, func() error { return s.holds(epoch) })
	if err != nil {
		return Permit{}, err
	}
	err = checkOps(ops)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = s.holds(epoch)
	}
	if err == nil {
		err = s.guarded(ctx, epoch, ops)
	}
	if err != nil {
		return Permit{}, fmt.Errorf("cannot commit: %w", err)
	}
	return permit, nil
}

// Lead implements Store.
func (s *External) Lead(ctx context.Context) <-chan Leadership { return s.leads.subscribe(ctx) }

// Status implements Store. The members are the ninelives servers that use this etcd;
// how its own members stand is for whoever runs it.
func (s *External) Status(ctx context.Context) Status {
	var st Status
	ctx, cancel := context.WithTimeout(ctx, quorumTimeout)
	defer cancel()
	live, err := s.read(ctx, livePrefix, clientv3.WithPrefix())
	if err != nil {
		st.QuorumReason = s.fault.explain(err)
		return st
	}
	cards, _, err := s.List(ctx, ServersPrefix)
	if err != nil {
		st.QuorumReason = err.Error()
		return st
	}
	st.Quorum = true
	if at, leader, epoch, err := s.seen(ctx); err == nil && at != 0 {
		st.Leader, st.Epoch = leader, epoch
	}
	known := map[string]bool{}
	for _, kv := range live.Kvs {
		known[strings.TrimPrefix(string(kv.Key), livePrefix)] = true
	}
	for _, c := range cards {
		if name := NameOf(c.Key); !known[name] {
			known[name] = false
		}
	}
	for name, lives := range known {
		m := Member{Name: name, Healthy: lives, Leader: name == st.Leader}
		if !lives {
			m.Problem = "doesn't renew its lease in etcd"
		}
		st.Members = append(st.Members, m)
	}
	sortMembers(st.Members)
	return st
}

// RemoveServer lets a server that has ended be forgotten: its card may be deleted. Errors: ErrNotFound, ErrRefused (it
// runs), ErrNoQuorum.
func (s *External) RemoveServer(ctx context.Context, name string) error {
	fail := func(err error) error { return fmt.Errorf("cannot remove %s: %w", name, err) }
	ctx, cancel := s.bound(ctx)
	defer cancel()
	live, err := s.read(ctx, livePrefix+name)
	if err != nil {
		return fail(err)
	}
	if len(live.Kvs) > 0 {
		return fail(fmt.Errorf("%w: it runs; stop it first (it is missed after %v)", ErrRefused, s.o.Lease))
	}
	switch _, err := s.Get(ctx, ServerKey(name)); {
	case errors.Is(err, ErrNotFound):
		return fail(fmt.Errorf("%w: no server has this name", ErrNotFound))
	case err != nil:
		return fail(err)
	}
	return nil
}

// Close implements Store: the lease ends at once, so that another server can lead.
func (s *External) Close() error { return s.close() }

func (s *External) shutdown() error {
	s.tasksMu.Lock()
	s.closing.Store(true)
	s.tasksMu.Unlock()
	s.leads.close() // permits end before the lease does
	s.end()
	s.tasks.Wait()
	if l := s.lease.Load(); l != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = s.cli.Revoke(ctx, l.id) // else it runs out by itself
	}
	if err := s.cli.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("cannot close store: %w", err)
	}
	return nil
}
