package ipmi_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

func powerOf(t *testing.T, dev fence.Device) fence.State {
	t.Helper()
	s, err := dev.Power(context.Background())
	if err != nil {
		t.Fatalf("Power: %v", err)
	}
	return s
}

func TestOffAndOnAreReadBack(t *testing.T) {
	for _, suites := range [][]types.CipherSuiteID{{types.CipherSuiteID17}, {types.CipherSuiteID3}} {
		t.Run(fmt.Sprint("suite ", suites[0]), func(t *testing.T) {
			b := startBMC(t, bmc.PrivilegeLevelOperator, suites...)
			dev := open(t, b.spec(t, password), 0)
			if s := powerOf(t, dev); s != fence.StateOn {
				t.Fatalf("power is %s at the start, want on", s)
			}
			if err := dev.Off(context.Background(), granted); err != nil {
				t.Fatal(err)
			}
			if s := powerOf(t, dev); s != fence.StateOff {
				t.Errorf("power is %s after off", s)
			}
			if err := dev.On(context.Background(), granted); err != nil {
				t.Fatal(err)
			}
			if s := powerOf(t, dev); s != fence.StateOn {
				t.Errorf("power is %s after on", s)
			}
			if got, want := b.sentCommands(), []bool{false, true}; !slices.Equal(got, want) {
				t.Errorf("the BMC got the commands %v, want %v", got, want)
			}
		})
	}
}

func TestIdentityMatchesDMI(t *testing.T) {
	b := startBMC(t, bmc.PrivilegeLevelOperator)
	id, err := open(t, b.spec(t, password), 0).Identity(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, dmi := range []string{"4c4c4544-0032-4b10-8035-b4c04f385132", "44454c4c-3200-104b-8035-b4c04f385132"} {
		if !id.Match(fence.Identity{UUID: dmi}) {
			t.Errorf("%+v doesn't match product_uuid %s", id, dmi)
		}
	}
	if id.Match(fence.Identity{UUID: "4c4c4544-0032-4b10-8035-b4c04f385133"}) {
		t.Error("another machine's UUID matches")
	}
}

func TestCheckNamesTheTrouble(t *testing.T) {
	t.Parallel()
	silent := startBMC(t, bmc.PrivilegeLevelOperator)
	silent.set(func() { silent.lose = func(bool, []byte) bool { return true } })
	tests := []struct {
		name     string
		bmc      *testBMC
		password string
		trouble  string
		is       error
	}{
		{"good", startBMC(t, bmc.PrivilegeLevelOperator), password, "", nil},
		{"wrong password", startBMC(t, bmc.PrivilegeLevelOperator), "nope", "login: BMC login refused: check user name and password", fence.ErrLogin},
		{"user level only", startBMC(t, bmc.PrivilegeLevelUser), password, "privilege: ", fence.ErrPrivilege},
		{"silent", silent, password, "reach: no answer from the BMC", fence.ErrUnreachable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dev := open(t, tt.bmc.spec(t, tt.password), 300*time.Millisecond)
			h := dev.Check(context.Background())
			if got := h.Trouble(); !strings.HasPrefix(got, tt.trouble) || (tt.trouble == "") != h.OK() {
				t.Errorf("trouble %q (OK %v), want %q", got, h.OK(), tt.trouble)
			}
			if tt.is == nil {
				return
			}
			if _, err := dev.Power(context.Background()); !errors.Is(err, tt.is) {
				t.Errorf("Power: %v, want %v", err, tt.is)
			} else if strings.Contains(err.Error(), tt.password) && tt.password != "" {
				t.Errorf("the error holds the password: %v", err)
			}
			err := dev.Off(context.Background(), granted)
			if !errors.Is(err, fence.ErrNotSent) {
				t.Errorf("Off: %v, want ErrNotSent", err)
			}
			if got := tt.bmc.sentCommands(); len(got) > 0 {
				t.Errorf("the BMC got %v", got)
			}
		})
	}
}

func TestPermitIsAskedLast(t *testing.T) {
	b := startBMC(t, bmc.PrivilegeLevelOperator)
	dev := open(t, b.spec(t, password), 0)
	expired := errors.New("the permit is too old")
	loggedIn := 0
	err := dev.Off(context.Background(), func() error {
		b.set(func() { loggedIn = b.toBMC })
		return expired
	})
	if !errors.Is(err, expired) || !errors.Is(err, fence.ErrNotSent) || !errors.Is(err, fence.ErrNoPermit) {
		t.Fatalf("Off: %v, want the permit's error with ErrNotSent", err)
	}
	if loggedIn < 5 {
		t.Errorf("the permit was asked after %d datagrams, before the session was open", loggedIn)
	}
	// A command held back must not come later either.
	if s := powerOf(t, dev); s != fence.StateOn || len(b.sentCommands()) != 0 {
		t.Errorf("power is %s, commands %v, though there was no permit", s, b.sentCommands())
	}
}

