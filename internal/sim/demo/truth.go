package demo

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// truth is what really happened, noted while it happens.
type truth struct {
	cloud *wire.Cloud
	power func(host string) // told of a machine's power and boots

	mu      sync.Mutex
	started map[string]time.Time // VM → when its youngest copy began to run
	moved   map[string][]string  // host → VMs that Nova took evacuations of, from it or to it
	hit     map[string]hit       // host → what the script did to it
}

// hit is what was done to a host, when, and which VMs it ran.
type hit struct {
	at       time.Time
	how      fault
	vms      []string
	mayStand bool // its VMs may go on running where they are
}

type fault string

const (
	faultCut     fault = "cut"
	faultFreeze  fault = "freeze"
	faultIsolate fault = "isolate"
)

func newTruth(c *wire.Cloud, power func(host string)) *truth {
	t := &truth{cloud: c, power: power, started: map[string]time.Time{}, moved: map[string][]string{}, hit: map[string]hit{}}
	c.World(func(w *world.World) { w.Subscribe(t.see) })
	return t
}

// see is called under the world's lock.
func (t *truth) see(e world.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Kind {
	case "copy-start":
		t.started[e.VM] = e.At
	case "evacuate-accepted":
		if !slices.Contains(t.moved[e.Host], e.VM) {
			t.moved[e.Host] = append(t.moved[e.Host], e.VM)
		}
	case "cast-queued": // Nova's order to build it waits for a dead destination
		if id, ok := strings.CutPrefix(e.Text, "rebuild "); ok && !slices.Contains(t.moved[e.Host], id) {
			t.moved[e.Host] = append(t.moved[e.Host], id)
		}
	case "power-off", "boot", "agent-killed", "agent-started":
		t.power(e.Host)
	}
}

func (t *truth) movedFrom(host string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.moved[host])
}

// do brings a fault on a host and notes the moment. A host that was hit already keeps its first moment.
func (t *truth) do(host string, how fault) time.Time {
	h := hit{how: how, mayStand: how == faultIsolate}
	t.cloud.World(func(w *world.World) {
		h.at, h.vms = w.Now(), w.Guests(host)
		switch how {
		case faultCut:
			w.PowerCut(host)
		case faultFreeze:
			w.Freeze(host)
		case faultIsolate:
			w.CutPlane(host, world.Management)
		}
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, again := t.hit[host]; !again {
		t.hit[host] = h
	}
	return h.at
}

// forget begins a host's story anew, for the next fault of an interactive demo.
func (t *truth) forget(host string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.hit, host)
}

func (t *truth) hits() map[string]hit {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]hit{}
	for host, h := range t.hit {
		out[host] = h
	}
	return out
}

// lastStart is when the last of these VMs came to run; zero if none did since the given time.
func (t *truth) lastStart(vms []string, since time.Time) (last time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range vms {
		if at := t.started[id]; at.After(since) && at.After(last) {
			last = at
		}
	}
	return last
}

// standing is how the world is now.
type standing struct {
	down    map[string]bool // VMs that should run and don't
	doubles []world.DoubleRun
	lost    []world.Loss
	hosts   map[string]machineState
}

type machineState struct{ on, booted, frozen, isolated, forcedDown, compute bool }

func (t *truth) now() standing {
	s := standing{down: map[string]bool{}, hosts: map[string]machineState{}}
	t.cloud.World(func(w *world.World) {
		for _, id := range w.VMsDown() {
			s.down[id] = true
		}
		s.doubles, s.lost = w.DoubleRuns(), w.Lost()
		for _, name := range w.HostNames() {
			h := w.Host(name)
			s.hosts[name] = machineState{
				on: h.On, booted: h.Kernel, frozen: h.Frozen, isolated: h.IsCut(world.Management), forcedDown: h.ForcedDown || h.Disabled,
				compute: h.ComputeRuns,
			}
		}
	})
	return s
}
