package quiet

import (
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
)

// unanswered is the share of power readings that a device doesn't answer in time.
const unanswered = 0.005

// reader reads a host's power again and again, as fence.Watch does.
type reader struct {
	s     *server
	h     *host
	every time.Duration
	ended bool
}

// readPower has the power of exactly these hosts read.
func (s *server) readPower(wants []detect.Want) {
	wanted := make(map[string]time.Duration, len(wants))
	for _, w := range wants {
		if w.PowerEvery > 0 {
			wanted[w.Host] = w.PowerEvery
		}
	}
	for name, r := range s.readers {
		if wanted[name] != r.every {
			r.ended = true
			delete(s.readers, name)
		}
	}
	for _, w := range wants {
		if w.PowerEvery > 0 && s.readers[w.Host] == nil {
			r := &reader{s: s, h: s.c.named[w.Host], every: w.PowerEvery}
			s.readers[w.Host] = r
			r.read()
		}
	}
}

func (r *reader) over() bool { return r.ended || r.s.readers[r.h.name] != r }

// read asks the device and takes its answer: the state that holds when it answers.
func (r *reader) read() {
	s, c := r.s, r.s.c
	if r.over() {
		return
	}
	began := c.now
	c.in(30*time.Millisecond+time.Duration(c.rng.Int64N(int64(220*time.Millisecond))), func() {
		state := r.h.power
		if c.rng.Float64() < unanswered || !s.reachable() {
			state = detect.PowerUnknown
		}
		s.deliver(ownProbe-1-r.h.at, func() {
			if r.over() {
				return
			}
			c.result.Readings++
			s.step(detect.Power{Host: r.h.name, Device: "bmc-" + r.h.name, Bound: true, State: state, Level: 1, Of: 1})
			c.queue.add(max(began+r.every, c.now), r.read)
		})
	})
}
