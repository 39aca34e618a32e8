package detect

import (
	"testing"
	"time"
)

func TestLoopTellsEachLatenessOnce(t *testing.T) {
	var l Loop
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	if late := l.Late(at(0)); late != 0 {
		t.Errorf("late by %v before the first Tick, expected not to be", late)
	}
	l.Ticked(at(0))
	for _, step := range []struct{ ms, late int }{
		{50, 0}, {100, 0}, // one tick may be missed
		{5050, 5000}, {5060, 0}, // told once
		{5200, 0 + 100}, // and the loop still hasn't come round
	} {
		if late := l.Late(at(step.ms)); late != time.Duration(step.late)*time.Millisecond {
			t.Errorf("at %d ms late by %v, expected %d ms", step.ms, late, step.late)
		}
	}
	l.Ticked(at(5210))
	if late := l.Late(at(5260)); late != 0 {
		t.Errorf("late by %v right after a Tick, expected not to be", late)
	}
}

// A server pauses for 2 s at the end of a stall of 10 s. When it goes on, the outcome of a probe is there before the
// pulses are read: it must not complete a silence that nobody listened to.
func TestPauseIsToldBeforeAnythingElse(t *testing.T) {
	for _, told := range []bool{true, false} {
		d, _ := cloud(t, 5)
		var l Loop
		host := "compute-00000"
		dead := false
		see := func(cs []Change) {
			for _, c := range cs {
				dead = dead || c.Host == host && c.Verdict == Dead
			}
		}
		step := func(ms int, o Observation) {
			now := zero.Add(time.Duration(ms) * time.Millisecond)
			if late := l.Late(now); told && late > 0 {
				see(d.Step(now, Late{By: late}))
			}
			see(d.Step(now, o))
			if _, tick := o.(Tick); tick {
				l.Ticked(now)
			}
		}
		silence := func(ms int) {
			for _, p := range []Plane{Management, Storage} {
				step(ms, Probe{Host: host, Plane: p, Prober: "s1", Valid: true})
			}
		}
		for ms := 50; ms <= 10_150; ms += 50 {
			if ms >= 2000 && ms%500 == 0 {
				silence(ms)
			}
			if ms%1000 == 0 {
				for n := 1; n < 5; n++ {
					step(ms, Pulse{Host: "compute-0000" + string(rune('0'+n)), Boot: "bcompute-0000" + string(rune('0'+n)), Stream: "1", Server: "s1"})
				}
			}
			step(ms, Tick{})
		}
		silence(10_150)
		silence(12_050)
		if dead == told {
			t.Errorf("with lateness told before each observation: %t; dead: %t, expected %t", told, dead, !told)
		}
	}
}
