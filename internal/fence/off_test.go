package fence_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

var errSilent = errors.New("no answer")

func TestOffLevel(t *testing.T) {
	tests := []struct {
		name    string
		devices []*fake
		proven  bool
		took    time.Duration // at most; a proof takes at least 1 s
		why     string
	}{
		{name: "obeys", devices: []*fake{{id: "a", state: fence.StateOn}}, proven: true, took: time.Second},
		{name: "off already", devices: []*fake{{id: "a", state: fence.StateOff}}, proven: true, took: time.Second},
		{name: "off already, says 409", devices: []*fake{{id: "a", state: fence.StateOff, offErr: errors.New("409")}}, proven: true, took: time.Second},
		{name: "no answer to off, but off", devices: []*fake{{id: "a", state: fence.StateOn, offErr: errSilent}}, proven: true, took: time.Second},
		{name: "lags 35 s", devices: []*fake{{id: "a", state: fence.StateOn, lag: 35 * time.Second}}, proven: true, took: 36500 * time.Millisecond},
		{
			name: "accepted is not off", devices: []*fake{{id: "a", state: fence.StateOn, ignores: true}},
			took: fence.DefaultOffTimeout, why: "a: off was accepted; still reads on",
		},
		{
			name: "silence is not off", devices: []*fake{{id: "a", state: fence.StateOn, readErr: func(int) error { return errSilent }}},
			took: fence.DefaultOffTimeout, why: "a: off was accepted; cannot read power: no answer",
		},
		{
			name: "one off reading is not off", devices: []*fake{{id: "a", state: fence.StateOn, readErr: after(1)}},
			took: fence.DefaultOffTimeout, why: "cannot read power: no answer",
		},
		{
			name: "silent in between", proven: true, took: 2 * time.Second,
			devices: []*fake{{id: "a", state: fence.StateOn, readErr: only(2)}},
		},
		{
			name: "on its way", devices: []*fake{{id: "a", state: fence.StateUnknown, ignores: true}},
			took: fence.DefaultOffTimeout, why: "neither on nor off",
		},
		{
			name: "two supplies", proven: true, took: time.Second,
			devices: []*fake{{id: "a", state: fence.StateOn}, {id: "b", state: fence.StateOn}},
		},
		{
			name: "one of two supplies stays on", took: fence.DefaultOffTimeout, why: "b: off was accepted; still reads on",
			devices: []*fake{{id: "a", state: fence.StateOn}, {id: "b", state: fence.StateOn, ignores: true}},
		},
		{
			name: "one of two supplies was not sent off", took: 0, why: "b: off was not sent: command not sent: no login",
			devices: []*fake{{id: "a", state: fence.StateOn}, {id: "b", state: fence.StateOff, offErr: fmt.Errorf("%w: no login", fence.ErrNotSent)}},
		},
		{name: "no devices", took: 0, why: "no devices"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				devices := make([]fence.Device, len(tt.devices))
				for i, d := range tt.devices {
					devices[i] = d
				}
				began := time.Now()
				out := fence.OffLevel(t.Context(), devices, granted, fence.OffOptions{})
				took := time.Since(began)
				if out.Proven != tt.proven || !strings.Contains(out.Why, tt.why) || (out.Why == "") != tt.proven {
					t.Errorf("proven %v, %q; want %v, %q", out.Proven, out.Why, tt.proven, tt.why)
				}
				if took > tt.took || tt.proven && took < time.Second {
					t.Errorf("took %v, want at most %v and at least 1 s for a proof", took, tt.took)
				}
				if out.Proven == out.At.IsZero() {
					t.Errorf("proven %v at %v", out.Proven, out.At)
				}
				for _, d := range tt.devices {
					if d.offs != 1 {
						t.Errorf("%s was sent off %d times", d.id, d.offs)
					}
				}
				for _, d := range out.Devices {
					if n := len(d.Readings); n > 6 {
						t.Errorf("%s: %d readings in the record", d.Device, n)
					}
				}
			})
		})
	}
}

// after answers n readings and is silent from then on.
func after(n int) func(int) error {
	return func(read int) error {
		if read > n {
			return errSilent
		}
		return nil
	}
}

// only is silent at reading n.
func only(n int) func(int) error {
	return func(read int) error {
		if read == n {
			return errSilent
		}
		return nil
	}
}

// A machine that somebody else switches on between two off readings was not off.
func TestOnInBetweenBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fake{id: "a", state: fence.StateOn}
		reads := 0
		d.readErr = func(int) error {
			reads++
			switch reads {
			case 2:
				d.state = fence.StateOn
			case 3:
				d.state = fence.StateOff
			}
			return nil
		}
		began := time.Now()
		out := fence.OffLevel(t.Context(), []fence.Device{d}, granted, fence.OffOptions{})
		if !out.Proven || reads != 4 || time.Since(began) < 2500*time.Millisecond {
			t.Errorf("proven %v after %d reads and %v; want 4 reads in 2.5 s", out.Proven, reads, time.Since(began))
		}
	})
}

