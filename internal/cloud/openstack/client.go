// Package openstack is cloud.Cloud for a real OpenStack, Train or later. Logging in, the catalogue and the sending of
// reads are gophercloud's; the dangerous writes are our own (DESIGN.md beside this file says why).
package openstack

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

// Client is one cloud as one user. It is safe for concurrent use.
type Client struct {
	o       Options
	cred    credentials
	reads   *http.Client
	session atomic.Pointer[session]
	login   chan struct{} // holds a token while somebody logs in; a channel, since a mutex can't be waited for with a deadline
}

var _ cloud.Cloud = (*Client)(nil)

// Open reads the credentials; it asks nothing of the network, so that a server can start while Keystone is down. The
// first call logs in. Its errors are the operator's to mend and say what is wrong where.
func Open(o Options) (*Client, error) {
	cred, err := o.resolve()
	if err != nil {
		return nil, err
	}
	if o.ReadTimeout <= 0 {
		o.ReadTimeout = 10 * time.Second
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 60 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	c := &Client{o: o, cred: cred, login: make(chan struct{}, 1)}
	c.reads = c.readClient()
	return c, nil
}

// Source says where the credentials came from, for doctor.
func (c *Client) Source() string { return c.cred.source }

// Close drops idle connections.
func (c *Client) Close() { c.reads.CloseIdleConnections() }

// connected returns the session, logging in first if there is none. Only one caller logs in, the others wait for it
// within their own deadline.
func (c *Client) connected(ctx context.Context) (*session, error) {
	if s := c.session.Load(); s != nil {
		return s, nil
	}
	select {
	case c.login <- struct{}{}:
		defer func() { <-c.login }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: still waiting for Keystone at %s: %w", cloud.ErrUnavailable, c.cred.login.AuthURL, ctx.Err())
	}
	if s := c.session.Load(); s != nil {
		return s, nil
	}
	s, err := c.logIn(ctx)
	if err != nil {
		return nil, err
	}
	c.session.Store(s)
	return s, nil
}

// Capabilities logs in if needed and discovers the range of microversions anew, so that an upgraded Nova is noticed.
func (c *Client) Capabilities(ctx context.Context) (cloud.Capabilities, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*c.o.ReadTimeout) // a login and a read
	defer cancel()
	s, err := c.connected(ctx)
	if err != nil {
		return cloud.Capabilities{}, fmt.Errorf("cannot ask what the cloud offers: %w", err)
	}
	lo, hi, err := c.discover(ctx, s)
	if err != nil {
		return cloud.Capabilities{}, fmt.Errorf("cannot ask what the cloud offers: %w", err)
	}
	fresh := *s
	fresh.caps.Min, fresh.caps.Max = lo, hi
	c.session.CompareAndSwap(s, &fresh)
	return fresh.caps, nil
}

// usable refuses a Nova that can't do what every call relies on.
func usable(lo, hi cloud.Microversion) error {
	if hi < cloud.Lowest {
		return fmt.Errorf("this Nova is too old: it offers microversions up to %s, Ninelives needs %s (Train) or later", hi, cloud.Lowest)
	}
	if lo > cloud.Lowest {
		return fmt.Errorf("this Nova no longer offers microversion %s (its lowest is %s): Ninelives must be upgraded", cloud.Lowest, lo)
	}
	return nil
}
