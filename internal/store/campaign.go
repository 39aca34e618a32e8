package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Keys of the election, apart from the records. leaderKey carries the leader's name under
// its lease: while it is there nobody else can claim the epoch. heirKey, under a short
// lease of its own, names who alone may claim after a leader resigned. Below livePrefix
// each server that runs has a key under its lease.
const (
	electionPrefix = "/ninelives-election/"
	leaderKey      = electionPrefix + "leader"
	heirKey        = electionPrefix + "heir"
	livePrefix     = electionPrefix + "live/"
)

// lease is this server's, with its last renewal that etcd acknowledged.
type lease struct {
	id clientv3.LeaseID

	mu      sync.Mutex
	renewed Permit // good as long as the lease can't have ended, by this server's clocks
}

func (l *lease) check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewed.Check()
}

// campaign keeps the lease, and claims the epoch whenever nobody leads.
func (s *External) campaign() {
	tick := time.NewTicker(s.o.Lease / 8) // several renewals may fail before the lease is at stake
	defer tick.Stop()
	s.run(func() { // apart: it waits for etcd
		for range s.cli.Watch(s.life, electionPrefix, clientv3.WithPrefix()) {
			s.wake()
		}
	})
	trouble := ""
	for s.life.Err() == nil {
		err := s.round()
		s.lookInto(err)
		if why := s.fault.explain(err); err != nil && s.life.Err() == nil && why != trouble {
			trouble = why
			s.o.Logger.Warn("cannot take part in the election", "error", why)
		} else if err == nil {
			trouble = ""
		}
		select {
		case <-s.life.Done():
		case <-s.kicks:
		case <-tick.C:
		}
	}
}

// round renews, looks who leads, and claims if nobody does.
func (s *External) round() error {
	s.turn.Lock() // else a round could take the leadership for its own again while it is handed over
	defer s.turn.Unlock()
	ctx, cancel := context.WithTimeout(s.life, min(s.o.CallTimeout, s.o.Lease/2))
	defer cancel()
	l, err := s.renew(ctx)
	if err != nil {
		if old := s.lease.Load(); old == nil || old.check() != nil {
			s.announce(Leadership{})
		}
		return err
	}
	at, leader, epoch, err := s.seen(ctx)
	switch {
	case err != nil:
		return err
	case at == 0:
		return s.claim(ctx, l)
	case leader == s.o.Name && epoch == Epoch(at) && s.leads.current().Epoch == epoch:
		return nil
	case leader == s.o.Name:
		// Of an earlier run of ours, or a claim whose answer was lost: it is under a lease that we may not hold.
		if mine, err := s.cli.Get(ctx, leaderKey); err == nil && len(mine.Kvs) == 1 && mine.Kvs[0].Lease == int64(l.id) {
			s.announce(Leadership{Leader: true, Epoch: Epoch(at), LeaderName: s.o.Name})
		}
		return nil
	}
	s.announce(Leadership{LeaderName: leader})
	return nil
}

// renew renews this server's lease, or gets one. A renewal counts from when it was begun.
func (s *External) renew(ctx context.Context) (*lease, error) {
	_, good := LeasePermit(s.o.Lease)
	renewed, err := begin(s.o.Clock, good, func() error { return nil })
	if err != nil {
		return nil, err
	}
	if l := s.lease.Load(); l != nil {
		_, err := s.cli.KeepAliveOnce(ctx, l.id)
		if err == nil {
			l.mu.Lock()
			l.renewed = renewed
			l.mu.Unlock()
			return l, nil
		}
		if !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return nil, fmt.Errorf("cannot renew the lease: %w", s.inWords(err))
		}
		s.announce(Leadership{}) // it has ended, and with it what was claimed
	}
	granted, err := s.cli.Grant(ctx, int64(s.o.Lease/time.Second))
	if err != nil {
		return nil, fmt.Errorf("cannot get a lease: %w", s.inWords(err))
	}
	l := &lease{id: granted.ID, renewed: renewed}
	if _, err := s.cli.Put(ctx, livePrefix+s.o.Name, "", clientv3.WithLease(l.id)); err != nil {
		return nil, fmt.Errorf("cannot show that this server runs: %w", s.inWords(err))
	}
	s.lease.Store(l)
	return l, nil
}

