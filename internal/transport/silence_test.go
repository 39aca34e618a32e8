package transport

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// cutConn is a connection whose network can be cut: nothing passes any more and neither end is told.
type cutConn struct {
	net.Conn
	cut *atomic.Bool
}

func (c cutConn) Write(p []byte) (int, error) {
	if c.cut.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c cutConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.cut.Load() {
			return n, err
		}
	}
}

func (c cutConn) Close() error {
	if c.cut.Load() {
		return c.SetReadDeadline(time.Now()) // unblocks our reader, says nothing to the peer
	}
	return c.Conn.Close()
}

// A network that is cut without a word: the agent gives the server up within 5 s, tries again with a bounded delay, and
// is back soon after the network is; the server frees the link and calls it a timeout.
func TestSilenceIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(256 << 10)
		p := newPlaceIn(t, listener)
		cut := &atomic.Bool{}
		agent := newAgentSide()
		creds, err := p.ca.IssueAgent("h1", m1, time.Now())
		must(t, err)
		u, err := Dial(AgentOptions{
			Servers: []string{"server-1:7401"}, Credentials: creds, Hello: helloOf("h1", bootA), Handler: agent,
			DialContext: func(ctx context.Context, _ string) (net.Conn, error) {
				if cut.Load() {
					return nil, errors.New("no route to host")
				}
				c, err := listener.DialContext(ctx)
				return cutConn{c, cut}, err
			},
		})
		must(t, err)
		u.Start()
		first := <-p.handler.links
		<-agent.connected
		<-agent.changed
		time.Sleep(30 * time.Second) // virtual; all is well
		if n := u.Connected(); n != 1 || len(p.handler.closed) != 0 {
			t.Fatalf("after 30 s: connected to %d, %d links ended", n, len(p.handler.closed))
		}

		cut.Store(true)
		began := time.Now()
		s := <-agent.changed
		if took := time.Since(began); s.Connected || !errors.Is(s.Err, errNoAck) || took > 5500*time.Millisecond {
			t.Fatalf("after %s: %+v, want the server to be given up within 5 s and a pulse", took, s)
		}
		end := <-p.handler.closed
		if took := time.Since(began); end.link != first || end.how != EndTimeout || took > 21*time.Second {
			t.Fatalf("after %s: ended by %s (%v), want timeout within 21 s", took, end.how, end.err)
		}
		time.Sleep(time.Minute) // virtual; many failures later
		cut.Store(false)
		began = time.Now()
		<-agent.connected
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("reconnected %s after the network came back, want at most 5 s", took)
		}
		u.Close()
		must(t, p.server.Stop(context.Background()))
	})
}

// A host that was frozen must not act on an order from before: its age counts from the last pulse that was heard.
func TestOrderGivenToAFrozenHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &Uplinks{log: discard(), epochs: &EpochFence{}}
		h := newAgentSide()
		u.o.Handler = h
		l := newUplink(u, "server-1:7401")
		began := time.Now()
		seq := u.pulses.next(began)
		time.Sleep(30 * time.Second) // virtual; frozen, while the order waits in the socket
		m := killOrder(1, 7, 10*time.Second)
		m.HeardSeq = seq
		l.order(m, began.Add(-time.Hour))
		if len(h.orders) != 0 {
			t.Fatal("an order that was valid for 10 s was handed on after 30 s")
		}
		m.HeardSeq = u.pulses.next(time.Now())
		l.order(m, began.Add(-time.Hour))
		if len(h.orders) != 1 {
			t.Fatal("a fresh order was not handed on")
		}
		if until := <-h.untils; !until.Equal(time.Now().Add(10 * time.Second)) {
			t.Fatalf("valid for %s more, want 10s", time.Until(until))
		}
	})
}

// newPlaceIn is newPlace on a listener in memory.
func newPlaceIn(t *testing.T, listener net.Listener) *place {
	t.Helper()
	ca, err := pki.NewInMemory("mycloud", time.Now())
	must(t, err)
	creds, err := ca.IssueServer("server-1", nil, time.Now())
	must(t, err)
	p := &place{ca: ca, handler: newServerSide()}
	p.server, err = Listen(ServerOptions{Name: "server-1", Listener: listener, Credentials: creds, CA: ca, Handler: p.handler})
	must(t, err)
	p.server.Start()
	return p
}
