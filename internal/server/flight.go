package server

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/planted"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// flight is one act under way: what it may be sent by, and whether it still may.
type flight struct {
	r         *reign
	committed store.Permit
	withdrawn atomic.Pointer[string] // why it may not be sent any more
}

// begin notes an act, so that the engine's second thoughts reach it until it ends.
func (r *reign) begin(a engine.Action, p store.Permit) *flight {
	f := &flight{r: r, committed: p}
	if a.Do.Dangerous() {
		r.mu.Lock()
		r.flying[a.ID] = f
		r.mu.Unlock()
	}
	return f
}

func (r *reign) land(a engine.Action) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.flying, a.ID)
}

// withdraw stops acts that were decided on but not sent yet.
func (r *reign) withdraw(list []engine.Withdrawn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range list {
		if f := r.flying[w.Action]; f != nil {
			f.withdrawn.Store(&w.Why)
		}
	}
}

// permit is asked as the last thing before the bytes of a dangerous act leave. The intent is on record; if its permit
// has run out (a BMC's login took longer), the leadership is proved anew by a write on the epoch, which counts from now.
// Neither is enough when the engine has withdrawn the act meanwhile.
func (f *flight) permit() error {
	f.r.s.stalled()
	if planted.Permit {
		return nil
	}
	if f.committed.Check() == nil {
		return f.stands()
	}
	ctx, cancel := context.WithTimeout(f.r.ctx, f.r.s.times.Permit)
	defer cancel()
	fresh, err := f.r.s.store.Commit(ctx, f.r.epoch)
	if err != nil {
		return fmt.Errorf("no permit: %w", err)
	}
	if err := fresh.Check(); err != nil {
		return err
	}
	return f.stands()
}

// stands: the reign that decided the act goes on, and still wants it. A reign can end while the leadership, and with it
// the permit, goes on: its successor reads the records and decides anew.
func (f *flight) stands() error {
	if f.r.ctx.Err() != nil {
		return errNotLeading
	}
	if why := f.withdrawn.Load(); why != nil {
		return fmt.Errorf("not sent, since meanwhile: %s", *why)
	}
	return nil
}
