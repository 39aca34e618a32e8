package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// huntFor is how long after the gate opened the agent kills forbidden VMs that run all the same. Nova's queued orders
// are carried out within a minute of nova-compute's start; the rest is for a slow host.
const huntFor = 10 * time.Minute

// gateRecord is the gate as it lies on disk, where the libvirt hook and `ninelives gate` read it. The functions on it
// are pure: what they return is stored before it counts.
//
//	          order open, open by hand
//	closed ─────────────────────────────▶ open
//	  ▲  ▲           order closed          │ │
//	  │  └──────────(not if by hand)───────┘ │
//	  └───────────── another boot ───────────┘
type gateRecord struct {
	Format     int      `json:"format"`
	Boot       string   `json:"boot"`
	Open       bool     `json:"open"`
	ByHand     bool     `json:"by_hand,omitempty"` // opened by an operator, in this boot
	Reason     string   `json:"reason"`
	Generation uint64   `json:"generation,omitempty"` // of the order in force; 0: none in this boot
	Epoch      uint64   `json:"epoch,omitempty"`      // of that order
	Forbidden  []string `json:"forbidden,omitempty"`  // VMs that must not start here; kept from boot to boot until an order replaces them

	// Opened is how long after the boot it opened, or was last told of VMs to hunt. A wall clock that is set right, as
	// on many a host after its boot, neither ends the hunt nor prolongs it.
	Opened time.Duration `json:"opened_after_boot_ns,omitempty"`
}

const gateFormat = 1

var (
	errStaleGate = errors.New("another order is in force already")
	errDamaged   = errors.New("the gate's file is damaged")
)

// parseGate reads a record strictly: a file that says anything unexpected says nothing.
func parseGate(text []byte) (gateRecord, error) {
	var g gateRecord
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&g); err != nil {
		return gateRecord{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if d.More() {
		return gateRecord{}, fmt.Errorf("%w: something follows the record", errDamaged)
	}
	if g.Format != gateFormat {
		return gateRecord{}, fmt.Errorf("the gate's file has format %d, this version of ninelives reads %d", g.Format, gateFormat)
	}
	if _, err := transport.ParseBoot(g.Boot); err != nil {
		return gateRecord{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	for _, u := range g.Forbidden {
		if n, ok := normalUUID(u); !ok || n != u {
			return gateRecord{}, fmt.Errorf("%w: %q is no VM", errDamaged, u)
		}
	}
	return g, nil
}

// forBoot is the record in another life of the machine: closed until somebody opens it. In the same life nothing
// changes, however often the agent starts: what an agent's upgrade finds running was let in before.
func (g gateRecord) forBoot(boot string) gateRecord {
	if g.Boot == boot && g.Format == gateFormat {
		return g
	}
	return gateRecord{Format: gateFormat, Boot: boot, Reason: "no server has opened it since this host booted", Forbidden: g.Forbidden}
}

// obey applies a server's order. A leader's generations count up; a later leader (a higher epoch) may begin lower, as
// its clock isn't its predecessor's. An operator's opening outlives a server's closing in that boot, but not its list.
// up is the time since the boot, here and below.
func (g gateRecord) obey(o *agentv1.GateOrder, up time.Duration) (gateRecord, error) {
	if boot, err := transport.BootFromBytes(o.GetBoot()); err != nil || boot.String() != g.Boot {
		return g, errors.New("the order is for another boot")
	}
	if o.GetEpoch() < g.Epoch { // transport refuses those it knows of; the record remembers longer than one process
		return g, fmt.Errorf("the order is of epoch %d, the one in force of epoch %d", o.GetEpoch(), g.Epoch)
	}
	if o.GetGeneration() <= g.Generation && o.GetEpoch() == g.Epoch {
		return g, errStaleGate
	}
	forbidden := make([]string, 0, len(o.GetForbidden()))
	for _, u := range o.GetForbidden() {
		n, ok := normalUUID(u)
		if !ok {
			return g, fmt.Errorf("the order forbids %q, which is no VM", u)
		}
		forbidden = append(forbidden, n)
	}
	slices.Sort(forbidden)
	next := g
	next.Generation, next.Epoch, next.Forbidden = o.GetGeneration(), o.GetEpoch(), slices.Compact(forbidden)
	if !g.ByHand {
		next.Open, next.Reason = o.GetOpen(), o.GetReason()
	}
	more := slices.ContainsFunc(next.Forbidden, func(u string) bool { return !slices.Contains(g.Forbidden, u) })
	switch {
	case !next.Open:
		next.Opened = 0
	case !g.Open || more || g.Generation == 0:
		next.Opened = up
	}
	return next, nil
}

// byHand opens the gate of this boot on an operator's word. What the last order forbade stays forbidden.
func (g gateRecord) byHand(reason string, up time.Duration) gateRecord {
	next := g
	next.Open, next.ByHand, next.Reason = true, true, "opened by hand: "+reason
	if !g.Open {
		next.Opened = up
	}
	return next
}

// refuses says why a VM must not start here now; "" if it may. Every doubt is a no.
func (g gateRecord) refuses(boot, vm string) string {
	switch {
	case g.Boot != boot:
		return "the gate is closed: no server has opened it since this host booted"
	case !g.Open:
		return "the gate is closed: " + g.Reason
	case slices.Contains(g.Forbidden, vm):
		return "it was brought back on another host, or is about to be; here it would run twice"
	}
	return ""
}

// hunted are the VMs to be killed wherever they run on this host: those that an order of this very boot forbids, while
// the gate is closed and for huntFor after it opened. A list of an earlier boot only keeps VMs from starting.
func (g gateRecord) hunted(up time.Duration) []string {
	if g.Generation == 0 || g.Open && up-g.Opened > huntFor {
		return nil
	}
	return g.Forbidden
}

// wire is the record as servers are told of it.
func (g gateRecord) wire(f Facts) *agentv1.GateState {
	boot, err := transport.ParseBoot(g.Boot)
	m := &agentv1.GateState{
		Open: g.Open, Reason: g.Reason, Enforced: uint32(len(g.Forbidden)), Generation: g.Generation,
		NovaComputeRunning: f.NovaComputeRunning, HookInstalled: f.HookInstalled, OpenedByHand: g.ByHand,
	}
	if err == nil {
		m.Boot = boot.Bytes()
	}
	return m
}

// normalUUID is how a VM's id is written: 36 characters, lower case.
func normalUUID(s string) (string, bool) {
	if len(s) != 36 {
		return "", false
	}
	u, err := uuid.Parse(s)
	return u.String(), err == nil
}
