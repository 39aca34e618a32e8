package server

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/policy"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// format is the version of the records the engine writes.
const format = 1

const (
	// tickEvery: the engine wants a Tick at least every 250 ms.
	tickEvery = 200 * time.Millisecond
	// readsAtOnce bounds the engine's reads of the cloud: when 1,000 hosts fall silent together, Nova isn't asked 4,000
	// things at once. Acts never wait here.
	readsAtOnce = 32
)

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
	primed chan struct{}          // closed when the loop's queue holds what this server knows already: nobody is shown an engine that knows less
	done   chan struct{}          // closed when the loop has ended: no act begins after
	roster atomic.Pointer[roster] // of the servers, as last looked at; nil before
	acts   sync.WaitGroup
	reads  chan struct{} // reads of the cloud under way

	mu     sync.Mutex
	asked  map[string]chan engine.Reply
	flying map[string]*flight // dangerous acts under way, by action
	policy *policy.Policy     // the loop's
}

// run feeds the engine until the reign ends.
func (r *reign) run() {
	defer close(r.done)
	defer r.end()
	defer r.log.Info("the reign has ended")
	r.log.Info("this server leads")
	r.s.inventory.recall(r.in)
	r.s.ears.takeover(r.in)
	r.s.introduce(r)
	close(r.primed)
	r.acts.Go(func() { r.s.agents.record(r) })
	r.acts.Go(func() { r.s.watchQuorum(r) })
	r.acts.Go(func() { r.s.relays.run(r) })
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
			r.in.put(engine.Tick{})
		case <-r.in.wake:
		}
		r.s.stalled()
		events, waited := r.in.take()
		if len(events) == 0 {
			continue
		}
		r.s.metrics.waited(waited)
		if !r.feed(events) {
			return
		}
	}
}

// feed steps the engine through events. What several steps decide is written in one transaction, as long as nobody
// waits for it: a wave of 10,000 agents is some dozens of commits.
func (r *reign) feed(events []any) bool {
	b := &batch{}
	for _, ev := range events {
		switch ev := ev.(type) {
		case *look:
			if !r.settle(b) { // nobody is shown what may never have been decided
				return false
			}
			ev.at(r.engine)
		case engine.Event:
			if p, ok := ev.(engine.PolicyChanged); ok {
				r.policy = p.Policy
			}
			eff := r.engine.Step(time.Now(), ev)
			r.withdraw(eff.Withdrawn)
			if b.add(eff); b.full() && !r.settle(b) {
				return false
			}
		}
	}
	return r.settle(b)
}

// settle writes what was decided, then begins it: records first, acts after. It reports whether the reign goes on.
func (r *reign) settle(b *batch) bool {
	defer b.reset()
	if r.ctx.Err() != nil {
		return false
	}
	permit, err := r.commit(b.records())
	if err != nil {
		if r.ctx.Err() == nil {
			r.log.Error("cannot write what was decided; it is not done, and the records are loaded anew", "error", err)
		}
		return false
	}
	for _, n := range b.notes {
		r.s.trail.note(n)
	}
	flights := make([]*flight, len(b.actions))
	for i, a := range b.actions {
		flights[i] = r.begin(a, permit)
	}
	r.withdraw(b.withdrawn) // also of what this very batch decided first and thought better of
	for _, reply := range b.replies {
		r.reply(reply)
	}
	for i, a := range b.actions {
		r.acts.Go(func() { r.act(a, flights[i]) })
	}
	return true
}

// ask puts an operator's request to the engine and waits for its reply. After an error nobody knows whether it was taken.
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
	case <-r.done:
	}
	select {
	case reply := <-ch: // the last thing the loop did
		return reply, nil
	default:
		return engine.Reply{}, errNotLeading
	}
}

func (r *reign) reply(reply engine.Reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ch := r.asked[reply.Asked]; ch != nil {
		delete(r.asked, reply.Asked)
		ch <- reply // has room for the one there is
	}
}

// read lets f look at the engine between two steps. f must not keep anything of it; it doesn't run after read returned.
func (r *reign) read(ctx context.Context, f func(*engine.Engine)) error {
	select { // a look behind what is told at the beginning, or it would show hosts that nobody has seen
	case <-r.primed:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.done:
		return errNotLeading
	}
	l := &look{read: f, done: make(chan struct{})}
	r.in.put(l)
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return l.giveUp(ctx.Err())
	case <-r.done:
		return l.giveUp(errNotLeading)
	}
}

var errNotLeading = errors.New("this server does not lead")

// stop ends the reign and waits for its acts, within actsGrace.
func (r *reign) stop() {
	r.end()
	<-r.done
	landed := make(chan struct{})
	go func() {
		r.acts.Wait()
		close(landed)
	}()
	grace := time.NewTimer(actsGrace)
	defer grace.Stop()
	select {
	case <-landed:
	case <-grace.C:
		r.log.Error("acts of the ended reign still run; they can send nothing any more", "after", actsGrace)
	}
}
