package soak

import (
	"strings"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// outlet is the pair of a PDU's outlets that feed a host's two power supplies: the machine has power as long as one is on.
type outlet struct {
	off  [2]bool
	dead bool // the PDU answers nobody
}

func (c *cluster) outlet(host string) *outlet {
	if c.outlets[host] == nil {
		c.outlets[host] = &outlet{}
	}
	return c.outlets[host]
}

// supply is which of a host's outlets is behind an address; -1: its management controller is.
func supply(address string) int {
	return int(address[len("10.9.")]-'0') - 1 // furnish makes them
}

// switched sets one outlet.
func (c *cluster) switched(host string, i int, on bool) {
	o := c.outlet(host)
	o.off[i] = !on
	c.w.Feed(host, !o.off[0] || !o.off[1])
}

// power reads the device.
func (b *bmc) power(w *world.World) (on bool, err error) {
	if b.outlet < 0 {
		return w.BMCPower(b.host)
	}
	return !b.l.c.outlet(b.host).off[b.outlet], nil
}

// identity is what the device shows of its machine. A PDU shows none; its outlets are taken for labelled rightly.
func (b *bmc) identity(w *world.World) (uuid, serial string) {
	if b.outlet < 0 {
		return w.BMCIdentity(b.host)
	}
	h := w.Host(b.host)
	return h.Identity, h.Serial
}

// answers says whether the device is there.
func (b *bmc) answers() bool {
	if b.outlet < 0 {
		return b.l.c.w.BMCAnswers(b.host)
	}
	return !b.l.c.outlet(b.host).dead
}

func (b *bmc) order(w *world.World, on bool) error {
	if b.outlet < 0 {
		return w.BMCSet(b.host, on)
	}
	b.l.c.switched(b.host, b.outlet, on)
	return nil
}

// name is what the device is called in the trace.
func (b *bmc) name() string {
	if b.outlet < 0 {
		return b.host
	}
	return b.host + " outlet " + strings.Repeat("I", b.outlet+1)
}
