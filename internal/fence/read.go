package fence

import (
	"context"
	"fmt"
	"time"
)

// Reading is one look at the power of a device.
type Reading struct {
	State State `json:"state"`
	// Began and At are when the question was sent and when its answer (or the
	// failure) was there: the state held at some moment in between.
	Began time.Time `json:"began"`
	At    time.Time `json:"at"`
	// Err says in words why the state is unknown.
	Err string `json:"err,omitempty"`
}

// Read looks at a device's power once. Whatever goes wrong is a reading of
// StateUnknown with its reason.
func Read(ctx context.Context, dev Device) Reading {
	began := time.Now()
	state, err := dev.Power(ctx)
	r := Reading{State: state, Began: began, At: time.Now()}
	if err != nil {
		r.State, r.Err = StateUnknown, fmt.Sprintf("cannot read power: %v", err)
	}
	if r.State != StateOn && r.State != StateOff {
		r.State = StateUnknown
	}
	return r
}

// Watch reads a device's power again and again, at most once per every, and
// hands each reading to seen, until the context ends. A read that takes longer
// than every is followed at once by the next one, never joined by it. Seen is
// called by the same goroutine and should return soon.
func Watch(ctx context.Context, dev Device, every time.Duration, seen func(Reading)) {
	tick := time.NewTicker(max(every, 10*time.Millisecond))
	defer tick.Stop()
	for ctx.Err() == nil {
		r := Read(ctx, dev)
		if ctx.Err() != nil {
			return // the context's end is not a reading of the device
		}
		seen(r)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// sleep waits and reports whether the context still holds.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
