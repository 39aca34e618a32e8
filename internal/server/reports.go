package server

import (
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// report returns the host's report; g.mu must be held.
func (g *agents) report(host string) *report {
	r, ok := g.reports[host]
	if !ok {
		r = &report{AgentReport: engine.AgentReport{Stores: g.records[host].Stores}}
		g.reports[host] = r
	}
	return r
}

// said takes in what an agent said, and passes its view of its host on. What comes on a link of a boot that isn't the
// last one introduced says nothing of the host as it is. The engine is told under the lock, so that no older view
// overtakes a newer one.
func (g *agents) said(l *transport.Link, change func(*report)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.records[l.Host()].Boot != l.Boot().String() {
		return
	}
	r := g.report(l.Host())
	if change(r); !r.gate {
		return // whether its gate is open can't be told yet, and the engine must not take that for either
	}
	g.s.tell(engine.AgentReported{Host: l.Host(), Report: r.AgentReport})
}

// guests takes a list of QEMU processes. Until one has come, and after one that could not be read in full, nobody
// knows what runs on the host.
func (g *agents) guests(l *transport.Link, m *agentv1.Guests) {
	ids := make([]string, 0, len(m.GetGuests()))
	whole := m.GetError() == ""
	for _, q := range m.GetGuests() {
		if !cloud.ValidID(q.GetUuid()) {
			whole = false // it names no VM, and what it hides can't be told
			continue
		}
		ids = append(ids, q.GetUuid())
	}
	g.said(l, func(r *report) {
		if r.listed != l {
			r.AsOf = time.Time{} // the answer to an order came on another link
		}
		r.Guests, r.GuestsSeen, r.listed, r.at = ids, whole, l, time.Now()
	})
}

// gateSaid takes in what a host's gate does now, also whether it goes by the last order that this server sent.
func (g *agents) gateSaid(l *transport.Link, m *agentv1.GateState) {
	g.said(l, func(r *report) {
		r.GateClosed, r.gate = !m.GetOpen(), true
		r.ByHand, r.Refuses = m.GetOpenedByHand(), int(m.GetEnforced())
		sent := g.gates[l.Host()]
		r.GateStale = sent != 0 && sent != m.GetGeneration()
	})
}

func (g *agents) stores(l *transport.Link, m *agentv1.Stores) {
	ids := storeIDs(m)
	g.said(l, func(r *report) {
		r.Stores = ids
		a := g.records[l.Host()]
		a.Stores = ids
		g.set(a)
	})
	g.remember()
}
