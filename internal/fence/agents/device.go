package agents

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

// device is one agent with its options: one outlet, one machine.
type device struct {
	driver *Driver
	spec   fence.Spec
	opts   fence.Options
	turn   chan struct{} // one run at a time
}

// ID is "agent fence_x controller/plug".
func (d *device) ID() string {
	id := "agent " + d.spec.Agent
	if via := d.Via(); via != d.spec.Agent {
		id += " " + via
	}
	if plug := d.option("plug", "port", "uuid"); plug != "" {
		id += "/" + plug
	}
	return id
}

// Driver is "agent".
func (d *device) Driver() string { return fence.DriverAgent }

// Via is the controller's address; the agent's name if it has none.
func (d *device) Via() string {
	host := d.option("ip", "ipaddr")
	if host == "" {
		return d.spec.Agent
	}
	if port := d.option("ipport"); port != "" {
		return net.JoinHostPort(host, port)
	}
	return host
}

func (d *device) option(names ...string) string {
	values := make([]string, len(names))
	for i, name := range names {
		values[i] = d.spec.Options[name]
	}
	return cmp.Or(values...)
}

// Identity is never known: an agent has no action for it.
func (d *device) Identity(context.Context) (fence.Identity, error) {
	return fence.Identity{}, fence.ErrNoIdentity
}

// Power runs the action status.
func (d *device) Power(ctx context.Context) (fence.State, error) {
	res, secrets, err := d.act(ctx, "status", statusTimes, nil)
	if err != nil {
		return fence.StateUnknown, err
	}
	state, ok := stateOf(res)
	if !ok {
		return fence.StateUnknown, fmt.Errorf("status: %w", res.failure(secrets))
	}
	return state, nil
}

// Off runs the action off. Agents of fencing.py send nothing to a device that
// reads off already.
func (d *device) Off(ctx context.Context, permit fence.Permit) error {
	return d.set(ctx, "off", permit)
}

// On runs the action on.
func (d *device) On(ctx context.Context, permit fence.Permit) error {
	return d.set(ctx, "on", permit)
}

func (d *device) set(ctx context.Context, action string, permit fence.Permit) error {
	permitted := false
	res, secrets, err := d.act(ctx, action, switchTimes, func() error {
		err := permit.Ask()
		permitted = err == nil
		return err
	})
	if err != nil && !permitted && !errors.Is(err, fence.ErrNotSent) {
		return fmt.Errorf("%w: %w", fence.ErrNotSent, err)
	}
	if err != nil {
		return err
	}
	if res.code != 0 {
		return fmt.Errorf("%s: %w", action, res.failure(secrets))
	}
	return nil
}

// act runs one action. Its error says that the agent wasn't run to its end.
func (d *device) act(ctx context.Context, action string, times int, before func() error) (result, map[string]fence.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(times)*d.opts.Timeout)
	defer cancel()
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return result{}, nil, fmt.Errorf("%s is busy: %w", d.ID(), ctx.Err())
	}
	meta, err := d.driver.vetted(ctx, d.spec)
	if err != nil {
		return result{}, nil, err
	}
	options, secrets, err := d.spec.AgentOptions()
	if err != nil {
		return result{}, nil, err
	}
	path := filepath.Join(d.driver.dir, d.spec.Agent)
	res, err := run(ctx, path, input(action, meta, options, secrets), before)
	return res, secrets, err
}

// Check runs status: an agent reaches and logs in by itself, and its exit code
// tells what went wrong.
func (d *device) Check(ctx context.Context) fence.Health {
	h := fence.Examine(ctx, d)
	if h.Privilege.Grade == fence.GradeOK {
		h.Privilege = fence.Finding{Grade: fence.GradeNone, Words: "an agent tells what its account may switch only when it switches"}
	}
	return h
}

// Close has nothing to give up.
func (d *device) Close() error { return nil }
