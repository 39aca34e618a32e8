package engine

import (
	"reflect"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/planted"
)

// manyGates is from how many hosts on their gates wait for the next tick.
const manyGates = 100

// gateWithin is how long an agent may take to say that an order is in force.
const gateWithin = time.Second

// regate has a host's agent told its gate's state again.
func (e *Engine) regate(name string) {
	if h := e.host(name); h.asked != "" {
		h.sent = Gate{}
		e.gated[name] = true
	}
}

// gates answers every host that asks whether nova-compute may start, and tells hosts when the answer changes.
//
// With 10,000 hosts that report at once after a takeover, a step must not look at them all: only a tick does.
func (e *Engine) gates(ev Event) {
	if r, ok := ev.(AgentReported); ok {
		if e.gated[r.Host] {
			e.tellGate(r.Host, e.host(r.Host))
		}
		return
	}
	if len(e.gated) > manyGates {
		if _, ok := ev.(Tick); !ok {
			return
		}
	}
	for _, in := range e.open {
		if in.acting() && e.host(in.Host).asked != "" {
			e.gated[in.Host] = true
		}
	}
	names := make([]string, 0, len(e.gated))
	for name := range e.gated {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		e.tellGate(name, e.host(name))
	}
}

func (e *Engine) tellGate(name string, h *host) {
	if h.report.Boot != h.asked || !h.pulses() && !h.report.GateClosed || h.pulses() && h.now.Boot != "" && h.now.Boot != h.asked {
		return // nobody listens on a dead host, and a boot that hasn't spoken yet is told once it has
	}
	g := e.gateFor(name, h.asked)
	if reflect.DeepEqual(g, h.sent) {
		if e.incidentOf(name) == nil && len(h.late) == 0 {
			delete(e.gated, name)
		}
		return
	}
	key := "gate/" + name
	if !e.busy(key) && e.now.Sub(h.gateAt) >= time.Second {
		h.gateAt = e.now
		e.do(key, Action{Do: SendGate, Host: name, Gate: &g, Why: g.Reason})
	}
}

// gateFor decides. The gate opens when no accepted evacuation from the host is open and its VMs and strays are settled; what runs
// elsewhere stays forbidden until some minutes after the host is readmitted (lateFor), since Nova may have queued a start for the dead host.
func (e *Engine) gateFor(name, boot string) Gate {
	g := Gate{Boot: boot, Open: true, Reason: "nothing stands against it", Forbidden: append([]string{}, e.keptForbidden(name)...)}
	in := e.incidentOf(name)
	if in == nil {
		if len(e.host(name).late) > 0 {
			g.Reason = "it is back in service; orders from before its failure may still come"
		}
		return g
	}
	for _, r := range e.vms[in.ID] {
		if r.Open() != nil {
			g.Open, g.Reason = false, "evacuations from "+name+" are still open"
		}
	}
	g.Forbidden = merge(g.Forbidden, e.forbiddenOn(in))
	slices.Sort(g.Forbidden)
	switch in.Phase {
	case PhaseOpen, PhaseFencing, PhaseTakingOut, PhaseResurrecting:
		if in.Verdict != Rebooted || in.fenced() {
			g.Open, g.Reason = false, "incident "+in.ID+" is "+string(in.Phase)
		}
	case PhaseAlert, PhaseInPlace, PhaseRecovered, PhaseRetrying, PhaseClosed:
	}
	if r := e.strayOnItsWay(in); g.Open && r != nil {
		g.Open, g.Reason = false, r.VM.Name+" was on its way here when "+name+" died, and is being resurrected elsewhere"
	}
	if g.Open && len(g.Forbidden) > 0 {
		g.Reason = "every VM of incident " + in.ID + " is settled"
	}
	return g
}

// forbiddenOn lists what must not start on an incident's host: what runs elsewhere, or may, and what was on its way there
// when it died.
func (e *Engine) forbiddenOn(in *Incident) []string {
	if planted.GateList {
		return nil
	}
	var out []string
	for _, r := range e.recoveries(in) {
		if r.forbidden() && r.VM.Host == in.Host {
			out = append(out, r.VM.ID)
		}
	}
	for _, id := range in.Strays {
		if r := e.vms[in.ID][id]; r == nil || r.forbidden() {
			out = merge(out, []string{id})
		}
	}
	if !in.fenced() && in.Earlier == nil {
		return out
	}
	for _, r := range e.load().toward[in.Host] { // sent here before this host died, and not a stray yet: whether Nova took it isn't known
		if a := r.Open(); r.Incident != in.ID && a != nil && either(a.To, a.Target) == in.Host {
			out = merge(out, []string{r.VM.ID})
		}
	}
	return out
}

func (e *Engine) gateSent(a *Action, ev Answered) {
	if ev.Answer == Accepted && a.Gate != nil {
		e.host(a.Host).sent = *a.Gate
	}
}

// agentReported takes in an agent's view of its host. Every agent is told the gate's state once by each leader, whether
// it asks or not: so what an earlier leader forbade is lifted, or kept, by what this one knows.
func (e *Engine) agentReported(ev AgentReported) {
	h := e.host(ev.Host)
	if !slices.Equal(ev.Report.Guests, h.report.Guests) {
		h.guestsAt = e.now
	}
	h.report = ev.Report
	h.report.At = e.now
	// It was told, and says closed all the same, or that another order is in force.
	lost := (ev.Report.GateClosed && h.sent.Open || ev.Report.GateStale && h.sent.Boot != "") && e.now.Sub(h.gateAt) >= gateWithin
	if ev.Report.Boot != "" && (h.asked != ev.Report.Boot || lost) {
		h.asked = ev.Report.Boot
		e.regate(ev.Host)
	}
}
