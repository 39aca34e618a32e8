package transport

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

// A server that acknowledges nothing is given up after four pulses or so, one that is merely late after a minute: if
// thousands of agents left an overloaded server, their handshakes would keep it overloaded.
func TestALateServerIsNotGivenUp(t *testing.T) {
	for _, c := range []struct {
		reaches bool
		from    uint64 // pulses without an ack that are too many
	}{{false, 5}, {true, 61}} {
		given := uint64(0)
		l := newUplink(&Uplinks{log: discard()}, "server-1:7401")
		l.session = &session{pulse: make(chan uint64, 1), reaches: func() bool { return c.reaches }}
		for seq := uint64(1); seq < 100; seq++ {
			l.session.cancel = func(err error) {
				if given == 0 && errors.Is(err, errNoAck) {
					given = seq
				}
			}
			l.beat(seq, time.Second)
		}
		if given != c.from {
			t.Errorf("its kernel confirms: %t: given up after %d pulses, want %d", c.reaches, given, c.from)
		}
	}
}

// The kernel of a server whose process reads nothing still confirms; a connection that is none can't tell.
func TestConfirmed(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	c, err := dialTCP(context.Background(), listener.Addr().String())
	must(t, err)
	defer c.Close()
	if _, err := c.Write([]byte("a pulse")); err != nil {
		t.Fatal(err)
	}
	if !confirmed(c, time.Minute) {
		t.Error("a kernel that took a connection a moment ago has confirmed nothing")
	}
	if confirmed(c, 0) {
		t.Error("something was confirmed in no time")
	}
	one, other := net.Pipe()
	defer one.Close()
	defer other.Close()
	if confirmed(one, time.Minute) {
		t.Error("a pipe has no kernel that confirms")
	}
}
