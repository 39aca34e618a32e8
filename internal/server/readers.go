package server

import (
	"context"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/fence"
)

// reader reads a host's power again and again.
type reader struct {
	m     *machine
	every time.Duration
	stop  context.CancelFunc
}

// readPower has the power of exactly these hosts read, each so often. Readers of devices that an import has replaced,
// and of a host that is read in haste no more, are replaced.
func (w *watch) readPower(ctx context.Context, wanted map[string]time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for host, r := range w.readers {
		if every, still := wanted[host]; !still || every != r.every || w.s.fencing.of(host) != r.m {
			r.stop()
			delete(w.readers, host)
		}
	}
	for host, every := range wanted {
		if w.readers[host] != nil {
			continue
		}
		if r := w.read(ctx, host, every); r != nil {
			w.readers[host] = r
		}
	}
}

// read begins to read all of a host's devices.
func (w *watch) read(ctx context.Context, host string, every time.Duration) *reader {
	f := w.s.fencing
	m, release := f.hold(host)
	defer release()
	if m == nil {
		return nil
	}
	ctx, stop := context.WithCancel(ctx)
	for i, level := range m.levels {
		for _, d := range level {
			release := f.share(m)
			w.work.Go(func() {
				defer release()
				fence.Watch(ctx, d, every, func(r fence.Reading) {
					f.saw(m, d.ID(), r)
					w.s.ears.step(detect.Power{
						Host: host, Device: d.ID(), Via: d.Via(), Bound: f.counts(m, d.ID()),
						State: powerState(r.State), Level: i + 1, Of: len(level),
					})
				})
			})
		}
	}
	return &reader{m: m, every: every, stop: stop}
}

func powerState(s fence.State) detect.PowerState {
	switch s {
	case fence.StateOn:
		return detect.PowerOn
	case fence.StateOff:
		return detect.PowerOff
	default:
		return detect.PowerUnknown
	}
}
