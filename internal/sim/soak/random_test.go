package soak

import (
	_ "embed"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var (
	count = flag.Int("soak.n", 6, "how many random schedules")
	from  = flag.Uint64("soak.from", themed+1, "the first seed")
	step  = flag.Uint64("soak.step", 1, "from one seed to the next")
	seed  = flag.Uint64("soak.seed", 0, "play this one and print its trace")
	until = flag.Bool("soak.until", false, "end with the first violation: a planted bug is to be found")
	every = flag.Int("soak.replay", 50, "play one in so many twice and compare")
)

// one plays a schedule in a bubble of its own.
func one(t *testing.T, s schedule) (out outcome) {
	runtime.GC()
	replayBegin(s.o.Seed)
	defer replayEnd()
	synctest.Test(t, func(t *testing.T) {
		var err error
		if out, err = play(s); err != nil {
			t.Fatal(err)
		}
	})
	return out
}

// single gives a test one processor and no collection of garbage but between schedules.
func single(t *testing.T) {
	procs, percent := runtime.GOMAXPROCS(1), debug.SetGCPercent(-1)
	t.Cleanup(func() { runtime.GOMAXPROCS(procs); debug.SetGCPercent(percent) })
}

//go:embed testdata/seeds.txt
var seeds string

// TestSeeds plays the schedules that found something once.
func TestSeeds(t *testing.T) {
	single(t)
	for line := range strings.Lines(seeds) {
		number, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		seed, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			continue
		}
		if out := one(t, newSchedule(seed)); len(out.found) > 0 {
			t.Errorf("seed %d (%s): %s", seed, what, strings.Join(out.found, "\n  "))
		}
	}
}

// warm has what Go keeps for the life of a process (types, caches) made before anything counts: the first schedules use
// all of it.
func warm(t *testing.T) {
	if !replays {
		return
	}
	for n := range uint64(8) {
		one(t, newSchedule(n))
		one(t, newSchedule(themed+1+n))
	}
}

// TestSoak plays random schedules: a dozen with the other tests, as many as wanted by `make soak`.
func TestSoak(t *testing.T) {
	single(t)
	warm(t)
	if *seed != 0 {
		s := newSchedule(*seed)
		s.o.Trace = true
		out := one(t, s)
		fmt.Printf("%s\n%s\n", s, strings.Join(out.lines, "\n"))
		for _, v := range out.found {
			t.Error(v)
		}
		return
	}
	began, virtual, bad, sends := time.Now(), time.Duration(0), 0, 0
	said := began
	for i := range *count {
		if time.Since(said) >= time.Minute {
			said = time.Now()
			t.Logf("%d of %d schedules, %d with a violation", i, *count, bad)
		}
		s := newSchedule(*from + uint64(i)**step)
		out := one(t, s)
		virtual, sends = virtual+out.virtual, sends+out.sends
		if len(out.found) > 0 {
			bad++
			if *until {
				t.Logf("found after %d schedules, by seed %d: %s", i+1, s.o.Seed, out.found[0])
				return
			}
			t.Errorf("seed %d: %s\n%s", s.o.Seed, strings.Join(out.found, "\n  "), s)
		}
		if replays && *every > 0 && i%*every == 0 {
			if again := one(t, s); again.sum != out.sum {
				t.Errorf("seed %d does not replay: %x, then %x", s.o.Seed, out.sum, again.sum)
			}
		}
	}
	took := time.Since(began)
	t.Logf("%d schedules in %s (%.0f a minute), %s of virtual time, %d dangerous acts, %d with a violation", *count, took.Round(time.Millisecond),
		float64(*count)/took.Minutes(), virtual.Round(time.Second), sends, bad)
}
