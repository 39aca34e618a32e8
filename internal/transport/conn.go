package transport

import (
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// watchedConn remembers how the bytes of a connection ended. gRPC says "canceled" for everything; whether the peer's
// kernel spoke (end of file, reset) or nobody did (timeout) is evidence that detection wants.
type watchedConn struct {
	net.Conn
	end      atomic.Pointer[error]
	lastRead atomic.Int64 // nanoseconds since began
	began    time.Time
	known    func() // somebody was authenticated on it, or it ended: it is no stranger's any more
}

func watch(c net.Conn, known func()) *watchedConn {
	return &watchedConn{Conn: c, began: time.Now(), known: known}
}

// Close gives its place among the strangers back, if it still has one.
func (c *watchedConn) Close() error {
	c.known()
	return c.Conn.Close()
}

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

// watchedTLS hands each call the connection that it came on and what its certificate proves. It bounds the strangers, and
// lets only so many of them in at once.
type watchedTLS struct {
	credentials.TransportCredentials
	ca        *x509.Certificate
	door      door
	strangers *strangers
}

// peerAuth is what a call knows of its connection. The certificate itself is not kept: parsed, it takes 10 KiB, a fifth of
// what a link would cost.
type peerAuth struct {
	credentials.CommonAuthInfo
	conn *watchedConn
	peer pki.Peer // what its certificate proves
	err  error    // why it proves nothing; that none was shown, among others
}

// AuthType is part of the interface.
func (peerAuth) AuthType() string { return "tls" }

// is tells who the peer is, if it has this role. Expired is as of now.
func (a peerAuth) is(role pki.Role, now time.Time) (pki.Peer, error) {
	switch p := a.peer; {
	case a.err != nil:
		return pki.Peer{}, a.err
	case p.Role != role:
		return pki.Peer{}, pki.WrongRole(p.Identity, role)
	default:
		p.Expired = now.After(p.Expires)
		return p, nil
	}
}

// ServerHandshake wraps the connection below TLS: only there can a reset be told from an end.
func (w watchedTLS) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	known, err := w.strangers.admit(raw)
	if err != nil {
		return nil, nil, err
	}
	conn, auth, err := w.handshake(watch(raw, known))
	if err != nil {
		known()
		return nil, nil, err
	}
	return conn, auth, nil
}

func (w watchedTLS) handshake(watched *watchedConn) (net.Conn, credentials.AuthInfo, error) {
	leave, err := w.door.enter()
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	conn, info, err := w.TransportCredentials.ServerHandshake(watched)
	if err != nil {
		return nil, nil, err
	}
	tlsInfo, ok := info.(credentials.TLSInfo)
	if !ok {
		return nil, nil, errors.Join(errors.New("the handshake was not TLS"), conn.Close())
	}
	auth := peerAuth{CommonAuthInfo: tlsInfo.CommonAuthInfo, conn: watched}
	auth.peer, auth.err = pki.VerifyAny(w.ca, tlsInfo.State.PeerCertificates, time.Now())
	clear(tlsInfo.State.PeerCertificates) // TLS keeps this very slice for as long as the connection lasts
	return conn, auth, nil
}

// Clone is part of the interface.
func (w watchedTLS) Clone() credentials.TransportCredentials {
	w.TransportCredentials = w.TransportCredentials.Clone()
	return w
}
