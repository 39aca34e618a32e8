package soak

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

// in runs f on a cloud whose servers lead and know everything, and reports what was found to be wrong.
func in(t *testing.T, o Options, f func(*cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c, err := newCluster(o)
		if err != nil {
			t.Fatal(err)
		}
		c.run(time.Now().Add(settled), nil)
		f(c)
		for _, v := range c.truth.found {
			t.Error(v)
		}
		c.stop()
		if t.Failed() {
			t.Log("\n" + strings.Join(c.lines, "\n"))
		}
	})
}

// Three servers, one power cut: fenced, brought back, readmitted.
func TestPowerCut(t *testing.T) {
	in(t, Options{Seed: 1, Hosts: 5, VMs: 10, Racks: 2, Microversion: 93, Trace: true}, func(c *cluster) {
		c.w.PowerCut("h2")
		c.run(time.Now().Add(30*time.Second), nil)
		if down := c.w.VMsDown(); len(down) > 0 {
			t.Errorf("still down: %v", down)
		}
		incidents := c.truth.incidents()
		if len(incidents) != 1 || incidents[0].Phase != engine.PhaseClosed {
			t.Errorf("want one incident, closed: %v", incidents)
		}
		if n := c.truth.sends; n != 6 { // off, take-out, two evacuations, on, put-back
			t.Errorf("%d dangerous acts, want 6", n)
		}
	})
}
