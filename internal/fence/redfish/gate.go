package redfish

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

var (
	errResent  = errors.New("a power command is never sent twice")
	errGivenUp = errors.New("the connection belongs to a power command that was given up")
)

// gate stands between HTTP and the connection (above TLS), so that the permit of
// a power command is asked after connect and handshake, at the first byte. The
// HTTP library repeats a request whose connection turns out to be closed; a
// power command passes once, on one connection, whatever it does.
type gate struct {
	mu    sync.Mutex
	armed *command
	// epoch counts commands that were given up. Connections of an earlier epoch
	// write nothing any more: HTTP may still hold the command for one of them.
	epoch int
}

// command is one power command on its way.
type command struct {
	permit fence.Permit
	on     *conn // the connection that it was written to; nil: not written
	denied error
}

func (g *gate) arm(permit fence.Permit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = &command{permit: permit}
}

// disarm ends the command and says whether it was written, and if not, whether
// the permit was refused.
func (g *gate) disarm() (sent bool, denied error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.armed
	g.armed = nil
	if c.on == nil {
		g.epoch++
	}
	return c.on != nil, c.denied
}

// conn is a connection behind a gate.
type conn struct {
	net.Conn
	gate  *gate
	epoch int
}

func (g *gate) admit(raw net.Conn) net.Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	return &conn{Conn: raw, gate: g, epoch: g.epoch}
}

// Write lets everything pass while no power command is on its way.
func (c *conn) Write(p []byte) (int, error) {
	c.gate.mu.Lock()
	if c.epoch != c.gate.epoch {
		c.gate.mu.Unlock()
		return 0, errGivenUp
	}
	if cmd := c.gate.armed; cmd != nil && cmd.on != c {
		defer c.gate.mu.Unlock()
		switch {
		case cmd.denied != nil:
			return 0, cmd.denied
		case cmd.on != nil:
			return 0, errResent
		}
		if cmd.denied = cmd.permit.Ask(); cmd.denied != nil {
			return 0, cmd.denied
		}
		cmd.on = c
		return c.Conn.Write(p)
	}
	c.gate.mu.Unlock()
	return c.Conn.Write(p)
}

// dial connects without TLS, for a service with an http address.
func (g *gate) dial(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return g.admit(raw), nil
}

// dialTLS connects and finishes the handshake.
func (g *gate) dialTLS(config *tls.Config) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return g.admit(raw), nil
	}
}
