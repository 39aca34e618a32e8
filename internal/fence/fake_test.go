package fence_test

import (
	"context"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

// fake is a device in virtual time.
type fake struct {
	id, via string

	mu      sync.Mutex
	state   fence.State
	lag     time.Duration // how long the old state is read after a command
	changed time.Time
	old     fence.State
	offErr  error // answer to off
	ignores bool  // the command changes nothing
	readErr func(n int) error
	takes   time.Duration // a command takes this long
	reads   int
	offs    int
	onErrs  []error // answers to on, one after the other
	ons     int
}

func (f *fake) ID() string     { return f.id }
func (f *fake) Driver() string { return "fake" }
func (f *fake) Via() string {
	if f.via != "" {
		return f.via
	}
	return f.id
}
func (f *fake) Close() error { return nil }
func (f *fake) Identity(context.Context) (fence.Identity, error) {
	return fence.Identity{}, fence.ErrNoIdentity
}
func (f *fake) Check(ctx context.Context) fence.Health { return fence.Examine(ctx, f) }

func (f *fake) Power(context.Context) (fence.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if f.readErr != nil {
		if err := f.readErr(f.reads); err != nil {
			return fence.StateUnknown, err
		}
	}
	if time.Since(f.changed) < f.lag {
		return f.old, nil
	}
	return f.state, nil
}

func (f *fake) set(s fence.State) {
	f.old, f.state, f.changed = f.state, s, time.Now()
}

func (f *fake) Off(_ context.Context, permit fence.Permit) error {
	<-time.After(f.takes)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := permit.Ask(); err != nil {
		return err
	}
	f.offs++
	if !f.ignores {
		f.set(fence.StateOff)
	}
	return f.offErr
}

func (f *fake) On(_ context.Context, permit fence.Permit) error {
	<-time.After(f.takes)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := permit.Ask(); err != nil {
		return err
	}
	f.ons++
	if len(f.onErrs) > 0 {
		err := f.onErrs[0]
		f.onErrs = f.onErrs[1:]
		if err != nil {
			return err
		}
	}
	f.set(fence.StateOn)
	return nil
}

func granted() error { return nil }