func TestLostAnswerIsNotRepeated(t *testing.T) {
	t.Parallel()
	b := startBMC(t, bmc.PrivilegeLevelOperator)
	dev := open(t, b.spec(t, password), time.Second)
	asked, after, repeated := 0, map[string]bool{}, false
	err := dev.Off(context.Background(), func() error {
		asked++
		b.set(func() {
			b.lose = func(toBMC bool, d []byte) bool {
				if toBMC {
					repeated = repeated || after[string(d)]
					after[string(d)] = true
				}
				return !toBMC
			}
		})
		return nil
	})
	if err == nil || errors.Is(err, fence.ErrNotSent) || !errors.Is(err, fence.ErrUnreachable) {
		t.Errorf("Off: %v, want no answer, and not ErrNotSent", err)
	}
	b.set(func() { b.lose = nil })
	if s := powerOf(t, dev); s != fence.StateOff {
		t.Errorf("power is %s, the command did arrive", s)
	}
	if asked != 1 || repeated || len(b.sentCommands()) != 1 {
		t.Errorf("permit asked %d times, a datagram repeated: %v, commands %v; want one command, once", asked, repeated, b.sentCommands())
	}
}

func TestReadsSurviveLoss(t *testing.T) {
	t.Parallel()
	b := startBMC(t, bmc.PrivilegeLevelOperator)
	n := 0
	b.set(func() { b.lose = func(bool, []byte) bool { n++; return n%5 == 0 } })
	dev := open(t, b.spec(t, password), time.Second)
	if s := powerOf(t, dev); s != fence.StateOn {
		t.Errorf("power is %s", s)
	}
}

// inSession reports whether a datagram belongs to an open session.
func inSession(d []byte) bool { return len(d) > 10 && d[5]&0xc0 == 0xc0 }

func TestForgedReplyIsNotBelieved(t *testing.T) {
	t.Parallel()
	b := startBMC(t, bmc.PrivilegeLevelOperator)
	dev := open(t, b.spec(t, password), 400*time.Millisecond)
	powerOf(t, dev) // log in
	forgeries := map[string]func([]byte) []byte{
		"changed bit": func(d []byte) []byte {
			f := slices.Clone(d)
			f[len(f)-20] ^= 0x01
			return f
		},
		"flags cleared": func(d []byte) []byte {
			f := slices.Clone(d)
			f[5] &^= 0xc0
			return f
		},
		"short ciphertext": func(d []byte) []byte {
			f := slices.Clone(d[:40])
			f[14], f[15] = 8, 0
			return f
		},
		"no session at all": func(d []byte) []byte {
			// IPMI 1.5, no authentication: "power is off" to any question.
			f := []byte{6, 0, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0x81, 0x04, 0x7b, 0x20, 0, 0x01, 0, 0, 0, 0x40, 0, 0}
			return f
		},
		"empty": func([]byte) []byte { return []byte{} },
	}
	for name, forge := range forgeries {
		t.Run(name, func(t *testing.T) {
			b.set(func() {
				b.forge = func(d []byte) []byte {
					if !inSession(d) {
						return nil
					}
					return forge(d)
				}
			})
			if s := powerOf(t, dev); s != fence.StateOn {
				t.Errorf("power is %s, the forged answer was believed", s)
			}
			// With the genuine reply lost, the forged one is silence.
			b.set(func() { b.lose = func(toBMC bool, d []byte) bool { return !toBMC && inSession(d) } })
			if s, err := dev.Power(context.Background()); err == nil || s != fence.StateUnknown {
				t.Errorf("power is %s, %v; want unknown", s, err)
			}
			b.set(func() { b.lose, b.forge = nil, nil })
		})
	}
}

func TestRefusedCommandIsSaid(t *testing.T) {
	b := startBMC(t, bmc.PrivilegeLevelOperator)
	b.set(func() { b.err = errors.New("hardware says no") })
	dev := open(t, b.spec(t, password), 0)
	err := dev.Off(context.Background(), granted)
	if err == nil || errors.Is(err, fence.ErrNotSent) || !strings.Contains(err.Error(), "completion code") {
		t.Errorf("Off: %v, want the BMC's refusal", err)
	}
	if s := powerOf(t, dev); s != fence.StateOn {
		t.Errorf("power is %s", s)
	}
}

func TestForgottenSessionIsReopened(t *testing.T) {
	t.Parallel()
	b := startBMC(t, bmc.PrivilegeLevelOperator)
	dev := open(t, b.spec(t, password), 2*time.Second)
	powerOf(t, dev)
	// A restarted BMC is silent in old sessions, but lets us log in again.
	var old []byte
	b.set(func() {
		b.lose = func(toBMC bool, d []byte) bool {
			if !toBMC || !inSession(d) {
				return false
			}
			if old == nil {
				old = slices.Clone(d[6:10])
			}
			return slices.Equal(old, d[6:10])
		}
	})
	if err := dev.Off(context.Background(), granted); err != nil {
		t.Errorf("Off in a forgotten session: %v", err)
	}
	if s := powerOf(t, dev); s != fence.StateOff {
		t.Errorf("power is %s", s)
	}
}

func TestLevelIsProvenOverTheWire(t *testing.T) {
	t.Parallel()
	b := startBMC(t, bmc.PrivilegeLevelOperator)
	dev := open(t, b.spec(t, password), 0)
	began := time.Now()
	out := fence.OffLevel(context.Background(), []fence.Device{dev}, granted, fence.OffOptions{})
	if !out.Proven {
		t.Fatalf("not proven: %s", out.Why)
	}
	if took := time.Since(began); took < time.Second || took > 3*time.Second { // 1.0 s alone, more on a busy machine
		t.Errorf("the proof took %v, want 1 s and little more", took)
	}
}
