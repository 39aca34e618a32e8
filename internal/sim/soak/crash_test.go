package soak

import (
	"flag"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

var crashEvery = flag.Int("soak.crash", 40, "die at one in so many of the boundaries of a recovery; 1: at each")

// atBoundary are the points of a recovery at which a server can die so that it makes a difference: before a commit is
// sent, when it is written and its answer on the way, before an act is sent, and when it has arrived and its answer hasn't.
func atBoundary(point, _ string) bool {
	return point == "before commit" || point == "before committed" || strings.HasPrefix(point, "before send") || strings.HasPrefix(point, "after send")
}

// strike is what happens to the leader of a recovery.
type strike struct {
	n   int                           // at which of the boundaries; 0: nowhere
	at  func(point, what string) bool // which boundaries count
	hit func(*cluster, *life)
}

// recover10 cuts the power of a host with ten VMs and lets the strike come. It returns how many boundaries there were,
// and which one it was.
func recover10(t *testing.T, s strike, trace bool) (points int, where string, c *cluster) {
	replayBegin(uint64(s.n))
	defer replayEnd()
	synctest.Test(t, func(t *testing.T) {
		var err error
		c, err = newCluster(Options{Seed: 42, Hosts: 5, VMs: 10, Racks: 2, Microversion: 93, Full: "h1", Trace: trace})
		if err != nil {
			t.Fatal(err)
		}
		c.run(time.Now().Add(settled), nil)
		c.w.PowerCut("h1")
		first := c.leader()
		c.atPoint = func(l *life, point, what string) {
			if l != first || !s.at(point, what) {
				return
			}
			if points++; points == s.n {
				where = point + " " + what
				c.note("at %s", where)
				s.hit(c, l)
			}
		}
		quiet := false
		var look func()
		look = func() {
			quiet = len(c.truth.incidents()) > 0 && c.truth.quiet()
			c.after(time.Second, look)
		}
		c.after(3*time.Second, look)
		c.run(time.Now().Add(patience), func() bool { return quiet || len(c.truth.found) > 0 })
		c.atPoint = nil
		c.truth.final()
		for _, id := range c.w.VMsDown() {
			c.truth.fail("%s is down", c.vm(id))
		}
		for _, r := range c.truth.recoveries() {
			if !r.State.Settled() {
				c.truth.fail("%s ends as %s", r.VM.Name, r.State)
			}
		}
		incidents := c.truth.incidents()
		if len(incidents) != 1 || incidents[0].Phase != engine.PhaseClosed {
			c.truth.fail("want one incident, closed, not %d", len(incidents))
		}
		c.stop()
	})
	return points, where, c
}

// The leader dies at the boundaries of a recovery, one run for each: the next one completes it, nothing is sent twice.
func TestCrashPoints(t *testing.T) {
	enumerate(t, "dies", *crashEvery, strike{at: atBoundary, hit: func(c *cluster, l *life) { c.killServer(l.name, 5*time.Second) }})
}

// enumerate lets a strike come at each boundary, or at one in so many, a run for each. It returns where it came.
func enumerate(t *testing.T, what string, every int, s strike) (at []string) {
	t.Helper()
	single(t)
	all, _, c := recover10(t, s, false)
	if len(c.truth.found) > 0 || all < 40 {
		t.Fatalf("undisturbed: %d boundaries, %v", all, c.truth.found)
	}
	for s.n = 1; s.n <= all; s.n += every {
		_, where, c := recover10(t, s, false)
		at = append(at, where)
		if len(c.truth.found) == 0 {
			continue
		}
		_, _, again := recover10(t, s, true)
		t.Errorf("%s at boundary %d (%s): %s", what, s.n, where, strings.Join(c.truth.found, "; "))
		if every > 1 {
			t.Log(strings.Join(again.lines, "\n"))
		}
	}
	t.Logf("%d boundaries, %s at %d of them", all, what, len(at))
	return at
}
