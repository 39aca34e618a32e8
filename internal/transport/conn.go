package transport

import (
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"
)

// watchedConn remembers how the bytes of a connection ended. gRPC says "canceled" for everything; whether the peer's
// kernel spoke (end of file, reset) or nobody did (timeout) is evidence that detection wants.
type watchedConn struct {
	net.Conn
	end      atomic.Pointer[error]
	lastRead atomic.Int64 // nanoseconds since began
	began    time.Time
}

func watch(c net.Conn) *watchedConn { return &watchedConn{Conn: c, began: time.Now()} }

// Read notes when it got something, and its first error.
func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.lastRead.Store(int64(time.Since(c.began)))
	}
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
		c.end.CompareAndSwap(nil, &err)
	}
	return n, err
}

// Write notes a reset: the kernel tells of it once, to whichever of Read and Write asks first; the other then sees a
// mere end of file. (EPIPE is no reset: it is what a write gets after the peer's proper end.)
func (c *watchedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if errors.Is(err, syscall.ECONNRESET) {
		c.end.Store(&err)
	}
	return n, err
}

// howEnded tells what this kernel knows; quiet is the silence after which gRPC gives a connection up.
func (c *watchedConn) howEnded(quiet time.Duration) (End, error) {
	err := c.end.Load()
	if err == nil {
		if silence := time.Since(c.began) - time.Duration(c.lastRead.Load()); silence >= quiet {
			return EndTimeout, errSilent
		}
		return EndEOF, nil // TLS or HTTP/2 said the end in words
	}
	var timeout net.Error
	switch {
	case errors.Is(*err, io.EOF):
		return EndEOF, *err
	case errors.Is(*err, syscall.ECONNRESET):
		return EndReset, *err
	case errors.Is(*err, syscall.ETIMEDOUT), errors.Is(*err, syscall.EHOSTUNREACH),
		errors.Is(*err, syscall.ENETUNREACH), errors.As(*err, &timeout) && timeout.Timeout():
		return EndTimeout, *err
	}
	return EndError, *err
}

var errSilent = errors.New("nothing came for too long")

// watchedTLS hands each call the connection that it came on, and lets only so many in at once.
type watchedTLS struct {
	credentials.TransportCredentials
	door door
}

// door bounds the handshakes under way. When 10,000 agents come back at once, all of their handshakes side by side would
// each take longer than an agent waits: none would end, and the agents that are linked already would starve. In turn,
// they take as long as they take. Who has waited for maxWait is sent away, to come back when the agent's delay says:
// later on it would only find that the agent has given up.
type door chan struct{}

const (
	maxWait = 5 * time.Second
	maxStay = 250 * time.Millisecond // who is slower than this keeps nobody else out any longer
)

var errBusy = errors.New("too many agents connect at once")

// newDoor lets in what can be worked on: a handshake is a millisecond of computing and a round trip.
func newDoor() door { return make(door, 16*runtime.GOMAXPROCS(0)) }

// enter waits for a place, which leave gives back.
func (d door) enter() (leave func(), err error) {
	wait := time.NewTimer(maxWait)
	defer wait.Stop()
	select { // those who wait are served in the order they came
	case d <- struct{}{}:
	case <-wait.C:
		return nil, errBusy
	}
	free := sync.OnceFunc(func() { <-d })
	stay := time.AfterFunc(maxStay, free)
	return func() { stay.Stop(); free() }, nil
}

// peerAuth is what a call knows of its connection.
type peerAuth struct {
	credentials.TLSInfo
	conn *watchedConn
}

// ServerHandshake wraps the connection below TLS: only there can a reset be told from an end.
func (w watchedTLS) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	leave, err := w.door.enter()
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	watched := watch(raw)
	conn, info, err := w.TransportCredentials.ServerHandshake(watched)
	if err != nil {
		return nil, nil, err
	}
	tlsInfo, ok := info.(credentials.TLSInfo)
	if !ok {
		return nil, nil, errors.Join(errors.New("the handshake was not TLS"), conn.Close())
	}
	return conn, peerAuth{TLSInfo: tlsInfo, conn: watched}, nil
}

// Clone is part of the interface.
func (w watchedTLS) Clone() credentials.TransportCredentials {
	return watchedTLS{w.TransportCredentials.Clone(), w.door}
}
