package server

import (
	"fmt"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

var _ transport.Handler = (*agents)(nil)

// Hello takes a host's introduction. Two machines with one name, or one machine with two names, are for people. It
// waits for nothing: an agent that isn't heard because a disk is slow would be taken for a dead host.
func (g *agents) Hello(l *transport.Link, h *agentv1.Hello) (*agentv1.Welcome, error) {
	host := l.Host()
	h = bounded(g.log, h)
	g.mu.Lock()
	a := g.records[host]
	if id := machineOf(l.Machine()); a.another(id) && !a.Joined.IsZero() {
		g.mu.Unlock()
		return nil, fmt.Errorf("%s is known as another machine (%s) than this one (%s); if it was replaced: ninelives host rejoin %s",
			host, a.Machine.UUID, id.UUID, host)
	}
	before := a
	a.introduced(l, h)
	g.set(a)
	g.links[host] = append(g.links[host], l)
	g.heard[host] = h.GetEpoch()
	rep := g.report(host)
	if before.Boot != a.Boot { // nothing that another life of the machine said holds for this one, not even its mounts
		rep.AgentReport, rep.gate = engine.AgentReport{}, false
	}
	rep.Boot, rep.listed, rep.AsOf = a.Boot, nil, time.Time{}
	g.mu.Unlock()
	g.Pulse(l, 0)
	g.sayAhead(h.GetEpoch())
	if before.Boot != a.Boot {
		g.s.inventory.rebooted(host)
	}
	g.remember()
	g.s.want()
	if g.s.fencing.unbound(host) { // now that it has said which machine it is, its devices may turn out to be its own
		g.s.fencing.checkSoon(host)
	}
	if m := g.s.cards.addresses(); len(m.GetServers()) > 0 {
		_ = l.Send(serversMessage(m)) // after the Welcome; a link that has ended needs it no more
	}
	return &agentv1.Welcome{PulseMs: uint32(g.s.times.Pulse.Milliseconds()), Cluster: g.s.cluster}, nil
}

// introduced takes over what a Hello says.
func (a *AgentRecord) introduced(l *transport.Link, h *agentv1.Hello) {
	if a.Joined.IsZero() {
		a.Joined = time.Now()
	}
	a.Host, a.Serial, a.Version, a.Boot = l.Host(), l.Serial(), h.GetAgentVersion(), l.Boot().String()
	a.Machine = machineOf(l.Machine())
	a.Planes, a.Labels, a.ProbePort = h.GetPlanes(), h.GetLabels(), h.GetProbePort()
	n := h.GetNova()
	a.Nova = NovaFacts{
		Host: n.GetHost(), Hypervisor: n.GetHypervisorHostname(), Resume: n.GetResumeGuestsStateOnHostBoot(),
		GuestsBoot: n.GetLibvirtGuestsOnBoot(), Autostart: n.GetAutostarted(), Config: n.GetConfigPath(),
	}
}

// Pulse is the hot path.
func (g *agents) Pulse(l *transport.Link, _ uint64) {
	g.s.ears.step(detect.Pulse{Host: l.Host(), Boot: l.BootID(), Stream: l.Remote(), Server: g.s.cfg.Name})
}

// Closed tells detection that a stream ended.
func (g *agents) Closed(l *transport.Link, how transport.End, err error) {
	g.mu.Lock()
	kept := g.links[l.Host()][:0:0]
	for _, other := range g.links[l.Host()] {
		if other != l {
			kept = append(kept, other)
		}
	}
	if g.links[l.Host()] = kept; len(kept) == 0 {
		delete(g.links, l.Host())
	}
	g.mu.Unlock()
	said := how == transport.EndReset || how == transport.EndEOF || how == transport.EndGoodbye
	g.s.peers.ended(l, said, how == transport.EndReset)
	g.log.Debug("an agent's link ended", "host", l.Host(), "how", string(how), "error", err)
	if said {
		g.s.ears.step(detect.StreamLost{Host: l.Host(), Stream: l.Remote(), Server: g.s.cfg.Name, Reset: how == transport.EndReset})
	}
}

// Message takes everything but pulses.
func (g *agents) Message(l *transport.Link, m *agentv1.FromAgent) {
	host := l.Host()
	switch m.Kind.(type) {
	case *agentv1.FromAgent_Goodbye:
		if m.GetGoodbye().GetLeaving() == agentv1.Leaving_LEAVING_HOST {
			g.s.ears.step(detect.Goodbye{Host: host, Boot: l.BootID()})
		}
	case *agentv1.FromAgent_Heard:
		g.hears(host, m.GetHeard().GetEpoch())
	case *agentv1.FromAgent_Guests:
		g.guests(l, m.GetGuests())
	case *agentv1.FromAgent_Stores:
		g.stores(l, m.GetStores())
	case *agentv1.FromAgent_Gate:
		g.gateSaid(l, m.GetGate())
	case *agentv1.FromAgent_Probed:
		g.s.watch.probed(host, m.GetProbed())
	case *agentv1.FromAgent_Result:
		g.result(l, m.GetResult())
	case *agentv1.FromAgent_Alert:
		g.s.trail.note(engine.Note{Severity: engine.Critical, Host: host, VM: cut(m.GetAlert().GetUuid(), wordLimit), Text: cut(m.GetAlert().GetText(), textLimit)})
	}
}
