package detect

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type timed struct {
	at time.Duration
	o  Observation
}

// draw makes a random life of h1 and five neighbours: phases of up to 40 s in which each source says the same thing.
func draw(t *rapid.T) []timed {
	var all []timed
	add := func(at time.Duration, o Observation) { all = append(all, timed{at, o}) }
	names := []string{"h1", "h2", "h3", "h4", "h5", "h6"}
	for _, n := range names {
		add(0, HostKnown{Host: n, Planes: []Plane{Management, Storage}, Protected: true})
	}
	from := time.Duration(0)
	for phase := range rapid.IntRange(2, 6).Draw(t, "phases") {
		to := from + time.Duration(rapid.IntRange(1, 400).Draw(t, "tenths"))*100*time.Millisecond
		dark := phase > 0 && rapid.Bool().Draw(t, "dark") // or hardly any life would end in a verdict
		pulse := phase == 0 || (!dark && rapid.Bool().Draw(t, "pulses"))
		boot := rapid.SampledFrom([]string{"a", "a", "a", "b"}).Draw(t, "boot")
		mass := rapid.Bool().Draw(t, "neighbours pulse")
		power := rapid.SampledFrom([]PowerState{PowerOn, PowerOff, PowerUnknown}).Draw(t, "power")
		if phase == 0 {
			power = PowerOn
		}
		bound := rapid.Bool().Draw(t, "bound")
		answers := map[Plane]Answer{}
		valid := map[Plane]bool{}
		for _, p := range []Plane{Management, Storage} {
			answers[p] = rapid.SampledFrom([]Answer{AnswerNone, AnswerNone, AnswerKernel, AnswerAgent}).Draw(t, "answer")
			if dark {
				answers[p] = AnswerNone
			}
			valid[p] = rapid.Bool().Draw(t, "valid")
		}
		for at := from; at < to; at += time.Second {
			if pulse {
				add(at+110*time.Millisecond, Pulse{Host: "h1", Boot: boot, Stream: boot, Server: "s1"})
			}
			for _, n := range names[1:] {
				if mass {
					add(at+120*time.Millisecond, Pulse{Host: n, Boot: "a", Stream: "1", Server: "s1"})
				}
			}
		}
		for at := from; at < to; at += 500 * time.Millisecond {
			add(at+130*time.Millisecond, Power{Host: "h1", Device: "bmc", Bound: bound, State: power})
			for i, p := range []Plane{Management, Storage} {
				add(at+time.Duration(140+i)*time.Millisecond, Probe{Host: "h1", Plane: p, Prober: "s1", Answer: answers[p], Valid: valid[p]})
			}
		}
		from = to
	}
	slices.SortStableFunc(all, func(a, b timed) int { return int(a.at - b.at) })
	return all
}

// play feeds a life with a Tick every 100 ms and shows each change to see, which may be nil.
func play(all []timed, see func(at time.Duration, c Change)) *Detector {
	times, err := Derive(Config{})
	if err != nil {
		panic(err)
	}
	d := New(times)
	next := time.Duration(0)
	step := func(at time.Duration, o Observation) {
		for _, c := range d.Step(zero.Add(at), o) {
			if see != nil {
				see(at, c)
			}
		}
	}
	for _, e := range all {
		for ; next < e.at; next += 100 * time.Millisecond {
			step(next, Tick{})
		}
		step(e.at, e.o)
	}
	return d
}

// TestLifeForbidsDeath: life on any plane within dead_after forbids `dead`, and after the first of the two readings,
// `off`. Neither comes from one kind of evidence, or from an unbound device.
func TestLifeForbidsDeath(t *testing.T) {
	deaths := map[Verdict]int{}
	rapid.Check(t, func(t *rapid.T) {
		all := draw(t)
		play(all, func(at time.Duration, c Change) {
			if c.Host != "h1" || c.Suspect {
				return
			}
			deaths[c.Verdict]++
			life, offs, nones := lookBack(all, at)
			switch c.Verdict {
			case Dead:
				if at-life < 12*time.Second || nones == 0 {
					t.Fatalf("dead at %v; last life at %v, %d probes by valid witnesses in vain", at, life, nones)
				}
			case Off:
				if at-life < time.Second || len(offs) < 2 || offs[len(offs)-1]-offs[0] < time.Second {
					t.Fatalf("off at %v; last life at %v, bound readings %v", at, life, offs)
				}
			}
		})
	})
	t.Logf("verdicts seen: %v", deaths)
	for _, v := range []Verdict{Off, Dead, Rebooted, Up} {
		if deaths[v] == 0 {
			t.Errorf("no life ended in %q: the property wasn't tried", v)
		}
	}
}

// lookBack reads from the observations themselves, not from the detector, what may be known of h1 at a time.
func lookBack(all []timed, now time.Duration) (life time.Duration, offs []time.Duration, nones int) {
	for _, e := range all {
		if e.at > now {
			break
		}
		switch o := e.o.(type) {
		case Pulse:
			if o.Host == "h1" {
				life, offs, nones = e.at, nil, 0
			}
		case Probe:
			if o.Answer != AnswerNone {
				life, offs, nones = e.at, nil, 0
			} else if o.Valid {
				nones++
			}
		case Power:
			if o.Bound && o.State == PowerOff {
				offs = append(offs, e.at)
			}
		}
	}
	return life, offs, nones
}

