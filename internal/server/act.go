package server

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// act carries out one action of the engine and puts its answer into the loop. It is the only place where decisions
// touch the world.
func (r *reign) act(a engine.Action, f *flight) {
	defer r.land(a)
	r.s.stalled()
	ctx, cancel := context.WithDeadline(r.ctx, a.Deadline)
	defer cancel()
	began := time.Now()
	ev := r.inTurn(ctx, a, f)
	r.s.metrics.acted(a.Do, ev, time.Since(began))
	if r.ctx.Err() == nil && ev != nil {
		r.in.put(ev)
	}
}

// inTurn lets reads of the cloud wait for each other; acts and readings of power never wait.
func (r *reign) inTurn(ctx context.Context, a engine.Action, f *flight) engine.Event {
	switch a.Do {
	case engine.ListServers, engine.Track, engine.Inspect, engine.Look, engine.ReadService:
		select {
		case r.reads <- struct{}{}:
			defer func() { <-r.reads }()
		case <-ctx.Done():
			return nil // the engine notes by itself that no answer came by the deadline
		}
	}
	return r.perform(ctx, a, f)
}

func (r *reign) perform(ctx context.Context, a engine.Action, f *flight) engine.Event {
	c := r.s.cloud
	intent := cloud.Intent{Permit: f.permit}
	switch a.Do {
	case engine.ReadPower:
		return r.s.fencing.readPower(ctx, a)
	case engine.Fence:
		return r.s.fencing.fence(ctx, a, f.permit)
	case engine.PowerOn:
		return r.s.fencing.powerOn(ctx, a, f.permit)
	case engine.ListServers:
		return r.s.inventory.list(ctx, a)
	case engine.Track:
		return r.s.inventory.track(ctx, a)
	case engine.Inspect:
		return r.s.inventory.inspect(ctx, a)
	case engine.Look:
		return r.s.inventory.look(ctx, a)
	case engine.ReadService:
		return r.s.inventory.readService(ctx, a)
	case engine.AskGuests:
		return r.s.agents.askGuests(ctx, a, uint64(r.epoch))
	case engine.SendGate:
		return r.s.agents.sendGate(a, uint64(r.epoch))
	case engine.TakeOut:
		return r.unlessTheirs(ctx, a, func(disable bool) outcome {
			return answer(c.TakeOut(ctx, intent, a.Service, cloud.TakeOut{Disable: disable, Reason: reasonIf(disable, a.Why)}))
		})
	case engine.PutBack:
		return r.unlessTheirs(ctx, a, func(enable bool) outcome {
			return answer(c.PutBack(ctx, intent, a.Service, cloud.PutBack{Enable: enable}))
		})
	case engine.Evacuate:
		return answer(c.Evacuate(ctx, intent, a.VM, cloud.Evacuate{Host: a.Target, Stopped: a.Stopped})).of(a)
	case engine.ResetState:
		return answer(c.ResetState(ctx, intent, a.VM, cloud.StateError)).of(a)
	case engine.Pause:
		return answer(c.Pause(ctx, intent, a.VM)).of(a)
	case engine.Start:
		return answer(c.Start(ctx, intent, a.VM)).of(a)
	case engine.HardReboot:
		return answer(c.HardReboot(ctx, intent, a.VM)).of(a)
	default:
		return engine.Answered{Action: a.ID, Answer: engine.NotSent, Text: "this server doesn't know how to " + string(a.Do)}
	}
}

// unlessTheirs looks once more, right before it writes: a service that an operator has disabled since it was last read stays
// disabled by them, with their reason, when it is taken out and when it is put back.
func (r *reign) unlessTheirs(ctx context.Context, a engine.Action, write func(change bool) outcome) engine.Event {
	theirs := false
	if a.Disable {
		s, err := r.s.cloud.Service(ctx, a.Host)
		if err != nil {
			return engine.Answered{Action: a.ID, Answer: engine.NotSent, Text: err.Error()}
		}
		theirs = s.Disabled && !strings.HasPrefix(s.DisabledReason, engine.Ours)
	}
	ev := write(a.Disable && !theirs).of(a)
	ev.Theirs = theirs
	return ev
}

func reasonIf(disable bool, reason string) string {
	if disable {
		return reason
	}
	return ""
}

// outcome is what a write came to.
type outcome struct {
	receipt cloud.Receipt
	err     error
}

func answer(receipt cloud.Receipt, err error) outcome { return outcome{receipt, err} }

// of says it to the engine. Anything that isn't certainly a no or certainly unsent counts as unanswered.
func (o outcome) of(a engine.Action) engine.Answered {
	ev := engine.Answered{Action: a.ID, Answer: engine.Accepted}
	if o.err == nil {
		return ev
	}
	ev.Text = o.err.Error()
	var refused *cloud.Refused
	switch {
	case errors.As(o.err, &refused):
		ev.Answer, ev.Status = engine.Refused, refused.Status
	case errors.Is(o.err, cloud.ErrNotSent):
		ev.Answer = engine.NotSent
	default:
		ev.Answer = engine.Unanswered
	}
	return ev
}
