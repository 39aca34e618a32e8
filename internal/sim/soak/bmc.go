package soak

import (
	"context"
	"fmt"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// bmc is a host's management controller, or one of its outlets, as one process sees it.
type bmc struct {
	l       *life
	host    string // whose entry of devices.yaml it is
	address string
	outlet  int // of its PDU; -1: it is the controller
	timeout time.Duration
}

var _ fence.Device = (*bmc)(nil)

// drivers open the world's controllers for one process.
func (l *life) drivers() fence.Drivers {
	return fence.Drivers{fence.DriverIPMI: func(s fence.Spec, o fence.Options) (fence.Device, error) {
		host := l.c.behind(s.Address)
		if host == "" {
			return nil, fmt.Errorf("nobody has the address %s", s.Address)
		}
		return &bmc{l: l, host: host, address: s.Address, outlet: supply(s.Address), timeout: o.Timeout}, nil
	}}
}

func (b *bmc) ID() string     { return "ipmi " + b.address }
func (b *bmc) Driver() string { return fence.DriverIPMI }
func (b *bmc) Via() string    { return b.address }
func (b *bmc) Close() error   { return nil }

// ask is one exchange; one that isn't answered in time is ErrUnreachable.
func (b *bmc) ask(ctx context.Context, what string, point bool, f func(*world.World) error) error {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	t := &trip{what: what, args: b.name(), point: point, there: [2]time.Duration{ms(4), ms(30)}, back: [2]time.Duration{ms(4), ms(60)}}
	t.do = func(t *trip) {
		w := b.l.c.w
		if t.lost = !b.answers() || b.l.c.noBMC[b.l.name]; t.lost {
			return
		}
		slow := time.Duration(0)
		if b.outlet < 0 {
			slow = w.Host(b.host).BMC.Slow
		}
		t.back[0], t.back[1] = t.back[0]+slow, t.back[1]+slow
		if f != nil {
			t.err = f(w)
		}
	}
	err := b.l.travel(ctx, t)
	if err != nil && (t.err == nil || ctx.Err() != nil) {
		return fmt.Errorf("%w: %w", fence.ErrUnreachable, err)
	}
	return err
}

func (b *bmc) Power(ctx context.Context) (fence.State, error) {
	state := fence.StateUnknown
	err := b.ask(ctx, "power", false, func(w *world.World) error {
		on, err := b.power(w)
		if state = fence.StateOff; on {
			state = fence.StateOn
		}
		return err
	})
	if err != nil {
		return fence.StateUnknown, err
	}
	return state, nil
}

func (b *bmc) Identity(ctx context.Context) (fence.Identity, error) {
	var id fence.Identity
	err := b.ask(ctx, "identity", false, func(w *world.World) error {
		id.UUID, id.Serial = b.identity(w)
		return nil
	})
	if err != nil {
		return fence.Identity{}, err
	}
	return id, nil
}

func (b *bmc) Off(ctx context.Context, permit fence.Permit) error { return b.set(ctx, permit, false) }

func (b *bmc) On(ctx context.Context, permit fence.Permit) error { return b.set(ctx, permit, true) }

func (b *bmc) set(ctx context.Context, permit fence.Permit, on bool) error {
	a := act{do: engine.Fence, host: b.host, machine: b.host}
	if b.outlet < 0 {
		a.machine = b.l.c.w.Host(b.host).BMC.Machine
	}
	if on {
		a.do = engine.PowerOn
	}
	if err := b.ask(ctx, "login for "+string(a.do), true, nil); err != nil {
		return fmt.Errorf("%w: %w", fence.ErrNotSent, err)
	}
	if err := permit.Ask(); err != nil {
		return err
	}
	permitted := time.Now()
	return b.ask(ctx, "send "+string(a.do), true, func(w *world.World) error {
		b.l.c.truth.sent(b.l, a, permitted)
		err := b.order(w, on)
		if b.l.c.bmcLoses[b.host] > 0 {
			b.l.c.bmcLoses[b.host]--
			return fmt.Errorf("%w: the answer is lost", fence.ErrUnreachable)
		}
		return err
	})
}

func (b *bmc) Check(ctx context.Context) fence.Health { return fence.Examine(ctx, b) }
