package soak

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// probeWithin is how long an unanswered probe is waited for.
const probeWithin = time.Second

// order is what an agent does with what a server sends.
func (a *agentOn) order(u *uplink, m *agentv1.FromServer) {
	epoch, valid := uint64(0), time.Duration(0)
	switch k := m.Kind.(type) {
	case *agentv1.FromServer_Gate:
		if err := a.epochs.Admit(k.Gate.GetEpoch()); err != nil {
			a.c.note("%s refuses a gate order: %v", a.host, err)
			return
		}
		err := a.gate.Obey(k.Gate, time.Since(a.c.began))
		a.c.note("%s gate open=%t forbidden=%d: %v", a.host, a.gate.Open(), len(a.gate.Forbidden()), err)
		a.enforce()
		a.look()
		return
	case *agentv1.FromServer_Probe:
		epoch, valid = k.Probe.GetEpoch(), time.Duration(k.Probe.GetDeadlineMs())*time.Millisecond
	case *agentv1.FromServer_Order:
		epoch, valid = k.Order.GetEpoch(), time.Duration(k.Order.GetDeadlineMs())*time.Millisecond
	default:
		return
	}
	given, known := a.sentAt[m.GetHeardSeq()]
	if err := a.epochs.Admit(epoch); err != nil || !known && m.GetHeardSeq() != 0 || known && time.Since(given) > valid {
		if o := m.GetOrder(); o != nil {
			u.message(&agentv1.FromAgent{Kind: &agentv1.FromAgent_Result{Result: &agentv1.Result{OrderId: o.GetId(), Error: "refused"}}})
		}
		return
	}
	if p := m.GetProbe(); p != nil {
		a.witness(u, p)
		return
	}
	a.perform(u, m.GetOrder())
}

func (a *agentOn) perform(u *uplink, o *agentv1.Order) {
	boot, _ := transport.ParseBoot(a.boot) // the world makes boots
	res := &agentv1.Result{OrderId: o.GetId()}
	switch {
	case !bytes.Equal(o.GetBoot(), boot.Bytes()):
		res.Error = "the order is for another boot"
	case o.GetKind() == agentv1.OrderKind_ORDER_KIND_LIST_GUESTS:
		u.message(a.guests())
		res.Ok = true
	default:
		res.Error = fmt.Sprintf("unknown order %s", o.GetKind())
	}
	u.message(&agentv1.FromAgent{Kind: &agentv1.FromAgent_Result{Result: res}})
}

// witness probes what it is asked for: answers come at once, a silence is waited for.
func (a *agentOn) witness(u *uplink, o *agentv1.ProbeOrder) {
	out := &agentv1.Probed{OrderId: o.GetId(), Plane: o.GetPlane()}
	silent := false
	ask := func(targets []*agentv1.ProbeTarget) (list []*agentv1.ProbeResult) {
		for _, t := range targets {
			r := &agentv1.ProbeResult{Host: t.GetHost(), Address: t.GetAddress()}
			switch a.c.probe(a.host, world.Plane(o.GetPlane()), t.GetAddress()) {
			case world.AnswerAgent:
				r.Answer = agentv1.ProbeAnswer_PROBE_ANSWER_AGENT
			case world.AnswerKernel:
				r.Answer = agentv1.ProbeAnswer_PROBE_ANSWER_KERNEL
			default:
				silent = true
			}
			list = append(list, r)
		}
		return list
	}
	out.Results, out.Controls = ask(o.GetTargets()), ask(o.GetControls())
	wait, boot := a.c.span(ms(1), ms(5)), a.boot
	if silent {
		wait = probeWithin
	}
	a.c.after(wait, func() {
		if a.boot == boot && a.at().AgentRuns() {
			u.message(&agentv1.FromAgent{Kind: &agentv1.FromAgent_Probed{Probed: out}})
		}
	})
}

// prober is a server's own look at hosts.
type prober struct{ l *life }

// Probe implements server.Prober.
func (p prober) Probe(ctx context.Context, plane detect.Plane, address string, _ uint32) detect.Answer {
	answer := detect.AnswerNone
	t := &trip{what: "probe", args: string(plane) + " " + address, there: [2]time.Duration{ms(1), ms(4)}, back: [2]time.Duration{0, ms(3)}}
	t.do = func(t *trip) {
		switch p.l.c.probe(p.l.name, world.Plane(plane), address) {
		case world.AnswerAgent:
			answer = detect.AnswerAgent
		case world.AnswerKernel:
			answer = detect.AnswerKernel
		default:
			t.lost = true
		}
	}
	if p.l.travel(ctx, t) != nil {
		return detect.AnswerNone
	}
	return answer
}
