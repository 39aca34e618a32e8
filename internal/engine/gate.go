package engine

import (
	"reflect"
	"slices"
	"sort"
	"time"
)

// gates answers every host that asks whether nova-compute may start, and tells hosts when the answer changes.
func (e *Engine) gates() {
	names := make([]string, 0, len(e.hosts))
	for name, h := range e.hosts {
		if h.asked != "" && (h.alive() || h.report.GateClosed) { // nobody listens on a dead host
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		h := e.hosts[name]
		g := e.gateFor(name, h.asked)
		if reflect.DeepEqual(g, h.sent) {
			continue
		}
		if e.every("gate/"+name, time.Second) {
			e.do("gate/"+name, Action{Do: SendGate, Host: name, Gate: &g, Why: g.Reason})
		}
	}
}

// gateFor decides. The gate opens when no accepted evacuation from the host is open and its VMs are settled; what runs
// elsewhere stays forbidden until the host is readmitted, since Nova may have queued a start for the dead host.
func (e *Engine) gateFor(name, boot string) Gate {
	g := Gate{Boot: boot, Open: true, Reason: "nothing stands against it", Forbidden: []string{}}
	in := e.incidentOf(name)
	if in == nil {
		return g
	}
	for _, r := range e.vms[in.ID] {
		if r.forbidden() && r.VM.Host == name {
			g.Forbidden = append(g.Forbidden, r.VM.ID)
		}
		if r.Open() != nil {
			g.Open, g.Reason = false, "evacuations from "+name+" are still open"
		}
	}
	slices.Sort(g.Forbidden)
	switch in.Phase {
	case PhaseOpen, PhaseFencing, PhaseTakingOut, PhaseResurrecting:
		if in.Verdict != Rebooted {
			g.Open, g.Reason = false, "incident "+in.ID+" is "+string(in.Phase)
		}
	case PhaseAlert, PhaseInPlace, PhaseRecovered, PhaseClosed:
	}
	if g.Open && len(g.Forbidden) > 0 {
		g.Reason = "every VM of incident " + in.ID + " is settled"
	}
	return g
}

func (e *Engine) gateSent(a *Action, ev Answered) {
	if ev.Answer == Accepted && a.Gate != nil {
		e.host(a.Host).sent = *a.Gate
	}
}

func (e *Engine) agentReported(ev AgentReported) {
	h := e.host(ev.Host)
	h.report = ev.Report
	h.report.At = e.now
	// Every agent that reports is told the gate's state once by each leader, whether it asks or not: so what an earlier
	// leader forbade is lifted, or kept, by what this one knows.
	if ev.Report.Boot != "" && h.asked != ev.Report.Boot || ev.Report.GateClosed && h.sent.Open {
		h.asked, h.sent = ev.Report.Boot, Gate{}
	}
}
