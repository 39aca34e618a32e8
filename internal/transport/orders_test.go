package transport

import (
	"errors"
	"testing"
	"time"
)

func TestEpochFence(t *testing.T) {
	f := &EpochFence{}
	var stale *StaleEpochError
	if err := f.Admit(0); !errors.As(err, &stale) {
		t.Fatalf("an order without an epoch: %v, want a StaleEpochError", err)
	}
	for _, step := range []struct {
		epoch uint64
		ok    bool
	}{{3, true}, {3, true}, {2, false}, {5, true}, {3, false}, {5, true}} {
		if err := f.Admit(step.epoch); (err == nil) != step.ok {
			t.Fatalf("Admit(%d) after %d: %v", step.epoch, f.Highest(), err)
		}
	}
	f.See(4) // a server that has not yet heard of epoch 5
	if err := f.Admit(4); err == nil || f.Highest() != 5 {
		t.Fatalf("epoch 4 was admitted after 5; highest is %d", f.Highest())
	}
	f.See(6)
	if err := f.Admit(5); err == nil {
		t.Fatal("epoch 5 was admitted after an ack of epoch 6")
	}
}

func TestJudge(t *testing.T) {
	now := time.Now()
	o := order{id: 1, epoch: 5, validity: 2 * time.Second}
	gate := order{epoch: 5, endless: true}
	for name, c := range map[string]struct {
		o     order
		given time.Time
		known bool
		until time.Time
		err   string
	}{
		"young":         {o, now.Add(-time.Second), true, now.Add(time.Second), ""},
		"too late":      {o, now.Add(-3 * time.Second), true, time.Time{}, "came too late: it was valid for 2s"},
		"age unknown":   {o, time.Time{}, false, time.Time{}, "age can't be told"},
		"no validity":   {order{epoch: 5}, now, true, time.Time{}, "no deadline"},
		"old epoch":     {order{epoch: 4, validity: time.Second}, now, true, time.Time{}, "epoch 4, but epoch 5 has begun"},
		"gate":          {gate, time.Time{}, false, time.Time{}, ""},
		"gate, old":     {order{epoch: 4, endless: true}, now, true, time.Time{}, "epoch 4"},
		"clock was set": {o, now.Round(0).Add(-3 * time.Second), true, time.Time{}, "too late"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &EpochFence{}
			f.See(5)
			until, err := c.o.judge(f, c.given, c.known, now)
			if c.err != "" {
				wantError(t, err, c.err)
				return
			}
			if err != nil || !until.Equal(c.until) {
				t.Fatalf("until %v, %v; want %v", until, err, c.until)
			}
		})
	}
}

func TestPulseLogRemembers(t *testing.T) {
	p, t0 := &pulseLog{}, time.Now()
	if _, ok := p.sent(0); ok {
		t.Error("pulse 0 is known")
	}
	for i := range 300 {
		p.next(t0.Add(time.Duration(i+1) * time.Second))
	}
	for seq, want := range map[uint64]bool{300: true, 45: true, 44: false, 301: false, 1: false} {
		at, ok := p.sent(seq)
		if ok != want || ok && !at.Equal(t0.Add(time.Duration(seq)*time.Second)) {
			t.Errorf("pulse %d: %v, %t; want known: %t", seq, at.Sub(t0), ok, want)
		}
	}
}

func TestRetryDelay(t *testing.T) {
	for n, most := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
		for range 100 {
			if d := retryDelay(n); d < most/10 || d > most {
				t.Fatalf("retry %d waits %s, want %s to %s", n, d, most/10, most)
			}
		}
	}
	if d := retryDelay(1000); d > 5*time.Second {
		t.Fatalf("retry 1000 waits %s", d)
	}
}

func TestBoot(t *testing.T) {
	b, err := ParseBoot("7c1e0b52-9d3f-4a60-8f4e-2f6a1b0c9d8e\n")
	must(t, err)
	if b.String() != "7c1e0b52-9d3f-4a60-8f4e-2f6a1b0c9d8e" || b.IsZero() {
		t.Fatalf("boot is %s", b)
	}
	for _, bad := range []string{"", "x", "7c1e0b529d3f4a608f4e2f6a1b0c9d8e", "{7c1e0b52-9d3f-4a60-8f4e-2f6a1b0c9d8e}",
		"00000000-0000-0000-0000-000000000000", "7c1e0b52-9d3f-4a60-8f4e-2f6a1b0c9d8g"} {
		if _, err := ParseBoot(bad); err == nil {
			t.Errorf("ParseBoot(%q) took it", bad)
		}
	}
}
