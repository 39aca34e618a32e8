package openstack

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

var (
	errShut   = errors.New("given up before it was sent")
	errSecond = errors.New("a second connection for one write")
)

// gate stands between one dangerous write and the wire. It asks the permit when the first byte wants to leave, on the
// connection that will carry it, and remembers whether any did.
type gate struct {
	permit func() error

	mu      sync.Mutex
	conn    net.Conn // that the permit was given for
	sent    bool     // from here on the write may have had an effect
	refused error    // what the permit said
	shut    bool     // the caller has been told that nothing was sent
}

// pass lets bytes of conn through, or not.
func (g *gate) pass(conn net.Conn) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.sent && g.conn == conn:
		return nil
	case g.sent:
		return errSecond
	case g.refused != nil:
		return g.refused
	case g.shut:
		return errShut
	}
	if err := g.permit(); err != nil {
		g.refused = err
		return err
	}
	g.sent, g.conn = true, conn
	return nil
}

// close is called when the HTTP client has returned. net/http writes in a goroutine of its own, which may only now come
// to write (the deadline passed first): whoever is told "not sent" must be able to rely on it.
func (g *gate) close() (sent bool, refused error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
	return g.sent, g.refused
}

// gatedConn is a connection whose outgoing bytes pass the gate. It embeds the interface, so that no other way to write
// (ReadFrom) shows.
type gatedConn struct {
	net.Conn
	g *gate
}

// Write implements net.Conn.
func (c *gatedConn) Write(b []byte) (int, error) {
	if err := c.g.pass(c); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// writeTransport makes a transport for one write: a fresh connection (net/http repeats requests by itself only on
// reused ones), HTTP/1.1, no proxy, and the gate above TLS, so that the handshake is over before the permit is asked.
func (c *Client) writeTransport(g *gate) *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := c.o.Dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &gatedConn{Conn: conn, g: g}, nil
		},
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := c.dialTLS(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &gatedConn{Conn: conn, g: g}, nil
		},
	}
}

func (c *Client) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	raw, err := c.o.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	cfg := c.cred.tls.Clone()
	cfg.NextProtos = []string{"http/1.1"}
	if cfg.ServerName == "" {
		if cfg.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
	}
	conn := tls.Client(raw, cfg)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return conn, nil
}
