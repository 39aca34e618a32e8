package wire

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/ninelives-ha/ninelives/internal/probe"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// Address is a host's address on a plane. It names the host to [Cloud.Prober] and nothing listens there: it is of the
// range set aside for benchmarks (RFC 2544), so that a mistake reaches nobody.
func (c *Cloud) Address(host string, p world.Plane) string {
	for i, name := range c.hostNames() {
		if name != host {
			continue
		}
		for n, plane := range world.Planes() {
			if plane == p {
				return netip.AddrFrom4([4]byte{198, 18, byte(n<<6 | (i+1)>>8), byte(i + 1)}).String()
			}
		}
	}
	return ""
}

// at is the host and plane of an address; "" if it is none of ours.
func (c *Cloud) at(address string) (host string, p world.Plane) {
	a, err := netip.ParseAddr(address)
	if err != nil || !a.Is4() {
		return "", ""
	}
	b, names := a.As4(), c.hostNames()
	i, n := int(b[2]&0x3f)<<8|int(b[3]), int(b[2]>>6)
	if b[0] != 198 || b[1] != 18 || i < 1 || i > len(names) || n >= len(world.Planes()) {
		return "", ""
	}
	return names[i-1], world.Planes()[n]
}

func (c *Cloud) hostNames() (names []string) {
	c.World(func(w *world.World) { names = w.HostNames() })
	return names
}

// Prober asks for life by the truth of the world. Make one with [Cloud.Prober].
type Prober struct {
	c    *Cloud
	from string
	boot string
}

// Prober probes as a program on a host would, in the boot that runs now. from "" is a server's machine, which is on
// every plane and never stands still.
func (c *Cloud) Prober(from string) *Prober {
	p := &Prober{c: c, from: from}
	if from != "" {
		p.boot = c.Boot(from)
	}
	return p
}

// roundTrip is what a probe takes that is answered, and how often one that isn't is repeated, as package probe does.
const (
	roundTrip = 2 * time.Millisecond
	repeat    = 250 * time.Millisecond
)

// Probe does what probe.Prober does: it asks until somebody answers or ctx ends.
func (p *Prober) Probe(ctx context.Context, t probe.Target) (probe.Answer, error) {
	host, plane := p.c.at(t.Address)
	if host == "" {
		return probe.None, fmt.Errorf("cannot probe %q: no host of the simulated cloud has it", t.Address)
	}
	best := probe.None
	for wait := roundTrip; ; wait = repeat {
		select {
		case <-ctx.Done():
			return best, nil
		case <-p.c.ctx.Done():
			return best, nil
		case <-time.After(wait):
		}
		if p.from != "" {
			if err := p.c.Stalled(ctx, p.from, p.boot); err != nil {
				return best, err
			}
		}
		switch p.c.Probe(p.from, plane, host) {
		case world.AnswerAgent:
			return probe.Agent, nil
		case world.AnswerKernel:
			best = probe.Kernel // the agent may answer yet
		}
	}
}
