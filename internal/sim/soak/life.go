package soak

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/server"
)

// life is one process of a server, from its start to its end. What it sends out and what comes back to it goes through
// here, so that it can be paused and killed at any point.
type life struct {
	c      *cluster
	name   string
	n      int // of this name
	server *server.Server
	waits  []*trip  // what it waits for
	late   []func() // what would have reached it while it was paused, in order

	mu   sync.Mutex
	cont chan struct{} // while it is paused: closed when it goes on
	dead chan struct{} // closed when it was killed
}

var errKilled = errors.New("this process was killed")

// stalled is the server's Stalled: it returns when the process may go on.
func (l *life) stalled() {
	l.mu.Lock()
	cont := l.cont
	l.mu.Unlock()
	if cont == nil {
		return
	}
	select {
	case <-cont:
	case <-l.dead:
	}
}

func (l *life) killed() bool {
	select {
	case <-l.dead:
		return true
	default:
		return false
	}
}

func (l *life) paused() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cont != nil
}

// pause stops the process; resume lets it go on, and all that waited for it arrives at once.
func (l *life) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cont == nil {
		l.cont = make(chan struct{})
	}
}

func (l *life) resume() {
	l.mu.Lock()
	cont := l.cont
	l.cont = nil
	l.mu.Unlock()
	if cont == nil {
		return
	}
	close(cont)
	late := l.late
	l.late = nil
	for _, do := range late {
		l.c.after(0, do)
	}
}

// kill ends the process. Nothing it waits for will ever come, and what it does from now on reaches nobody.
func (l *life) kill() {
	if l.killed() {
		return
	}
	close(l.dead)
	l.late = nil
	for _, t := range l.waits {
		t.err = errKilled
		close(t.done)
	}
	l.waits = nil
	go l.server.Stop(context.Background()) //nolint:errcheck // nobody asks a killed process
}

// reach does something that arrives at the process: later, if it is paused, and never, if it is dead.
func (l *life) reach(do func()) {
	switch {
	case l.killed():
	case l.paused():
		l.late = append(l.late, func() { l.reach(do) })
	default:
		do()
	}
}

// trip is a call that leaves a process and comes back.
type trip struct {
	what, args string
	point      bool // a boundary: processes are killed and paused there
	there      [2]time.Duration
	back       [2]time.Duration
	// do is what happens at the other end, in the loop's goroutine. Nil: nothing.
	do   func(*trip)
	err  error // the answer
	lost bool  // no answer ever comes

	done chan struct{}
}

// go_ makes a trip. After an error of ctx nobody knows how it went on.
func (l *life) travel(ctx context.Context, t *trip) error {
	if l.killed() {
		return errKilled
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	t.done = make(chan struct{})
	l.c.post(l.name+" "+t.what+" "+t.args, func() { l.leave(t) })
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return ctx.Err()
	case <-l.dead:
		return errKilled
	}
}

// leave begins a trip, unless the process stands still.
func (l *life) leave(t *trip) {
	if l.killed() {
		return
	}
	if t.point {
		l.c.boundary(l, "before "+t.what, t.args)
	}
	if l.paused() {
		l.late = append(l.late, func() { l.leave(t) })
		return
	}
	if l.killed() {
		return
	}
	l.waits = append(l.waits, t)
	l.c.after(l.c.span(t.there[0], t.there[1]), func() { l.arrive(t) })
}

func (l *life) arrive(t *trip) {
	if t.do != nil {
		t.do(t)
	}
	outcome := "ok"
	switch {
	case t.lost:
		outcome = "no answer"
	case t.err != nil:
		outcome = t.err.Error()
	}
	l.c.note("%s/%d %s %s: %s", l.name, l.n, t.what, t.args, outcome)
	if t.lost {
		return
	}
	if t.point {
		l.c.boundary(l, "after "+t.what, t.args)
	}
	l.c.after(l.c.span(t.back[0], t.back[1]), func() { l.reach(func() { l.answer(t) }) })
}

func (l *life) answer(t *trip) {
	for i, w := range l.waits {
		if w == t {
			l.waits = append(l.waits[:i], l.waits[i+1:]...)
			close(t.done)
			return
		}
	}
}

func (l *life) String() string { return fmt.Sprintf("%s/%d", l.name, l.n) }