// TestLateNeverEarlier: the same observations with lateness told in between never make a verdict about a silence come
// earlier.
func TestLateNeverEarlier(t *testing.T) {
	compared := 0
	rapid.Check(t, func(t *rapid.T) {
		all := slices.DeleteFunc(draw(t), func(e timed) bool { _, power := e.o.(Power); return power })
		first := func(all []timed) time.Duration {
			dead := time.Duration(-1)
			play(all, func(at time.Duration, c Change) {
				if c.Host == "h1" && c.Verdict == Dead && dead < 0 {
					dead = at
				}
			})
			return dead
		}
		plain := first(all)
		end := all[len(all)-1].at
		late := slices.Clone(all)
		for range rapid.IntRange(1, 5).Draw(t, "times late") {
			at := time.Duration(rapid.Int64Range(0, int64(end)).Draw(t, "late at"))
			by := time.Duration(rapid.Int64Range(0, int64(30*time.Second)).Draw(t, "late by"))
			late = append(late, timed{at, Late{By: min(by, at)}})
		}
		slices.SortStableFunc(late, func(a, b timed) int { return int(a.at - b.at) })
		if slow := first(late); slow >= 0 && (plain < 0 || slow < plain) {
			t.Fatalf("dead at %v with lateness, at %v without", slow, plain)
		}
		if plain >= 0 {
			compared++
		}
	})
	if compared == 0 {
		t.Error("no life ended in dead: nothing was compared")
	}
}

// TestCounts: the counters of Snapshot agree with the hosts one by one, and every host that may change has a timer.
func TestCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := draw(t)
		d := play(all, nil)
		now := zero.Add(all[len(all)-1].at)
		s, suspects, verdicts := d.Snapshot(now), 0, map[Verdict]int{}
		for name, h := range d.hosts {
			a, _ := d.Assess(now, name)
			verdicts[a.Verdict]++
			if a.Suspect {
				suspects++
			}
			if (a.Suspect || h.heard) && h.heapAt < 0 {
				t.Fatalf("%s has no timer", name)
			}
			if troubled := slices.ContainsFunc(s.Troubled, func(x Trouble) bool { return x.Host == name }); (a.Suspect || a.Verdict.Worse()) && !troubled {
				t.Fatalf("%s is %s (suspect %v) and not among the troubled", name, a.Verdict, a.Suspect)
			}
		}
		if suspects != s.Suspects {
			t.Fatalf("%d suspects, counted %d", suspects, s.Suspects)
		}
		for v, n := range verdicts {
			if s.Verdicts[v] != n {
				t.Fatalf("%d hosts are %s, counted %d", n, v, s.Verdicts[v])
			}
		}
	})
}

func TestDeriveFloors(t *testing.T) {
	for _, c := range []struct {
		set  Config
		want string
	}{
		{Config{Pulse: 10 * time.Millisecond}, "pulse: 10ms is below the floor of 200ms"},
		{Config{Pulse: time.Minute}, "pulse: 1m0s is above the ceiling of 5s"},
		{Config{Pulse: -time.Second}, "pulse: -1s is below"},
		{Config{DeadAfter: 5 * time.Second}, "dead_after: 5s is below the floor of 11.5s"},
		{Config{HungAfter: 30 * time.Second}, "hung_after: 30s is below the floor of 1m10s"},
		{Config{Leaving: time.Second}, "leaving: 1s is below the floor of 40s"},
		{Config{RebootWait: time.Second}, "reboot_wait: 1s is below the floor of 30s"},
		{Config{RequestTTL: time.Second}, "request_ttl: 1s is below the floor of 1m2s"},
		{Config{ElectionTimeout: time.Millisecond}, "election_timeout: 1ms is below the floor of 1s"},
	} {
		if _, err := Derive(c.set); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("Derive(%+v): expected %q, came %v", c.set, c.want, err)
		}
	}
}

// TestDeriveHolds: whatever is accepted keeps the relations that safety rests on.
func TestDeriveHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ms := func(name string, most int) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(t, name)) * time.Millisecond
		}
		x, err := Derive(Config{
			Pulse: ms("pulse", 6000), DeadAfter: ms("dead", 200_000), HungAfter: ms("hung", 600_000),
			ElectionTimeout: ms("election", 10_000),
		})
		if err != nil {
			return
		}
		switch {
		case x.DeadTwoPlanes < worstStall+x.Pulse, x.DeadOnePlane <= x.DeadTwoPlanes, x.HungAfter < x.DeadOnePlane,
			x.Leaving <= x.DeadOnePlane, x.witnessSpan(x.DeadTwoPlanes) <= x.WitnessWindow, x.Permit > 2*time.Second,
			x.RequestTTL <= proxyTimeout, x.PowerReadEvery >= x.OffReadGap:
			t.Fatalf("%+v", x)
		}
	})
}
