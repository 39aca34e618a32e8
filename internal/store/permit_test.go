package store

import (
	"errors"
	"testing"
	"time"
)

type fakeClock struct {
	boot time.Duration
	wall time.Time
	err  error
}

func (c *fakeClock) Boot() (time.Duration, error) { return c.boot, c.err }
func (c *fakeClock) Wall() time.Time              { return c.wall }

func TestPermit(t *testing.T) {
	const ms = time.Millisecond
	for name, tc := range map[string]struct {
		boot, wall time.Duration // how far each clock goes
		err        error
		want       error
	}{
		"at once":                        {},
		"just in time":                   {boot: 1999 * ms, wall: 1999 * ms},
		"late":                           {boot: 2000 * ms, wall: 2000 * ms, want: ErrExpired},
		"suspended: wall clock is stuck": {boot: 3 * time.Hour, want: ErrExpired},
		"paused, then the wall jumps":    {boot: ms, wall: time.Hour, want: ErrExpired},
		"wall clock set back":            {boot: ms, wall: -ms, want: ErrExpired},
		"boot clock goes back":           {boot: -ms, wall: ms, want: ErrExpired},
		"boot clock unreadable":          {err: errors.New("no such clock"), want: ErrExpired},
	} {
		clock := &fakeClock{boot: time.Hour, wall: time.Unix(1e9, 0)}
		c := NewMemory(MemoryOptions{Clock: clock})
		s := c.Server("server-1")
		p := commit(t, s, (<-s.Lead(t.Context())).Epoch)
		clock.boot += tc.boot
		clock.wall = clock.wall.Add(tc.wall)
		clock.err = tc.err
		if err := p.Check(); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, expected %v", name, err, tc.want)
		}
	}
	wantErr(t, Permit{}.Check(), ErrExpired)
}

// The time that a commit takes counts: the permit begins with it.
func TestPermitCountsFromTheBeginning(t *testing.T) {
	clock := &tickingClock{step: 1500 * time.Millisecond}
	c := NewMemory(MemoryOptions{Clock: clock})
	s := c.Server("server-1")
	p := commit(t, s, (<-s.Lead(t.Context())).Epoch) // reads the clock once
	if err := p.Check(); err != nil {
		t.Fatalf("1.5 s after the commit was begun: %v", err)
	}
	wantErr(t, p.Check(), ErrExpired, "3s ago", "allowed are 2s")
}

// tickingClock goes on by step at each look.
type tickingClock struct{ now, step time.Duration }

func (c *tickingClock) Boot() (time.Duration, error) { c.now += c.step; return c.now, nil }
func (c *tickingClock) Wall() time.Time              { return time.Unix(1e9, 0).Add(c.now) }

func TestPermitFor(t *testing.T) {
	for _, tc := range []struct {
		servers  int
		election time.Duration
		want     time.Duration
	}{
		{1, time.Second, 2 * time.Second},
		{3, time.Second, 500 * time.Millisecond},
		{3, 4 * time.Second, 2 * time.Second},
		{5, 10 * time.Second, 2 * time.Second},
	} {
		if got := PermitFor(tc.servers, tc.election); got != tc.want {
			t.Errorf("%d servers, election timeout %v: %v, expected %v", tc.servers, tc.election, got, tc.want)
		}
	}
}

func TestSystemClock(t *testing.T) {
	var c SystemClock
	a, err := c.Boot()
	b, err2 := c.Boot()
	if err != nil || err2 != nil || a <= 0 || b < a {
		t.Errorf("time since boot is %v, then %v (%v, %v)", a, b, err, err2)
	}
}

func TestKeys(t *testing.T) {
	at := time.Date(2026, 11, 21, 2, 37, 5, 12, time.FixedZone("", 3600))
	key := AuditKey(at, 3)
	if want := "audit/2026-11-21T01:37:05.000000012Z-000003"; key != want {
		t.Errorf("audit key is %s, expected %s", key, want)
	}
	if got, err := AuditTime(key); err != nil || !got.Equal(at) {
		t.Errorf("its time is %v, %v; expected %v", got, err, at)
	}
	for _, bad := range []string{"hosts/x", "audit/", "audit/x", "audit/2026-1"} {
		if _, err := AuditTime(bad); err == nil {
			t.Errorf("%s passes as the key of an audit entry", bad)
		}
	}
	for _, name := range []string{"compute-01", "a/b", "50%", "rack 1"} {
		key := HostKey(name)
		if err := checkKey(key); err != nil || NameOf(key) != name {
			t.Errorf("host %q has the key %q (%v), which names %q", name, key, err, NameOf(key))
		}
	}
}

func TestEncode(t *testing.T) {
	for name, body := range map[string]any{"list": []int{1}, "null": nil, "channel": make(chan int), "taken": map[string]int{"v": 1}} {
		if b, err := Encode(1, body); err == nil {
			t.Errorf("%s: encoded as %s", name, b)
		}
	}
	b, err := Encode(3, struct{}{})
	if err != nil || string(b) != `{"v":3}` {
		t.Errorf("an empty record is %s, %v", b, err)
	}
	if _, err := Encode(0, struct{}{}); err == nil {
		t.Error("format version 0 was accepted")
	}
	var v thing
	if n, err := Decode(Record{Key: "k", Value: []byte(`{"v":1,"word":"x","added":true}`)}, 2, &v); n != 1 || err != nil || v.Word != "x" {
		t.Errorf("decoded %+v of version %d, %v", v, n, err)
	}
}
