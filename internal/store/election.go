package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// epochRecord is the value of the epoch key, for people who look; only the key's
// revision counts.
type epochRecord struct {
	Server  string    `json:"server"`
	Claimed time.Time `json:"claimed"`
}

// followRaft makes this server the leader whenever its raft node is, and only then.
//
// etcd tells when another leader is known, but not when the leader is lost; so the
// current one is looked at each heartbeat as well (a load of one integer).
func (s *Embedded) followRaft() {
	tick := time.NewTicker(s.o.Heartbeat)
	defer tick.Stop()
	for s.life.Err() == nil {
		changed := s.srv.LeaderChangedNotify() // before looking, or a change in between is missed
		settled, lead := s.take()
		for waiting := true; waiting; {
			select {
			case <-changed:
				waiting = false // even if we lead again: in between somebody else may have
			case <-s.reclaim:
				waiting = false
			case <-tick.C:
				waiting = settled && s.srv.Leader() == lead // that it was lost is told by nothing else
			case <-s.srv.StoppingNotify():
				s.fail(errors.New("etcd has stopped: was this server removed from the cluster (ninelives cluster list, on another one)? Then leave it stopped, or move its data directory's etcd away and let it join again (ninelives server join)"))
				return
			case <-s.life.Done():
				return
			}
		}
	}
}

// take claims the epoch if this server's raft node leads, and announces what is.
// Not settled: to be tried again.
func (s *Embedded) take() (settled bool, lead types.ID) {
	lead = s.srv.Leader()
	if lead != s.srv.MemberID() || s.resigning.Load() {
		s.announce(Leadership{LeaderName: s.nameOf(lead)})
		return lead != types.ID(0) && !s.resigning.Load(), lead
	}
	epoch, err := s.claim()
	if err != nil {
		s.announce(Leadership{})
		if why := err.Error(); s.life.Err() == nil && why != s.claimProblem {
			s.claimProblem = why // it is tried again at each heartbeat
			s.o.Logger.Warn("cannot claim leadership", "error", err)
		}
		return false, lead
	}
	s.claimProblem = ""
	s.announce(Leadership{Leader: true, Epoch: epoch, LeaderName: s.o.Name})
	return true, lead
}

func (s *Embedded) announce(l Leadership) {
	if s.failure.Load() != nil {
		l = Leadership{}
	}
	if s.leads.announce(l) {
		s.o.Logger.Info("leadership", "leads", l.Leader, "epoch", l.Epoch, "leader", l.LeaderName)
	}
}

func (s *Embedded) raftLeads() bool { return s.srv.Leader() == s.srv.MemberID() }

// claim writes the epoch key, if nobody did since it was read; the revision of the
// write is the epoch. What a paused leader claims when it wakes up comes to
// nothing: either the key has changed since, or leadership is seen lost after.
func (s *Embedded) claim() (Epoch, error) {
	ctx, cancel := context.WithTimeout(s.life, min(s.o.CallTimeout, 2*s.o.ElectionTimeout))
	defer cancel()
	seen, err := s.cli.Get(ctx, root+epochKey)
	if err != nil {
		return 0, fmt.Errorf("cannot read the epoch: %w", s.inWords(err))
	}
	var rev int64
	if len(seen.Kvs) > 0 {
		rev = seen.Kvs[0].ModRevision
	}
	value, err := Encode(1, epochRecord{Server: s.o.Name, Claimed: s.o.Clock.Wall().UTC()})
	if err != nil {
		return 0, err
	}
	resp, err := s.cli.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(root+epochKey), "=", rev)).
		Then(clientv3.OpPut(root+epochKey, string(value))).
		Commit()
	switch {
	case err != nil:
		return 0, fmt.Errorf("cannot write the epoch: %w", s.inWords(err))
	case !resp.Succeeded:
		return 0, fmt.Errorf("%w: another server claimed the epoch first", ErrDeposed)
	case !s.raftLeads():
		return 0, fmt.Errorf("%w: lost while claiming the epoch", ErrDeposed)
	}
	return Epoch(resp.Header.Revision), nil
}

// holds is nil while this server leads with this epoch, as far as it can know by itself.
func (s *Embedded) holds(epoch Epoch) error {
	if err := s.usable(); err != nil {
		return err
	}
	if l := s.leads.current(); !l.Leader || l.Epoch != epoch {
		return notLeading(epoch, l)
	}
	if !s.raftLeads() {
		return fmt.Errorf("%w with epoch %d: raft says so", ErrDeposed, epoch)
	}
	return nil
}

func (s *Embedded) usable() error {
	if s.closing.Load() {
		return ErrClosed
	}
	if err := s.failure.Load(); err != nil {
		return fmt.Errorf("%w: %w", ErrClosed, *err)
	}
	return nil
}

// Lead implements Store.
func (s *Embedded) Lead(ctx context.Context) <-chan Leadership { return s.leads.subscribe(ctx) }

// Resign implements Store. Permits end first: the transfer overrides the followers'
// promise to vote for nobody within an election timeout, on which permits rest.
func (s *Embedded) Resign(ctx context.Context, to ...string) error {
	if err := s.resign(ctx, to); err != nil {
		return fmt.Errorf("cannot hand leadership over: %w", err)
	}
	return nil
}

func (s *Embedded) resign(ctx context.Context, wanted []string) error {
	if err := s.usable(); err != nil {
		return err
	}
	if l := s.leads.current(); !l.Leader {
		return notLeading(l.Epoch, l)
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var candidates []Member
	for _, m := range s.members(ctx) {
		if m.Healthy && !m.Learner && m.Name != s.o.Name && (len(wanted) == 0 || slices.Contains(wanted, m.Name)) {
			candidates = append(candidates, m)
		}
	}
	if len(candidates) == 0 {
		return ErrAlone
	}
	if !s.resigning.CompareAndSwap(false, true) {
		return errors.New("it is being handed over already")
	}
	defer func() {
		s.resigning.Store(false)
		s.kick() // if it failed, claim again
	}()
	s.announce(Leadership{})
	var tried error
	for _, m := range candidates {
		to := s.idOf(m.Name)
		// Raft itself gives a transfer up after one election timeout.
		one, cancel := context.WithTimeout(ctx, 2*s.o.ElectionTimeout)
		err := s.srv.MoveLeader(one, uint64(s.srv.MemberID()), uint64(to))
		cancel()
		if err == nil || !s.raftLeads() {
			return nil
		}
		tried = errors.Join(tried, fmt.Errorf("to %s: %w", m.Name, s.inWords(err)))
	}
	return tried
}

func (s *Embedded) kick() {
	select {
	case s.reclaim <- struct{}{}:
	default:
	}
}
