package transport

import (
	"errors"
	"fmt"
	"time"

	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// order is what all kinds of orders have in common.
type order struct {
	id       uint64
	epoch    uint64
	validity time.Duration
	endless  bool // a gate order holds until the next one
}

// orderOf is false for a message that is no order.
func orderOf(m *agentv1.FromServer) (order, bool) {
	ms := func(n uint32) time.Duration { return time.Duration(n) * time.Millisecond }
	switch k := m.GetKind().(type) {
	case *agentv1.FromServer_Probe:
		return order{id: k.Probe.GetId(), epoch: k.Probe.GetEpoch(), validity: ms(k.Probe.GetDeadlineMs())}, true
	case *agentv1.FromServer_Order:
		return order{id: k.Order.GetId(), epoch: k.Order.GetEpoch(), validity: ms(k.Order.GetDeadlineMs())}, true
	case *agentv1.FromServer_Gate:
		return order{epoch: k.Gate.GetEpoch(), endless: true}, true
	}
	return order{}, false
}

// judge says until when an order may be begun, or why it may not. given is a moment before which the server can't have
// given it; false: unknown, which means no.
func (o order) judge(fence *EpochFence, given time.Time, known bool, now time.Time) (time.Time, error) {
	if err := fence.Admit(o.epoch); err != nil {
		return time.Time{}, err
	}
	if o.endless {
		return time.Time{}, nil
	}
	if o.validity == 0 {
		return time.Time{}, errors.New("the order carries no deadline")
	}
	if !known {
		return time.Time{}, errors.New("the order's age can't be told: the pulse that it names is not remembered")
	}
	until := given.Add(o.validity)
	// Both clocks: the monotonic one stands still while a machine is suspended, the wall clock may be set.
	if now.After(until) || now.Round(0).After(until.Round(0)) {
		return time.Time{}, fmt.Errorf("the order came too late: it was valid for %s", o.validity)
	}
	return until, nil
}

// refusedOrder answers an order that was not handed on.
func refusedOrder(id uint64, reason error) *agentv1.FromAgent {
	return &agentv1.FromAgent{Kind: &agentv1.FromAgent_Result{Result: &agentv1.Result{
		OrderId: id, Error: "refused: " + reason.Error(),
	}}}
}
