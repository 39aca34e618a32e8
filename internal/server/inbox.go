package server

import (
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

// inbox hands events to the leader's loop. Putting never blocks: detection and the agents' links must not wait for a
// commit. It stays small because every producer is bounded: one change a host, one answer an action.
type inbox struct {
	mu     sync.Mutex
	events []any
	since  time.Time // of the oldest
	wake   chan struct{}
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// put adds an engine.Event, or a *look.
func (b *inbox) put(ev any) {
	b.mu.Lock()
	if len(b.events) == 0 {
		b.since = time.Now()
	}
	b.events = append(b.events, ev)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take empties it and says how long the oldest event had to wait.
func (b *inbox) take() ([]any, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.events
	b.events = nil
	return out, time.Since(b.since)
}

// look is a read of the engine, made by its own loop between two steps.
type look struct {
	read func(*engine.Engine)
	done chan struct{}

	mu    sync.Mutex
	ended bool // read, or given up
}

func (l *look) at(e *engine.Engine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.read(e)
	l.ended = true
	close(l.done)
}

// giveUp makes sure that nothing is read after it; nil if it has been read meanwhile.
func (l *look) giveUp(why error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil
	}
	l.ended = true
	return why
}
