package server

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/policy"
	"github.com/ninelives-ha/ninelives/internal/store"
)

const (
	// reignAgain is how long after a reign that failed the next one begins: a full or stuck disk isn't asked in a loop.
	reignAgain = 2 * time.Second
	// actsGrace is how long the acts of an ended reign are waited for. Their contexts have ended; one that goes on all the
	// same gets no permit any more.
	actsGrace = 10 * time.Second
)

// govern follows the store's leadership until ctx ends: a reign for each time this server leads, and a new one when a
// reign failed while the leadership stood. It is the only place where reigns begin and end, so there is never more
// than one.
func (s *Server) govern(ctx context.Context) {
	var r *reign
	var ended <-chan struct{}
	var again <-chan time.Time
	defer func() { s.depose(r) }()
	lead := s.store.Lead(ctx)
	for {
		select {
		case l, ok := <-lead:
			if !ok {
				s.setLeader(store.Leadership{})
				return
			}
			s.setLeader(l)
			s.depose(r)
			r, ended, again = nil, nil, nil
			if l.Leader {
				r, ended, again = s.enthrone(ctx, l.Epoch)
			}
		case <-ended:
			s.depose(r)
			r, ended, again = nil, nil, time.After(reignAgain)
		case <-again:
			again = nil
			if l := s.leadership(); l.Leader {
				r, ended, again = s.enthrone(ctx, l.Epoch)
			}
		}
	}
}

// enthrone begins a reign; when the records can't be read, it says when to try again.
func (s *Server) enthrone(ctx context.Context, epoch store.Epoch) (*reign, <-chan struct{}, <-chan time.Time) {
	r, err := s.newReign(ctx, epoch)
	if err != nil {
		if ctx.Err() == nil && !s.tooOld(ctx, err) {
			s.log.Error("cannot take over: the records can't be read; nothing is done until they can", "epoch", epoch, "error", err)
		}
		return nil, nil, time.After(reignAgain)
	}
	s.outdated.Store(nil)
	s.reign.Store(r)
	go r.run()
	return r, r.done, nil
}

// depose ends a reign and waits for what it had under way.
func (s *Server) depose(r *reign) {
	if r == nil {
		return
	}
	s.reign.CompareAndSwap(r, nil)
	r.stop()
}

// newReign loads the records. One that can't be read is an error: better no leader than one that forgets an incident.
func (s *Server) newReign(ctx context.Context, epoch store.Epoch) (*reign, error) {
	records, _, err := s.store.List(ctx, "")
	if err != nil {
		return nil, err
	}
	if err := s.checkFormat(records); err != nil {
		return nil, err
	}
	r := &reign{
		s: s, log: s.log.With("epoch", epoch), epoch: epoch, in: newInbox(), primed: make(chan struct{}), done: make(chan struct{}), reads: make(chan struct{}, readsAtOnce),
		asked: map[string]chan engine.Reply{}, flying: map[string]*flight{}, policy: policy.Default(),
	}
	boots := map[string]string{}
	for _, rec := range records {
		if h := (engine.HostRecord{}); strings.HasPrefix(rec.Key, store.HostsPrefix) {
			if _, err := store.Decode(rec, format, &h); err != nil {
				return nil, err
			}
			boots[h.Host] = h.Boot
		}
		if rec.Key == store.PolicyKey {
			if _, err := store.Decode(rec, format, r.policy); err != nil {
				return nil, err
			}
		}
	}
	s.inventory.remember(boots)
	if err := errors.Join(s.agents.load(records), s.fencing.load(records)); err != nil {
		return nil, err
	}
	r.engine = engine.New(s.engineConfig(epoch), r.policy)
	for _, rec := range records {
		if err := loadInto(r.engine, rec); err != nil {
			return nil, err
		}
	}
	r.ctx, r.end = context.WithCancel(ctx)
	return r, nil
}

func (s *Server) engineConfig(epoch store.Epoch) engine.Config {
	cfg := engine.Config{
		Server: s.cfg.Name, Epoch: int64(epoch), Pulse: s.times.Pulse, Stragglers: s.times.Stragglers, RequestTTL: s.times.RequestTTL, Permit: s.times.Permit,
		Takeover: time.Now(), OffTimeout: s.o.OffTimeout,
	}
	if caps, ok := s.inventory.capabilities(); ok {
		cfg.StaysStopped, cfg.User = caps.KeepsStopped(), caps.UserID
	}
	return cfg
}

// loadInto hands the engine a record of its own kinds, without the store's stamp.
func loadInto(e *engine.Engine, rec store.Record) error {
	if !engineKey(rec.Key) {
		return nil
	}
	var fields map[string]json.RawMessage
	if _, err := store.Decode(rec, format, &fields); err != nil {
		return err
	}
	delete(fields, "v") // the engine's own records have none
	body, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return e.Load(rec.Key, body)
}

func engineKey(key string) bool {
	for _, p := range []string{store.HostsPrefix, store.IncidentsPrefix, "switches/"} {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}
