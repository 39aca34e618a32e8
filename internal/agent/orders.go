package agent

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/probe"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

const (
	ordersMost = 32               // orders worked on at once; further ones are refused, not queued
	probesMost = 32               // addresses of one probe order
	killTime   = 10 * time.Second // for a QEMU to be gone after SIGKILL
)

// Order takes an order. Gate orders are carried out in the order in which they come, the others side by side.
func (e ear) Order(addr string, m *agentv1.FromServer, until time.Time) {
	a := e.a
	if g := m.GetGate(); g != nil {
		a.obeyGate(g)
		return
	}
	select {
	case a.slots <- struct{}{}:
	default:
		a.answer(addr, refusal(m, fmt.Sprintf("this agent works on %d orders already", ordersMost)))
		return
	}
	a.wg.Go(func() {
		defer func() { <-a.slots }()
		if p := m.GetProbe(); p != nil {
			a.answer(addr, &agentv1.FromAgent{Kind: &agentv1.FromAgent_Probed{Probed: a.witness(p, until)}})
			return
		}
		a.answer(addr, &agentv1.FromAgent{Kind: &agentv1.FromAgent_Result{Result: a.act(addr, m.GetOrder(), until)}})
	})
}

func refusal(m *agentv1.FromServer, why string) *agentv1.FromAgent {
	if p := m.GetProbe(); p != nil {
		return &agentv1.FromAgent{Kind: &agentv1.FromAgent_Probed{Probed: &agentv1.Probed{OrderId: p.GetId(), Plane: p.GetPlane(), Error: why}}}
	}
	return &agentv1.FromAgent{Kind: &agentv1.FromAgent_Result{Result: &agentv1.Result{OrderId: m.GetOrder().GetId(), Error: why}}}
}

func (a *Agent) answer(addr string, m *agentv1.FromAgent) {
	if err := a.up.SendTo(addr, m); err != nil {
		a.log.Warn("cannot answer an order", "server", addr, "error", err)
	}
}

// obeyGate carries out a gate order. What the disk refused is no change: the state that goes back carries the old
// generation, the gate counts as closed, and an operator hears of it.
func (a *Agent) obeyGate(o *agentv1.GateOrder) {
	changed, err := a.gate.obey(o)
	switch {
	case err != nil:
		a.log.Error("gate order not carried out", "generation", o.GetGeneration(), "open", o.GetOpen(), "error", err)
		a.alerts.add("", fmt.Sprintf("%s cannot carry out a gate order (open: %t, %d VMs forbidden): %v", a.host, o.GetOpen(), len(o.GetForbidden()), err))
	case changed:
		g := a.gate.current()
		a.log.Info("gate", "open", g.Open, "forbidden", len(g.Forbidden), "generation", g.Generation, "epoch", g.Epoch, "reason", g.Reason)
	}
	a.wake()
}

// act carries out an order on this host.
func (a *Agent) act(addr string, o *agentv1.Order, until time.Time) *agentv1.Result {
	r := &agentv1.Result{OrderId: o.GetId()}
	text, err := a.perform(addr, o, until)
	r.Ok, r.Text = err == nil, text
	if err != nil {
		r.Error = err.Error()
		a.log.Warn("order not carried out", "kind", o.GetKind().String(), "vm", o.GetUuid(), "error", err)
	}
	return r
}

func (a *Agent) perform(addr string, o *agentv1.Order, until time.Time) (string, error) {
	if !bytes.Equal(o.GetBoot(), a.boot.Bytes()) {
		return "", fmt.Errorf("refused: the order is for another boot, this is %s", a.boot)
	}
	switch o.GetKind() {
	case agentv1.OrderKind_ORDER_KIND_LIST_GUESTS:
		return "listed", a.reportGuests(addr, true, true)
	case agentv1.OrderKind_ORDER_KIND_LIST_STORES:
		m, err := a.readStores()
		if err != nil {
			return "", err
		}
		return "listed", a.up.SendTo(addr, storesMessage(m))
	case agentv1.OrderKind_ORDER_KIND_KILL_GUEST:
		return a.killGuest(o.GetUuid(), until)
	default:
		return "", fmt.Errorf("refused: this version of the agent doesn't know the order %s", o.GetKind())
	}
}

func (a *Agent) killGuest(id string, until time.Time) (string, error) {
	vm, ok := normalUUID(id)
	if !ok {
		return "", fmt.Errorf("refused: %q is no VM", id)
	}
	if time.Now().After(until) {
		return "", fmt.Errorf("refused: the order is too old by now")
	}
	ctx, cancel := context.WithTimeout(a.ctx, killTime)
	defer cancel()
	n, err := a.machine.Kill(ctx, vm)
	if err != nil {
		return "", err
	}
	a.log.Warn("a guest's QEMU was ended on a server's order", "vm", vm, "processes", n)
	a.wake()
	if n == 0 {
		return "no QEMU of it ran", nil
	}
	return fmt.Sprintf("%d QEMU ended", n), nil
}

// witness probes targets and controls side by side and answers by the deadline, with what was seen till then.
func (a *Agent) witness(o *agentv1.ProbeOrder, until time.Time) *agentv1.Probed {
	out := &agentv1.Probed{OrderId: o.GetId(), Plane: o.GetPlane()}
	n := len(o.GetTargets()) + len(o.GetControls())
	switch {
	case n == 0 || n > probesMost:
		out.Error = fmt.Sprintf("refused: %d addresses, from 1 to %d may be asked for", n, probesMost)
		return out
	case len(o.GetNonce()) == 0 || len(o.GetNonce()) > probe.NonceMost:
		out.Error = fmt.Sprintf("refused: a nonce of %d bytes, 1 to %d are wanted", len(o.GetNonce()), probe.NonceMost)
		return out
	case a.o.Config.Planes[o.GetPlane()] == "":
		out.Error = fmt.Sprintf("this host is not on plane %q", o.GetPlane())
		return out
	}
	ctx, cancel := context.WithDeadline(a.ctx, until)
	defer cancel()
	ask := func(targets []*agentv1.ProbeTarget) func() []*agentv1.ProbeResult {
		results, ended, wg := make([]*agentv1.ProbeResult, len(targets)), make([]time.Time, len(targets)), &sync.WaitGroup{}
		for i, t := range targets {
			wg.Go(func() { results[i], ended[i] = a.probeOne(ctx, o, t), time.Now() })
		}
		return func() []*agentv1.ProbeResult {
			wg.Wait()
			for i, r := range results {
				r.AgeMs = uint32(time.Since(ended[i]).Milliseconds())
			}
			return results
		}
	}
	targets, controls := ask(o.GetTargets()), ask(o.GetControls())
	out.Controls = controls() // before the targets' ages are taken: one silent address keeps the whole report back
	out.Results = targets()
	return out
}

func (a *Agent) probeOne(ctx context.Context, o *agentv1.ProbeOrder, t *agentv1.ProbeTarget) *agentv1.ProbeResult {
	r := &agentv1.ProbeResult{Host: t.GetHost(), Address: t.GetAddress()}
	answer, err := a.prober.Probe(ctx, probe.Target{Plane: o.GetPlane(), Address: t.GetAddress(), Port: t.GetProbePort(), Nonce: o.GetNonce()})
	switch answer {
	case probe.Agent:
		r.Answer = agentv1.ProbeAnswer_PROBE_ANSWER_AGENT
	case probe.Kernel:
		r.Answer = agentv1.ProbeAnswer_PROBE_ANSWER_KERNEL
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}
