package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// As many as there are places; the others in turn; who waits too long is sent away; who stays too long keeps nobody out.
func TestDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := make(door, 1)
		first, err := d.enter()
		if err != nil {
			t.Fatal(err)
		}
		came := make(chan func(), 1)
		go func() {
			leave, err := d.enter()
			if err != nil {
				t.Error(err)
			}
			came <- leave
		}()
		synctest.Wait()
		if len(came) != 0 {
			t.Fatal("two are in where one has room")
		}
		first()
		second := <-came

		began := time.Now()
		third, err := d.enter() // the second one takes too long
		if err != nil || time.Since(began) != maxStay {
			t.Fatalf("after %s: %v", time.Since(began), err)
		}
		second() // late, and once only: the third one's place is not his to give
		if len(d) != 1 {
			t.Fatal("somebody else's place was given back")
		}
		third()
		if len(d) != 0 {
			t.Fatal("the place was not given back")
		}
	})
}

func TestDoorSendsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := make(door) // nobody gets in
		began := time.Now()
		if _, err := d.enter(); !errors.Is(err, errBusy) || time.Since(began) != maxWait {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

// silentConn is a connection that only can be closed.
type silentConn struct {
	net.Conn
	from   net.Addr
	closed chan struct{}
}

func connFrom(text string) *silentConn {
	return &silentConn{from: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)), closed: make(chan struct{})}
}

func (c *silentConn) RemoteAddr() net.Addr { return c.from }
func (c *silentConn) Close() error         { close(c.closed); return nil }

// One address, or one network of IPv6, can't take all places; who becomes known gives his back; who stays a stranger is cut.
func TestStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrangers(discard())
		var known []func()
		for i := range strangersFrom {
			k, err := s.admit(connFrom(fmt.Sprintf("[2001:db8::%x]:%d", i+1, 1024+i)))
			if err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
			known = append(known, k)
		}
		if _, err := s.admit(connFrom("[2001:db8::ffff]:1024")); err == nil {
			t.Fatal("one more from the same network was let in")
		}
		other, err := s.admit(connFrom("192.0.2.1:1024"))
		if err != nil {
			t.Fatalf("another address was refused: %v", err)
		}
		other()
		known[0]()
		known[0]() // twice is once
		last := connFrom("[2001:db8::ffff]:1024")
		if _, err := s.admit(last); err != nil {
			t.Fatalf("refused though one place is free: %v", err)
		}
		began := time.Now()
		if <-last.closed; time.Since(began) != strangersWithin {
			t.Errorf("a stranger was cut after %s, want %s", time.Since(began), strangersWithin)
		}
		synctest.Wait()
		if s.all != 0 || len(s.from) != 0 {
			t.Errorf("%d of %v are still counted", s.all, s.from)
		}
	})
}

func TestStrangersInAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrangers(discard())
		from := func(i int) *silentConn { return connFrom(fmt.Sprintf("10.%d.%d.%d:1024", i>>16, i>>8&0xff, i&0xff)) }
		var known []func()
		for i := range strangersMost {
			k, err := s.admit(from(i))
			must(t, err)
			known = append(known, k)
		}
		if _, err := s.admit(from(strangersMost)); err == nil {
			t.Error("there is no bound in all")
		}
		for _, k := range known {
			k()
		}
	})
}

// Whoever only opens connections doesn't get more than his share; when he has gone, an agent of his address gets in.
func TestSilentStrangers(t *testing.T) {
	p := newPlace(t, nil)
	var held []net.Conn
	ended := make(chan error, strangersFrom+1)
	for range strangersFrom + 1 {
		c, err := net.Dial("tcp", p.addr)
		must(t, err)
		held = append(held, c)
		go func() {
			_, err := c.Read(make([]byte, 1))
			ended <- err
		}()
	}
	if err := next(t, ended, "an end of one connection too many"); err == nil {
		t.Fatal("a server spoke first")
	}
	if len(ended) != 0 {
		t.Error("more than one connection was refused")
	}
	for _, c := range held {
		must(t, c.Close())
	}
	p.dial(t, nil)
	next(t, p.handler.links, "a link after the strangers have gone")
}
