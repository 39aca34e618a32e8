package detect

import (
	"fmt"
	"testing"
	"time"
)

// cloud makes a detector that has heard n hosts once.
func cloud(tb testing.TB, n int) (*Detector, []Pulse) {
	tb.Helper()
	times, err := Derive(Config{})
	if err != nil {
		tb.Fatal(err)
	}
	d := New(times)
	pulses := make([]Pulse, n)
	for i := range pulses {
		name := fmt.Sprintf("compute-%05d", i)
		d.Step(zero, HostKnown{Host: name, Zone: "nova", Planes: []Plane{Management, Storage}, Protected: true})
		pulses[i] = Pulse{Host: name, Boot: "b" + name, Stream: "1", Server: "s1"}
		d.Step(zero, pulses[i])
	}
	return d, pulses
}

// BenchmarkPulse is one pulse of one of 10,000 healthy hosts at one pulse a second each, with a Tick every 50 ms.
func BenchmarkPulse(b *testing.B) {
	d, pulses := cloud(b, 10_000)
	now := zero
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		now = now.Add(100 * time.Microsecond)
		if cs := d.Step(now, pulses[i%len(pulses)]); len(cs) > 0 {
			b.Fatalf("a healthy host changed: %+v", cs)
		}
		if i%500 == 0 {
			if cs := d.Step(now, Tick{}); len(cs) > 0 {
				b.Fatalf("a healthy host changed: %+v", cs)
			}
		}
		i++
	}
}

// TestPulseAllocatesNothing: 10,000 hosts at a pulse a second leave no garbage, ticks included.
func TestPulseAllocatesNothing(t *testing.T) {
	d, pulses := cloud(t, 1000)
	now := zero
	i := 0
	round := func() {
		for range pulses {
			now = now.Add(time.Millisecond)
			d.Step(now, pulses[i%len(pulses)])
			if i++; i%50 == 0 {
				d.Step(now, Tick{})
			}
		}
	}
	round()
	if got := testing.AllocsPerRun(5, round); got > 0 {
		t.Errorf("%v allocations in a second of 1,000 hosts, expected none", got)
	}
}

// TestStorm: 10,000 hosts fall silent at once and come back; nobody is dead, everybody is counted.
func TestStorm(t *testing.T) {
	d, pulses := cloud(t, 10_000)
	suspects := 0
	for at := 100 * time.Millisecond; at < 10*time.Second; at += 100 * time.Millisecond {
		for _, c := range d.Step(zero.Add(at), Tick{}) {
			if !c.Suspect {
				t.Fatalf("%s is %s: %s", c.Host, c.Verdict, c.Reason)
			}
			suspects++
		}
	}
	back := zero.Add(10 * time.Second)
	for _, p := range pulses {
		d.Step(back, p)
	}
	if s := d.Snapshot(back); suspects != 10_000 || len(s.Troubled) != 10_000 || s.Suspects != 0 || s.Seen["nova"] != 10_000 {
		t.Errorf("suspects %d, then %d, troubled %d, seen %v; expected 10000, 0, 10000, 10000", suspects, s.Suspects, len(s.Troubled), s.Seen)
	}
	if len(d.Wanted(back)) != 0 {
		t.Error("hosts that pulse are still wanted")
	}
}
