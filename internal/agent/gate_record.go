package agent

import (
	"time"

	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// Gate is a host's gate without a disk, for simulations of many hosts in one process. What it decides is what the agent
// decides. The zero Gate has never booted.
type Gate struct{ rec gateRecord }

// Boots begins another life of the machine (or the same anew): closed until a server opens it; what was forbidden stays so.
func (g *Gate) Boots(boot string) { g.rec = g.rec.forBoot(boot) }

// Obey carries out a server's order, or says why not. up goes on at the rate of the time since the boot.
func (g *Gate) Obey(o *agentv1.GateOrder, up time.Duration) error {
	next, err := g.rec.obey(o, up)
	g.rec = next
	return err
}

// Open reports whether nova-compute may start.
func (g *Gate) Open() bool { return g.rec.Open }

// Forbidden are the VMs that libvirt's hook refuses to start.
func (g *Gate) Forbidden() []string { return g.rec.Forbidden }

// Hunted are the VMs to be killed where they run on this host.
func (g *Gate) Hunted(up time.Duration) []string { return g.rec.hunted(up) }

// State is what servers are told.
func (g *Gate) State(f Facts) *agentv1.GateState { return g.rec.wire(f) }