// seen is who leads: since which revision (0: nobody), who, and the epoch.
func (s *External) seen(ctx context.Context) (at int64, leader string, epoch Epoch, err error) {
	resp, err := s.cli.Txn(ctx).Then(clientv3.OpGet(leaderKey), clientv3.OpGet(root+epochKey)).Commit()
	if err != nil {
		return 0, "", 0, fmt.Errorf("cannot see who leads: %w", s.inWords(err))
	}
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 {
		at, leader = kvs[0].CreateRevision, string(kvs[0].Value)
	}
	if kvs := resp.Responses[1].GetResponseRange().Kvs; len(kvs) == 1 {
		epoch = Epoch(kvs[0].ModRevision)
	}
	return at, leader, epoch, nil
}

// claim writes leader and epoch in one transaction, if nobody leads; its revision is the epoch.
func (s *External) claim(ctx context.Context, l *lease) error {
	s.announce(Leadership{})
	heir, err := s.cli.Get(ctx, heirKey)
	if err != nil {
		return fmt.Errorf("cannot see who is to lead: %w", s.inWords(err))
	}
	var rev int64
	if len(heir.Kvs) == 1 {
		if string(heir.Kvs[0].Value) != s.o.Name {
			return nil // its turn, until its lease ends
		}
		rev = heir.Kvs[0].ModRevision
	}
	value, err := Encode(1, epochRecord{Server: s.o.Name, Claimed: s.o.Clock.Wall().UTC()})
	if err != nil {
		return err
	}
	resp, err := s.cli.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(leaderKey), "=", 0), clientv3.Compare(clientv3.ModRevision(heirKey), "=", rev)).
		Then(clientv3.OpPut(leaderKey, s.o.Name, clientv3.WithLease(l.id)), clientv3.OpPut(root+epochKey, string(value)), clientv3.OpDelete(heirKey)).
		Commit()
	switch {
	case err != nil:
		return fmt.Errorf("cannot claim leadership: %w", s.inWords(err)) // if it was written all the same, the next round finds it
	case resp.Succeeded:
		s.announce(Leadership{Leader: true, Epoch: Epoch(resp.Header.Revision), LeaderName: s.o.Name})
	}
	return nil
}

// holds is nil while this server leads with this epoch and its lease can't have ended.
func (s *External) holds(epoch Epoch) error {
	if err := s.usable(); err != nil {
		return err
	}
	if l := s.leads.current(); !l.Leader || l.Epoch != epoch {
		return notLeading(epoch, l)
	}
	if l := s.lease.Load(); l == nil || l.check() != nil {
		return fmt.Errorf("%w with epoch %d: its lease in etcd may have ended", ErrDeposed, epoch)
	}
	return nil
}

func (s *External) announce(l Leadership) {
	if s.leads.announce(l) {
		s.o.Logger.Info("leadership", "leads", l.Leader, "epoch", l.Epoch, "leader", l.LeaderName)
	}
}

func (s *External) wake() {
	select {
	case s.kicks <- struct{}{}:
	default:
	}
}

// Resign implements Store: permits end first, then the claim is given to an heir, who
// alone may claim for the length of a lease.
func (s *External) Resign(ctx context.Context, to ...string) error {
	if err := s.resign(ctx, to); err != nil {
		return fmt.Errorf("cannot hand leadership over: %w", err)
	}
	return nil
}

func (s *External) resign(ctx context.Context, to []string) error {
	if err := s.usable(); err != nil {
		return err
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	led := s.leads.current()
	if !led.Leader {
		return notLeading(led.Epoch, led)
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	live, err := s.read(ctx, livePrefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	heir := ""
	for _, kv := range live.Kvs {
		name := strings.TrimPrefix(string(kv.Key), livePrefix)
		if heir == "" && name != s.o.Name && (len(to) == 0 || slices.Contains(to, name)) {
			heir = name
		}
	}
	if heir == "" {
		return ErrAlone
	}
	defer s.wake()
	s.announce(Leadership{})
	granted, err := s.cli.Grant(ctx, int64(s.o.Lease/time.Second))
	if err != nil {
		return s.inWords(err)
	}
	resp, err := s.cli.Txn(ctx).If(s.guards(led.Epoch)...).
		Then(clientv3.OpDelete(leaderKey), clientv3.OpPut(heirKey, heir, clientv3.WithLease(granted.ID))).Commit()
	switch {
	case err != nil:
		return s.inWords(err)
	case !resp.Succeeded:
		return fmt.Errorf("%w: epoch %d isn't current", ErrDeposed, led.Epoch)
	}
	return nil
}
