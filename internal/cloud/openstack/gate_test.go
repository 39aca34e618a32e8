package openstack

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

var errLapsed = errors.New("permit has lapsed")

// listener counts the bytes that reach it; it never answers.
type listener struct {
	net.Listener
	bytes atomic.Int64
	done  chan struct{} // one value for each connection that ended
}

func listen(t *testing.T) *listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{Listener: inner, done: make(chan struct{}, 8)}
	go func() {
		for {
			conn, err := inner.Accept()
			if err != nil {
				return
			}
			go func() {
				n, _ := io.Copy(io.Discard, conn)
				l.bytes.Add(n)
				_ = conn.Close()
				l.done <- struct{}{}
			}()
		}
	}()
	t.Cleanup(func() { _ = inner.Close() })
	return l
}

// TestPermitLapsesWhileConnecting: the connection takes longer than the permit lives. Not one byte arrives.
func TestPermitLapsesWhileConnecting(t *testing.T) {
	f, l := newFake(t, says(202, "")), listen(t)
	connected := false
	var order []string
	c := f.client(t)
	if _, err := c.Capabilities(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.o.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, l.Addr().String())
		connected = true // only now, however long it took
		order = append(order, "connected")
		return conn, err
	}
	rec, err := c.Evacuate(t.Context(), cloud.Intent{Permit: func() error {
		order = append(order, "permit")
		if connected {
			return errLapsed
		}
		return nil
	}}, "vm", cloud.Evacuate{Host: "h2"})
	if !errors.Is(err, cloud.ErrNotSent) || !errors.Is(err, errLapsed) || rec.Sent {
		t.Errorf("got %v, sent %t; want ErrNotSent with the permit's words", err, rec.Sent)
	}
	if want := []string{"connected", "permit"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	select {
	case <-l.done:
	case <-time.After(5 * time.Second):
		t.Fatal("the connection was left open")
	}
	if n := l.bytes.Load(); n != 0 {
		t.Errorf("%d bytes reached the server", n)
	}
}

// TestDeadlineBeforeConnection: the caller is told "not sent" while the dial still hangs; when it comes through after
// all, nothing may leave.
func TestDeadlineBeforeConnection(t *testing.T) {
	f, l := newFake(t, says(202, "")), listen(t)
	c := f.client(t)
	if _, err := c.Capabilities(t.Context()); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	c.o.Dial = func(_ context.Context, network, _ string) (net.Conn, error) {
		<-release // deaf to its context
		return net.Dial(network, l.Addr().String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	asked := atomic.Bool{}
	rec, err := c.Start(ctx, cloud.Intent{Permit: func() error { asked.Store(true); return nil }}, "vm")
	if !errors.Is(err, cloud.ErrNotSent) || rec.Sent {
		t.Errorf("got %v, sent %t; want ErrNotSent", err, rec.Sent)
	}
	close(release)
	select {
	case <-l.done:
	case <-time.After(5 * time.Second):
		t.Fatal("the late connection was left open")
	}
	if n := l.bytes.Load(); n != 0 || asked.Load() {
		t.Errorf("%d bytes reached the server after all, permit asked: %t", n, asked.Load())
	}
}

// TestGate is the gate alone: once per write, one connection, and shut for good.
func TestGate(t *testing.T) {
	a, b := &gatedConn{}, &gatedConn{}
	asked := 0
	g := &gate{permit: func() error { asked++; return nil }}
	if err := errors.Join(g.pass(a), g.pass(a)); err != nil || asked != 1 {
		t.Errorf("two writes on one connection: %v, permit asked %d times, want once", err, asked)
	}
	if err := g.pass(b); !errors.Is(err, errSecond) {
		t.Errorf("a second connection passes: %v", err)
	}
	shut := &gate{permit: func() error { t.Error("asked after the end"); return nil }}
	if sent, refused := shut.close(); sent || refused != nil {
		t.Error("a gate that nobody passed says it was passed")
	}
	if err := shut.pass(a); !errors.Is(err, errShut) {
		t.Errorf("a shut gate lets through: %v", err)
	}
	no := &gate{permit: func() error { return errLapsed }}
	if err := no.pass(a); !errors.Is(err, errLapsed) {
		t.Error(err)
	}
	no.permit = func() error { return nil } // a refusal is final for this write
	if err := no.pass(a); !errors.Is(err, errLapsed) {
		t.Errorf("a refused write passes later: %v", err)
	}
}

// TestPermitOverTLS: the handshake is not the write; the permit is asked after it.
func TestPermitOverTLS(t *testing.T) {
	f := newFake(t, says(202, ""))
	secure := httptest.NewTLSServer(f.Config.Handler)
	t.Cleanup(secure.Close)
	f.URL = secure.URL // Keystone and what its catalogue names
	c := f.client(t, func(o *Options) { o.Login.Insecure = true })
	for _, permit := range []error{nil, errLapsed} {
		rec, err := c.Start(t.Context(), cloud.Intent{Permit: func() error { return permit }}, "vm")
		if rec.Sent != (permit == nil) || !errors.Is(err, permit) {
			t.Errorf("permit %v: got %v, sent %t", permit, err, rec.Sent)
		}
	}
	if n := len(f.requests()); n != 1 {
		t.Errorf("%d requests, want the permitted one", n)
	}
	strict := f.client(t)
	_, err := strict.Start(t.Context(), permitted(), "vm")
	if !errors.Is(err, cloud.ErrNotSent) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown certificate: got %v", err)
	}
}
