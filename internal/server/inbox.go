package server

import (
	"sync"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

// inbox hands events to the leader's loop. Putting never blocks: detection and the agents' links must not wait for a
// commit. It stays small because every producer is bounded: one change a host, one answer an action.
type inbox struct {
	mu     sync.Mutex
	events []any
	wake   chan struct{}
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// put adds an engine.Event, or a func(*engine.Engine) that reads.
func (b *inbox) put(ev any) {
	b.mu.Lock()
	b.events = append(b.events, ev)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) take() []any {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.events
	b.events = nil
	return out
}

// look is a read of the engine, made by its own loop between two steps.
type look struct {
	read func(*engine.Engine)
	done chan struct{}
}
