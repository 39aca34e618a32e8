package detect

import (
	"fmt"
	"testing"
	"time"
)

// A wave that never ends must not keep the dead from being found: two minutes is the most.
func TestAWaveEnds(t *testing.T) {
	times, err := Derive(Config{})
	if err != nil {
		t.Fatal(err)
	}
	d, began := New(times), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d.Step(began, Takeover{})
	host := func(i int) string { return fmt.Sprintf("h%03d", i) }
	for i := range 200 {
		d.Step(began, HostKnown{Host: host(i), Planes: []Plane{Management}, Protected: true, Boot: host(i)})
	}
	for i := 1; i < 200; i++ { // h000 never comes; one of the others comes each second
		now := began.Add(time.Duration(i) * time.Second)
		d.Step(now, Pulse{Host: host(i), Boot: host(i), Stream: "1", Server: "s1"})
		d.Step(now, Tick{})
		as, _ := d.Assess(now, host(0))
		if want := now.Sub(began) >= times.WaveMost; as.Suspect != want {
			t.Fatalf("after %s, with agents still coming: suspect is %t", now.Sub(began), as.Suspect)
		}
	}
}
