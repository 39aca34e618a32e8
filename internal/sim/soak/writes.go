package soak

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// act is a dangerous write as it leaves.
type act struct {
	do           engine.Kind
	host, vm, to string
	machine      string // of an order to a device: the host that it really switches
	enable       bool
}

func (a act) String() string {
	text := string(a.do)
	for _, s := range []string{a.host, a.vm, a.to} {
		if s != "" {
			text += " " + s
		}
	}
	return text
}

// again is the id of a request that a proxy delivers a second time: nobody's sin but the proxy's.
const again = "req-again"

// write sends one request to Nova, once: it connects, asks for the permit, and sends.
func (n nova) write(ctx context.Context, in cloud.Intent, a act, do func(*world.World, world.Caller) (time.Duration, *world.Error)) (cloud.Receipt, error) {
	l := n.l
	connect := &trip{what: "connect", args: a.String(), point: true, there: [2]time.Duration{ms(2), ms(8)}, back: [2]time.Duration{ms(1), ms(3)}}
	connect.do = func(t *trip) { t.lost = l.c.noNova[l.name] }
	within, cancel := context.WithTimeout(ctx, 10*time.Second)
	err := l.travel(within, connect)
	cancel()
	if err != nil {
		return cloud.Receipt{}, fmt.Errorf("%w: %w", cloud.ErrNotSent, err)
	}
	if err := in.Permit(); err != nil {
		return cloud.Receipt{}, fmt.Errorf("%w: %w", cloud.ErrNotSent, err)
	}
	permitted := time.Now()
	t := &trip{what: "send", args: a.String(), point: true, there: [2]time.Duration{ms(2), ms(15)}, back: [2]time.Duration{ms(5), ms(60)}}
	var refused *world.Error
	deliver := func() (time.Duration, *world.Error) {
		l.c.requests++
		return do(l.c.w, world.Caller{User: novaUser, Project: "admin", RequestID: fmt.Sprintf("req-%06d", l.c.requests)})
	}
	repeat := world.Caller{User: novaUser, Project: "admin", RequestID: again}
	t.do = func(t *trip) {
		l.c.truth.sent(l, a, permitted)
		if t.lost = l.c.noNova[l.name]; t.lost {
			return
		}
		fate := l.c.w.FateOf(l.c.pickEvacuations == 0 || a.do == engine.Evacuate)
		slow := fate.Slow
		switch {
		case fate.Status >= 500:
			t.err = fmt.Errorf("%w: %d %s", cloud.ErrUnanswered, fate.Status, fate.Message)
		case fate.Status != 0:
			refused = &world.Error{Code: fate.Status, Message: fate.Message}
		case fate.Hold > 0:
			l.c.after(fate.Hold, func() {
				_, err := deliver()
				l.c.truth.late(a)
				l.c.note("a proxy delivers %s: %v", a, err)
			})
			if t.lost = fate.GaveUp == 0; !t.lost {
				slow += fate.GaveUp
				t.err = fmt.Errorf("%w: 504 the proxy gave up", cloud.ErrUnanswered)
			}
		default:
			var wait time.Duration
			wait, refused = deliver()
			slow += wait
			if fate.Lose && refused == nil {
				t.err = fmt.Errorf("%w: the connection broke", cloud.ErrUnanswered)
			}
			if fate.Twice > 0 { // it heard nothing of the first and passes the answer on after the second
				slow += fate.Twice
				l.c.after(fate.Twice, func() {
					_, err := do(l.c.w, repeat)
					l.c.truth.late(a)
					l.c.note("a proxy repeats %s: %v", a, err)
				})
			}
		}
		if refused != nil {
			t.err = refused
		}
		if refused != nil && refused.Code >= 500 { // it began, and broke
			t.err, refused = fmt.Errorf("%w: %w", cloud.ErrUnanswered, refused), nil
		}
		t.back[0], t.back[1] = t.back[0]+slow, t.back[1]+slow
	}
	err = l.travel(ctx, t)
	receipt := cloud.Receipt{Sent: true}
	switch {
	case err == nil:
		return receipt, nil
	case refused != nil && errors.Is(err, error(refused)):
		return receipt, &cloud.Refused{Status: refused.Code, Message: refused.Message}
	case errors.Is(err, cloud.ErrUnanswered):
		return receipt, err
	}
	return receipt, fmt.Errorf("%w: %w", cloud.ErrUnanswered, err)
}

func (n nova) TakeOut(ctx context.Context, in cloud.Intent, id string, o cloud.TakeOut) (cloud.Receipt, error) {
	yes := true
	u := world.ServiceUpdate{ForcedDown: &yes}
	if o.Disable {
		u.Disabled, u.Reason = &yes, o.Reason
	}
	return n.update(ctx, in, act{do: engine.TakeOut, host: n.l.c.service(id)}, id, u)
}

func (n nova) PutBack(ctx context.Context, in cloud.Intent, id string, o cloud.PutBack) (cloud.Receipt, error) {
	no := false
	u := world.ServiceUpdate{ForcedDown: &no}
	if o.Enable {
		u.Disabled = &no
	}
	return n.update(ctx, in, act{do: engine.PutBack, host: n.l.c.service(id), enable: o.Enable}, id, u)
}

func (n nova) update(ctx context.Context, in cloud.Intent, a act, id string, u world.ServiceUpdate) (cloud.Receipt, error) {
	return n.write(ctx, in, a, func(w *world.World, c world.Caller) (time.Duration, *world.Error) {
		_, wait, err := w.UpdateService(c, id, u)
		return wait, err
	})
}

func (n nova) Evacuate(ctx context.Context, in cloud.Intent, id string, o cloud.Evacuate) (cloud.Receipt, error) {
	a := act{do: engine.Evacuate, vm: n.l.c.vm(id), to: o.Host}
	return n.write(ctx, in, a, func(w *world.World, c world.Caller) (time.Duration, *world.Error) {
		if c.RequestID != again {
			n.l.c.truth.evacuating(n.l, id)
		}
		return 0, w.Evacuate(c, id, o.Host, o.Stopped && n.l.c.o.Microversion >= cloud.KeepsStopped)
	})
}

func (n nova) do(ctx context.Context, in cloud.Intent, kind engine.Kind, id, name string) (cloud.Receipt, error) {
	return n.write(ctx, in, act{do: kind, vm: n.l.c.vm(id)}, func(w *world.World, c world.Caller) (time.Duration, *world.Error) {
		return 0, w.Do(c, id, name)
	})
}

func (n nova) ResetState(ctx context.Context, in cloud.Intent, id string, s cloud.State) (cloud.Receipt, error) {
	return n.do(ctx, in, engine.ResetState, id, "reset-"+string(s))
}

func (n nova) Start(ctx context.Context, in cloud.Intent, id string) (cloud.Receipt, error) {
	return n.do(ctx, in, engine.Start, id, "start")
}

func (n nova) Stop(ctx context.Context, in cloud.Intent, id string) (cloud.Receipt, error) {
	return n.do(ctx, in, "stop", id, "stop")
}

func (n nova) Pause(ctx context.Context, in cloud.Intent, id string) (cloud.Receipt, error) {
	return n.do(ctx, in, engine.Pause, id, "pause")
}

func (n nova) HardReboot(ctx context.Context, in cloud.Intent, id string) (cloud.Receipt, error) {
	return n.do(ctx, in, engine.HardReboot, id, "reboot")
}
