package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// links is the state of all hosts' network, made anew at each change and read without a lock.
type links struct {
	hosts   map[string]link
	changed chan struct{} // closed when this table is out of date
}

type link struct {
	boot   string // "" while no kernel runs
	still  bool   // frozen or hung: its programs don't run
	frozen bool
	cut    map[world.Plane]bool
}

// reach is what a host's program can do on a plane.
type reach int

const (
	reachGone   reach = iota // that boot has ended: nothing more will ever be sent
	reachPaused              // frozen or hung: nothing is read or written until it goes on
	reachCut                 // the kernel keeps what is written, and sends it when the plane heals
	reachOpen
)

// linkEvent says whether an event of the world changes a link.
func linkEvent(kind string) bool {
	switch kind {
	case "power-off", "boot", "plane-cut", "plane-heal", "freeze", "thaw", "hang", "unhang":
		return true
	}
	return false
}

// relink makes the table anew; c.mu is held. Connections of an earlier boot
// are reset once a new kernel is there to do so.
func (c *Cloud) relink() {
	c.stale = false
	next := &links{hosts: map[string]link{}, changed: make(chan struct{})}
	for _, name := range c.w.HostNames() {
		h := c.w.Host(name)
		l := link{still: h.Frozen || h.Hung, frozen: h.Frozen, cut: map[world.Plane]bool{}}
		if h.On && h.Kernel {
			l.boot = h.Boot
		}
		for _, p := range world.Planes() {
			l.cut[p] = h.IsCut(p)
		}
		next.hosts[name] = l
	}
	old := c.links.Swap(next)
	c.netMu.Lock()
	for q := range c.conns {
		if l := next.hosts[q.host]; l.boot != "" && l.boot != q.boot && !l.frozen && !l.cut[q.plane] {
			delete(c.conns, q)
			q.reset()
		}
	}
	c.netMu.Unlock()
	if old != nil {
		close(old.changed)
	}
}

func (l *links) reach(host, boot string, p world.Plane) reach {
	h := l.hosts[host]
	switch {
	case h.boot == "" || h.boot != boot:
		return reachGone
	case h.still:
		return reachPaused
	case h.cut[p]:
		return reachCut
	}
	return reachOpen
}

// Boot is the boot id of a host's running kernel; "" if none runs.
func (c *Cloud) Boot(host string) string { return c.links.Load().hosts[host].boot }

// Stalled waits while a host's programs stand still (freeze, hang). It is for
// the loops of agents that run in this process. ErrPowerLost: the boot in which
// the agent was started has ended, and so must the agent.
func (c *Cloud) Stalled(ctx context.Context, host, boot string) error {
	for {
		l := c.links.Load()
		switch l.reach(host, boot, world.Management) {
		case reachGone:
			return fmt.Errorf("%s: %w", host, ErrPowerLost)
		case reachPaused:
			select {
			case <-l.changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		default:
			return nil
		}
	}
}

// ErrPowerLost says that the boot has ended in which a program ran.
var ErrPowerLost = errors.New("the machine lost its power")

// Probe is what a probe from one host to another gets: none, kernel or agent.
// from "" is a server.
func (c *Cloud) Probe(from string, p world.Plane, to string) (a world.Answer) {
	c.World(func(w *world.World) { a = w.Probe(from, p, to) })
	return a
}

// dialPatience is how long a kernel sends SYN: Linux' tcp_syn_retries of 6.
const dialPatience = 127 * time.Second

// Dialer makes connections as a program on the host would, over one of its
// planes, in the boot that runs when Dialer is called. When the host loses
// power they fall silent in both directions, without FIN or RST, for good
// (after the next boot the peer gets its RST). While it is frozen or hung they
// stand still and lose nothing; while the plane is cut, what is written waits
// in a bounded buffer as in a kernel's, and arrives when the plane heals.
func (c *Cloud) Dialer(host string, p world.Plane) func(ctx context.Context, network, addr string) (net.Conn, error) {
	boot := c.Boot(host)
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialPatience)
		defer cancel()
		for {
			l := c.links.Load()
			if l.reach(host, boot, p) == reachOpen {
				break
			}
			select {
			case <-l.changed:
			case <-c.ctx.Done():
				return nil, net.ErrClosed
			case <-ctx.Done():
				return nil, fmt.Errorf("cannot connect from %s to %s: %w", host, addr, ctx.Err())
			}
		}
		inner, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		q := newQuietConn(c, inner, host, boot, p)
		c.netMu.Lock()
		c.conns[q] = struct{}{}
		c.netMu.Unlock()
		return q, nil
	}
}
