package ipmi

import (
	"errors"
	"net"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

// sink counts the datagrams that would have left.
type sink struct {
	net.Conn
	n int
}

func (s *sink) Write(p []byte) (int, error) { s.n++; return len(p), nil }

// The library is told not to repeat a power command; the guard doesn't rely on it.
func TestGuardWritesACommandOnce(t *testing.T) {
	wire, asked := &sink{}, 0
	g := &guard{Conn: wire}
	g.arm(func() error { asked++; return nil })
	if _, err := g.Write([]byte("off")); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Write([]byte("off")); !errors.Is(err, errResent) {
		t.Errorf("the second write: %v", err)
	}
	if sent, denied := g.disarm(); !sent || denied != nil || wire.n != 1 || asked != 1 {
		t.Errorf("sent %v, denied %v, %d datagrams, permit asked %d times", sent, denied, wire.n, asked)
	}
}

// A command that was given up before it was written must not be written later.
func TestGuardShutsAfterACommandGivenUp(t *testing.T) {
	wire := &sink{}
	g := &guard{Conn: wire}
	g.arm(func() error { return errors.New("too old") })
	if _, err := g.Write([]byte("off")); !errors.Is(err, fence.ErrNoPermit) {
		t.Errorf("without a permit: %v", err)
	}
	if sent, denied := g.disarm(); sent || denied == nil {
		t.Errorf("sent %v, denied %v", sent, denied)
	}
	if _, err := g.Write([]byte("off")); !errors.Is(err, errDisarmed) || wire.n != 0 {
		t.Errorf("after giving up: %v, %d datagrams", err, wire.n)
	}
}
