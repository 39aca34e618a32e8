package server

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// orderWithin is how long an agent may take to begin an order.
const orderWithin = 5 * time.Second

// order is one that waits for its result.
type order struct {
	link  *transport.Link
	kind  agentv1.OrderKind
	given time.Time
	done  chan *agentv1.Result
}

// link is the newest link of the host's last boot: an older boot's is a connection that died unseen. Call with g.mu held.
func (g *agents) link(host string) (*transport.Link, error) {
	boot := g.records[host].Boot
	for _, l := range slices.Backward(g.links[host]) {
		if l.Boot().String() == boot {
			return l, nil
		}
	}
	return nil, fmt.Errorf("no agent of %s is connected here", host)
}

// send gives a message to the host's agent.
func (g *agents) send(host string, m *agentv1.FromServer) error {
	g.mu.RLock()
	l, err := g.link(host)
	g.mu.RUnlock()
	if err != nil {
		return err
	}
	return l.Send(m)
}

// broadcast gives a message to all agents.
func (g *agents) broadcast(m *agentv1.FromServer) {
	for _, l := range g.open() {
		_ = l.Send(m) // an agent whose link ends now hears it on the next
	}
}

func (g *agents) nextOrder() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last++
	return g.last
}

// order sends an order and waits for its result.
func (g *agents) order(ctx context.Context, host string, o *agentv1.Order) (*agentv1.Result, error) {
	o.Id, o.DeadlineMs = g.nextOrder(), uint32(orderWithin.Milliseconds())
	g.mu.Lock()
	l, err := g.link(host)
	if err != nil {
		g.mu.Unlock()
		return nil, err
	}
	boot := l.Boot()
	o.Boot = boot.Bytes()
	w := order{link: l, kind: o.GetKind(), given: time.Now(), done: make(chan *agentv1.Result, 1)}
	g.waiting[o.GetId()] = w
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.waiting, o.GetId())
		g.mu.Unlock()
	}()
	if err := l.Send(&agentv1.FromServer{Kind: &agentv1.FromServer_Order{Order: o}}); err != nil {
		return nil, err
	}
	select {
	case res := <-w.done:
		return res, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%s's agent did not answer an order: %w", host, ctx.Err())
	}
}

// result takes the answer to an order, from the agent it was given to. The stream keeps order: a list of guests that
// came on it since the order was given, before the result, was read after the order, which no list that comes by
// itself can prove.
func (g *agents) result(l *transport.Link, m *agentv1.Result) {
	g.mu.Lock()
	w, ok := g.waiting[m.GetOrderId()]
	if ok = ok && w.link == l; ok {
		delete(g.waiting, m.GetOrderId())
	}
	g.mu.Unlock()
	if !ok {
		return
	}
	if m.GetOk() && w.kind == agentv1.OrderKind_ORDER_KIND_LIST_GUESTS {
		g.said(l, func(r *report) {
			if r.listed == l && !r.at.Before(w.given) {
				r.AsOf = w.given
			}
		})
	}
	w.done <- m // has room for the one there is
}

// askGuests has an agent list its guests now; the list itself reaches the engine as the agent's report.
func (g *agents) askGuests(ctx context.Context, a engine.Action, epoch uint64) engine.Event {
	ctx, cancel := context.WithTimeout(ctx, orderWithin)
	defer cancel()
	res, err := g.order(ctx, a.Host, &agentv1.Order{Epoch: epoch, Kind: agentv1.OrderKind_ORDER_KIND_LIST_GUESTS})
	switch {
	case err != nil:
		return engine.Answered{Action: a.ID, Answer: engine.NotSent, Text: err.Error()}
	case !res.GetOk():
		return engine.Answered{Action: a.ID, Answer: engine.Refused, Text: res.GetError()}
	}
	return engine.Answered{Action: a.ID, Answer: engine.Accepted}
}

// sendGate tells a host's agent whether nova-compute may start.
func (g *agents) sendGate(a engine.Action, epoch uint64) engine.Event {
	unsent := func(err error) engine.Event {
		return engine.Answered{Action: a.ID, Answer: engine.NotSent, Text: err.Error()}
	}
	boot, err := transport.ParseBoot(a.Gate.Boot)
	if err != nil {
		return unsent(err)
	}
	g.mu.Lock()
	l, err := g.link(a.Host)
	g.gates[a.Host] = max(g.gates[a.Host]+1, uint64(time.Now().UnixMilli())) // a later leader's epoch lets it begin lower
	generation := g.gates[a.Host]
	g.mu.Unlock()
	switch {
	case err != nil:
		return unsent(err)
	case l.Boot() != boot:
		return unsent(fmt.Errorf("%s runs another boot by now, %s", a.Host, l.Boot()))
	}
	err = l.Send(&agentv1.FromServer{Kind: &agentv1.FromServer_Gate{Gate: &agentv1.GateOrder{
		Generation: generation, Epoch: epoch, Open: a.Gate.Open, Forbidden: a.Gate.Forbidden, Reason: a.Gate.Reason, Boot: boot.Bytes(),
	}}})
	if err != nil {
		return unsent(err)
	}
	return engine.Answered{Action: a.ID, Answer: engine.Accepted}
}
