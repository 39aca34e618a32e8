package fence

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Times of an OnMachine, unless the caller gives others.
const (
	// DefaultOnTimeout: some BMCs refuse power-on for tens of seconds after off
	// (discharge of the supplies, chassis manager still busy).
	DefaultOnTimeout = 2 * time.Minute
	// DefaultOnRetry is the pause before a refused power-on is tried again.
	DefaultOnRetry = 5 * time.Second
)

// OnOptions are the times of an OnMachine; zero values take the defaults.
type OnOptions struct {
	Timeout time.Duration // of the whole
	Retry   time.Duration // between two tries and between two readings
	// Renew obtains a fresh permit for each repetition, see OffOptions. Nil:
	// the first permit is asked again, and refuses once it is too old.
	Renew func(ctx context.Context) (Permit, error)
}

// OnOutcome is what became of one attempt to switch a machine's devices on.
type OnOutcome struct {
	// On: every device reads on.
	On      bool              `json:"on"`
	Devices []DeviceOnOutcome `json:"devices"`
}

// DeviceOnOutcome is one device's part of an OnOutcome.
type DeviceOnOutcome struct {
	Device string `json:"device"`
	Tries  int    `json:"tries"`
	On     bool   `json:"on"`
	// Last is the last reading of its power.
	Last Reading `json:"last"`
	Err  string  `json:"err,omitempty"`
}

// OnMachine switches the devices on and waits until each reads on. The caller
// hands in every device that was switched off, of whatever level. A refusal is
// tried again until the timeout; power-on does nothing to a machine that is on.
// Devices that share a controller take turns.
func OnMachine(ctx context.Context, devices []Device, permit Permit, opts OnOptions) OnOutcome {
	if opts.Timeout <= 0 {
		opts.Timeout = DefaultOnTimeout
	}
	if opts.Retry <= 0 {
		opts.Retry = DefaultOnRetry
	}
	ctx, cancel := context.WithTimeout(ctx, opts.Timeout)
	defer cancel()
	out := OnOutcome{On: len(devices) > 0, Devices: make([]DeviceOnOutcome, len(devices))}
	queues := map[string][]int{}
	for i, dev := range devices {
		queues[dev.Via()] = append(queues[dev.Via()], i)
	}
	var wg sync.WaitGroup
	for _, queue := range queues {
		wg.Go(func() {
			for n, i := range queue {
				first := permit
				if n > 0 && opts.Renew != nil {
					first = nil // the first permit has aged while others took their turn
				}
				out.Devices[i] = onOne(ctx, devices[i], first, opts)
			}
		})
	}
	wg.Wait()
	for _, d := range out.Devices {
		out.On = out.On && d.On
	}
	return out
}

// onOne tries until the device reads on, the permit is refused or the time is
// up. A nil permit means: renew first.
func onOne(ctx context.Context, dev Device, permit Permit, opts OnOptions) (out DeviceOnOutcome) {
	out.Device = dev.ID()
	for {
		if permit == nil {
			fresh, err := opts.Renew(ctx)
			if err != nil {
				out.Err = fmt.Sprintf("no fresh permit: %v", err)
				return out
			}
			permit = fresh
		}
		out.Tries++
		err := dev.On(ctx, permit)
		out.Err = ""
		if err != nil {
			out.Err = err.Error()
		}
		out.Last = Read(ctx, dev)
		if out.On = out.Last.State == StateOn; out.On {
			out.Err = ""
			return out
		}
		if errors.Is(err, ErrNoPermit) {
			return out // no permit: repeating wouldn't give one
		}
		if !sleep(ctx, opts.Retry) {
			out.Err = fmt.Sprintf("not on in time; last answer: %s", orNone(out.Err))
			return out
		}
		if out.Last = Read(ctx, dev); out.Last.State == StateOn {
			out.On, out.Err = true, ""
			return out
		}
		if opts.Renew != nil {
			permit = nil
		}
	}
}

func orNone(s string) string {
	if s == "" {
		return "accepted"
	}
	return s
}
