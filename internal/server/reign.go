package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/policy"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// format is the version of the records the engine writes.
const format = 1

// reign is one leadership: an engine loaded from the records, fed by one loop. When a commit fails the engine is ahead
// of the records, so the reign ends and the next one loads them anew: there is no other way back.
type reign struct {
	s      *Server
	log    *slog.Logger
	epoch  store.Epoch
	engine *engine.Engine
	in     *inbox
	ctx    context.Context
	end    context.CancelFunc
	acts   sync.WaitGroup

	mu     sync.Mutex
	asked  map[string]chan engine.Reply
	flying map[string]*flight // dangerous acts under way, by action
	policy *policy.Policy
}

// govern follows the store's leadership until ctx ends: a reign for each time this server leads.
func (s *Server) govern(ctx context.Context) {
	for l := range s.store.Lead(ctx) {
		s.setLeader(l)
		if r := s.reign.Swap(nil); r != nil {
			r.stop()
		}
		if !l.Leader {
			continue
		}
		r, err := s.newReign(ctx, l.Epoch)
		if err != nil {
			s.log.Error("cannot take over: the records can't be read; nothing is done until they can", "epoch", l.Epoch, "error", err)
			s.retryReign(ctx, l.Epoch)
			continue
		}
		s.reign.Store(r)
		go r.run()
	}
}

// retryReign begins again after a reign failed while the leadership stood.
func (s *Server) retryReign(ctx context.Context, epoch store.Epoch) {
	time.AfterFunc(2*time.Second, func() {
		l := s.leadership()
		if ctx.Err() != nil || !l.Leader || l.Epoch != epoch || s.reign.Load() != nil {
			return
		}
		r, err := s.newReign(ctx, epoch)
		if err != nil {
			s.log.Error("cannot take over yet", "epoch", epoch, "error", err)
			s.retryReign(ctx, epoch)
			return
		}
		if s.reign.CompareAndSwap(nil, r) {
			go r.run()
		}
	})
}

func (s *Server) newReign(ctx context.Context, epoch store.Epoch) (*reign, error) {
	records, _, err := s.store.List(ctx, "")
	if err != nil {
		return nil, err
	}
	r := &reign{s: s, log: s.log.With("epoch", epoch), epoch: epoch, in: newInbox(), asked: map[string]chan engine.Reply{}, flying: map[string]*flight{}, policy: policy.Default()}
	r.ctx, r.end = context.WithCancel(ctx)
	cfg := engine.Config{
		Server: s.cfg.Name, Epoch: int64(epoch), Pulse: s.times.Pulse, RequestTTL: s.times.RequestTTL, Permit: s.times.Permit,
		Takeover: time.Now(), OffTimeout: s.o.OffTimeout,
	}
	if caps, ok := s.inventory.capabilities(); ok {
		cfg.StaysStopped, cfg.User = caps.KeepsStopped(), caps.UserID
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
	r.engine = engine.New(cfg, r.policy)
	for _, rec := range records {
		if !engineKey(rec.Key) {
			continue
		}
		var fields map[string]json.RawMessage
		if _, err := store.Decode(rec, format, &fields); err != nil {
			return nil, err
		}
		delete(fields, "v") // the store's stamp; the engine's own records have none
		body, err := json.Marshal(fields)
		if err != nil {
			return nil, err
		}
		if err := r.engine.Load(rec.Key, body); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func engineKey(key string) bool {
	for _, p := range []string{"hosts/", "incidents/", "switches/"} {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

// run feeds the engine until the reign ends.
func (r *reign) run() {
	defer r.finish()
	r.log.Info("this server leads")
	r.s.inventory.recall(r.in)
	r.s.ears.takeover(r.in)
	r.s.introduce(r)
	r.acts.Go(func() { r.s.agents.record(r) })
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
			if !r.feed([]any{engine.Tick{}}) {
				return
			}
		case <-r.in.wake:
			if !r.feed(r.in.take()) {
				return
			}
		}
	}
}

func (r *reign) feed(events []any) bool {
	for _, ev := range events {
		switch ev := ev.(type) {
		case look:
			ev.read(r.engine)
			close(ev.done)
		case engine.Event:
			if !r.step(ev) {
				return false
			}
		}
	}
	return true
}

// step runs one step of the engine: records first, then acts. It reports whether the reign goes on.
func (r *reign) step(ev engine.Event) bool {
	if p, ok := ev.(engine.PolicyChanged); ok {
		r.policy = p.Policy
	}
	eff := r.engine.Step(time.Now(), ev)
	r.withdraw(eff.Withdrawn)
	permit, err := r.commit(eff.Records)
	if err != nil {
		r.log.Error("cannot write what was decided; it is not done, and the records are loaded anew", "error", err)
		return false
	}
	for _, n := range eff.Notes {
		r.s.trail.note(n)
	}
	for _, reply := range eff.Replies {
		r.reply(reply)
	}
	for _, a := range eff.Actions {
		f := r.begin(a, permit)
		r.acts.Go(func() { r.act(a, f) })
	}
	return true
}

// commit writes the records in their order, in as few transactions as the store allows. The permit counts from the
// beginning of the last one, which holds or follows every intent.
func (r *reign) commit(records []engine.Record) (store.Permit, error) {
	var ops []store.Op
	var permit store.Permit
	size := 0
	send := func() error {
		var err error
		permit, err = r.s.store.Commit(r.ctx, r.epoch, ops...)
		ops, size = nil, 0
		return err
	}
	for _, rec := range records {
		if rec.Value == nil {
			ops = append(ops, store.Delete(rec.Key))
			continue
		}
		value, err := store.Encode(format, rec.Value)
		if err != nil {
			return permit, err
		}
		if len(ops)+1 > store.MaxOps || size+len(value)+len(rec.Key) > store.MaxBytes*3/4 {
			if err := send(); err != nil {
				return permit, err
			}
		}
		ops = append(ops, store.Put(rec.Key, value))
		size += len(value) + len(rec.Key)
	}
	if len(ops) == 0 {
		return permit, nil // nothing new was decided; an act without a record of its own proves the leadership when it is sent
	}
	return permit, send()
}

// ask puts an operator's request to the engine and waits for its reply.
func (r *reign) ask(ctx context.Context, ev engine.Asked) (engine.Reply, error) {
	ch := make(chan engine.Reply, 1)
	r.mu.Lock()
	r.asked[ev.ID] = ch
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.asked, ev.ID)
		r.mu.Unlock()
	}()
	r.in.put(ev)
	select {
	case reply := <-ch:
		return reply, nil
	case <-ctx.Done():
		return engine.Reply{}, ctx.Err()
	case <-r.ctx.Done():
		return engine.Reply{}, errNotLeading
	}
}

func (r *reign) reply(reply engine.Reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ch := r.asked[reply.Asked]; ch != nil {
		ch <- reply
	}
}

// read lets f look at the engine between two steps. f must not keep anything of it.
func (r *reign) read(ctx context.Context, f func(*engine.Engine)) error {
	l := look{read: f, done: make(chan struct{})}
	r.in.put(l)
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-r.ctx.Done():
		return errNotLeading
	}
}

var errNotLeading = errors.New("this server does not lead")

func (r *reign) stop() {
	r.end()
	r.acts.Wait()
}

// finish ends the reign; if the leadership still stands, another one begins soon.
func (r *reign) finish() {
	r.end()
	r.log.Info("the reign has ended")
	if r.s.reign.CompareAndSwap(r, nil) {
		r.s.retryReign(r.s.ctx, r.epoch)
	}
}