// Two supplies must be off at the same time, not one after the other.
func TestSuppliesAreOffTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &fake{id: "a", state: fence.StateOn}
		b := &fake{id: "b", state: fence.StateOn, lag: 20 * time.Second}
		go func() {
			<-time.After(10 * time.Second)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.set(fence.StateOn) // a third party
		}()
		out := fence.OffLevel(t.Context(), []fence.Device{a, b}, granted, fence.OffOptions{})
		if out.Proven || !strings.HasPrefix(out.Why, "a: ") {
			t.Errorf("proven %v, %q; supply a was back on before b was off", out.Proven, out.Why)
		}
	})
}

func TestRefusedPermitSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fake{id: "a", state: fence.StateOff}
		expired := errors.New("deposed")
		out := fence.OffLevel(t.Context(), []fence.Device{d}, func() error { return expired }, fence.OffOptions{})
		if out.Proven || out.Devices[0].Sent || d.offs != 0 || !strings.Contains(out.Why, "deposed") {
			t.Errorf("outcome %+v, off sent %d times", out, d.offs)
		}
		if out := fence.OffLevel(t.Context(), []fence.Device{d}, nil, fence.OffOptions{}); out.Proven || d.offs != 0 {
			t.Errorf("without any permit: %+v", out)
		}
	})
}

// Two outlets of one PDU take turns; the second needs a permit that is still good.
func TestOutletsOfOneControllerTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		permitAt := func(born time.Time) fence.Permit {
			return func() error {
				if time.Since(born) > 2*time.Second {
					return errors.New("older than 2 s")
				}
				return nil
			}
		}
		devices := []fence.Device{
			&fake{id: "outlet 1", via: "pdu", state: fence.StateOn, takes: 1500 * time.Millisecond},
			&fake{id: "outlet 2", via: "pdu", state: fence.StateOn, takes: 1500 * time.Millisecond},
		}
		out := fence.OffLevel(t.Context(), devices, permitAt(time.Now()), fence.OffOptions{})
		if out.Proven || out.Devices[1].Sent {
			t.Errorf("the second outlet was sent off with an expired permit: %+v", out)
		}
		renewed := 0
		out = fence.OffLevel(t.Context(), devices, permitAt(time.Now()), fence.OffOptions{Renew: func(context.Context) (fence.Permit, error) {
			renewed++
			return permitAt(time.Now()), nil
		}})
		if !out.Proven || renewed != 1 {
			t.Errorf("proven %v (%s), renewed %d times", out.Proven, out.Why, renewed)
		}
	})
}

func TestGivenUpLevelIsNotProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
		defer cancel()
		d := &fake{id: "a", state: fence.StateOn}
		if out := fence.OffLevel(ctx, []fence.Device{d}, granted, fence.OffOptions{Gap: time.Millisecond}); out.Proven {
			t.Errorf("proven in 0.7 s: the gap of %v was not kept", fence.MinGap)
		}
	})
}

func TestOnIsTriedUntilItReadsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := errors.New("busy after off")
		d := &fake{id: "a", state: fence.StateOff, onErrs: []error{busy, busy, busy}}
		out := fence.OnMachine(t.Context(), []fence.Device{d}, granted, fence.OnOptions{})
		if !out.On || out.Devices[0].Tries != 4 {
			t.Errorf("outcome %+v", out)
		}
	})
}

func TestOnEndsWithoutPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		d := &fake{id: "a", state: fence.StateOff, onErrs: []error{errSilent, errSilent}}
		permit := func() error {
			if time.Since(began) > 2*time.Second {
				return errors.New("too old")
			}
			return nil
		}
		out := fence.OnMachine(t.Context(), []fence.Device{d}, permit, fence.OnOptions{})
		if out.On || d.ons != 1 || !strings.Contains(out.Devices[0].Err, "too old") {
			t.Errorf("outcome %+v, on sent %d times", out, d.ons)
		}
		renew := func(context.Context) (fence.Permit, error) { return granted, nil }
		if out := fence.OnMachine(t.Context(), []fence.Device{d}, permit, fence.OnOptions{Renew: renew}); out.On {
			t.Errorf("the first permit was too old: %+v", out)
		}
		if out := fence.OnMachine(t.Context(), []fence.Device{d}, granted, fence.OnOptions{Renew: renew}); !out.On {
			t.Errorf("outcome %+v", out)
		}
	})
}

func TestOnGivesUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fake{id: "a", state: fence.StateOff, readErr: func(int) error { return errSilent }}
		began := time.Now()
		out := fence.OnMachine(t.Context(), []fence.Device{d}, granted, fence.OnOptions{Timeout: 30 * time.Second})
		if out.On || time.Since(began) > 30*time.Second || !strings.Contains(out.Devices[0].Err, "not on in time") {
			t.Errorf("after %v: %+v", time.Since(began), out)
		}
	})
}

func TestWatchReadsAtItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2100*time.Millisecond)
		defer cancel()
		d := &fake{id: "a", state: fence.StateOff, readErr: only(2)}
		var seen []fence.State
		fence.Watch(ctx, d, 500*time.Millisecond, func(r fence.Reading) { seen = append(seen, r.State) })
		if want := "[off unknown off off off]"; fmt.Sprint(seen) != want {
			t.Errorf("seen %v, want %v", seen, want)
		}
	})
}
