package server

import (
	"context"
	"fmt"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// orderWithin is how long an agent may take to begin an order.
const orderWithin = 5 * time.Second

// send gives a message to one of the host's links.
func (g *agents) send(host string, m *agentv1.FromServer) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var err error = fmt.Errorf("no agent of %s is connected here", host)
	for l := range g.links[host] {
		if err = l.Send(m); err == nil {
			return nil
		}
	}
	return err
}

// order sends an order and waits for its result. given is before the agent can have begun it.
func (g *agents) order(ctx context.Context, host string, o *agentv1.Order) (result *agentv1.Result, given time.Time, err error) {
	given = time.Now()
	w := order{host: host, given: given, done: make(chan *agentv1.FromAgent, 1)}
	g.mu.Lock()
	g.last++
	o.Id = g.last
	g.waiting[o.Id] = w
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.waiting, o.Id)
		g.mu.Unlock()
	}()
	o.DeadlineMs = uint32(orderWithin.Milliseconds())
	if err := g.send(host, &agentv1.FromServer{Kind: &agentv1.FromServer_Order{Order: o}}); err != nil {
		return nil, given, err
	}
	select {
	case m := <-w.done:
		return m.GetResult(), given, nil
	case <-ctx.Done():
		return nil, given, fmt.Errorf("%s's agent did not answer an order: %w", host, ctx.Err())
	}
}

// askGuests has an agent list its guests now. The stream keeps order: the list that came before the result was read
// after the order was given, which no list that comes by itself can prove.
func (g *agents) askGuests(ctx context.Context, a engine.Action) engine.Event {
	ctx, cancel := context.WithTimeout(ctx, orderWithin)
	defer cancel()
	r := g.s.reign.Load()
	if r == nil {
		return engine.Answered{Action: a.ID, Answer: engine.NotSent, Text: errNotLeading.Error()}
	}
	res, given, err := g.order(ctx, a.Host, &agentv1.Order{Epoch: uint64(r.epoch), Kind: agentv1.OrderKind_ORDER_KIND_LIST_GUESTS, Boot: g.boot(a.Host)})
	switch {
	case err != nil:
		return engine.Answered{Action: a.ID, Answer: engine.NotSent, Text: err.Error()}
	case !res.GetOk():
		return engine.Answered{Action: a.ID, Answer: engine.Refused, Text: res.GetError()}
	}
	g.update(a.Host, func(rep *engine.AgentReport) { rep.AsOf = given })
	return engine.Answered{Action: a.ID, Answer: engine.Accepted}
}

func (g *agents) boot(host string) []byte {
	g.mu.RLock()
	defer g.mu.RUnlock()
	b, err := transport.ParseBoot(g.records[host].Boot)
	if err != nil {
		return nil
	}
	return b.Bytes()
}

// sendGate tells a host's agent whether nova-compute may start.
func (g *agents) sendGate(_ context.Context, a engine.Action, epoch uint64) engine.Event {
	boot, err := transport.ParseBoot(a.Gate.Boot)
	if err != nil {
		return engine.Answered{Action: a.ID, Answer: engine.NotSent, Text: err.Error()}
	}
	g.mu.Lock()
	g.gates[a.Host] = max(g.gates[a.Host]+1, uint64(time.Now().UnixMilli())) // above that of any earlier leader
	generation := g.gates[a.Host]
	g.mu.Unlock()
	err = g.send(a.Host, &agentv1.FromServer{Kind: &agentv1.FromServer_Gate{Gate: &agentv1.GateOrder{
		Generation: generation, Epoch: epoch, Open: a.Gate.Open, Forbidden: a.Gate.Forbidden, Reason: a.Gate.Reason, Boot: boot.Bytes(),
	}}})
	if err != nil {
		return engine.Answered{Action: a.ID, Answer: engine.NotSent, Text: err.Error()}
	}
	return engine.Answered{Action: a.ID, Answer: engine.Accepted}
}
