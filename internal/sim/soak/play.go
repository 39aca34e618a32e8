package soak

import (
	"time"
)

const (
	// healed is how long faults last at most after the cloud has settled.
	healed = 100 * time.Second
	// patience is how long after the last fault everything must be settled, or say why not: request_ttl and permit,
	// the back-off of what failed, and a reboot.
	patience = 150 * time.Second
)

// outcome is what a run came to.
type outcome struct {
	schedule schedule
	found    []string
	lines    []string
	sum      uint64
	virtual  time.Duration
	steps    uint64
	sends    int
}

// play runs a schedule. To be called in a bubble.
func play(s schedule) (outcome, error) {
	c, err := newCluster(s.o)
	if err != nil {
		return outcome{}, err
	}
	begin := time.Now().Add(settled)
	c.run(begin, nil)
	left := len(s.faults)
	for _, f := range s.faults {
		c.after(f.at, func() { left--; c.begin(f) })
	}
	broken := func() bool { return len(c.truth.found) > 0 }
	last := time.Duration(0)
	for _, f := range s.faults {
		last = max(last, f.at+f.lasts)
	}
	quiet := false
	var look func()
	look = func() {
		c.truth.look()
		quiet = left == 0 && time.Since(begin) > last+sec(8) && c.truth.quiet()
		c.after(time.Second, look)
	}
	c.after(time.Second, look)
	c.run(begin.Add(max(last, healed)+patience), func() bool { return broken() || quiet })
	if !broken() {
		c.truth.final()
	}
	out := outcome{schedule: s, found: c.truth.found, virtual: time.Since(begin), sends: c.truth.sends}
	out.sum, out.steps = c.sum, c.steps
	c.stop()
	out.lines = c.lines
	return out, nil
}
