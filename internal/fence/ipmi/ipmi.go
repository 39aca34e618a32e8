// Package ipmi switches machines by IPMI 2.0 over RMCP+ ("lanplus").
package ipmi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/bougou/go-ipmi/pkg/command/chassis"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

// defaultPort is the one of RMCP (IPMI 2.0, 13.1.2).
const defaultPort = 623

// device is one BMC. One request at a time goes to it: many BMCs mix up the
// answers of two.
type device struct {
	spec fence.Spec
	opts fence.Options
	host string
	port int

	turn    chan struct{} // holds a token while the fields below are in use
	session *session
	suites  []types.CipherSuiteID // to try, the one that worked first
}

// Open makes the device of a spec with driver ipmi. It is a fence.OpenFunc.
func Open(spec fence.Spec, opts fence.Options) (fence.Device, error) {
	host, port, err := fence.SplitAddress(spec.Address, defaultPort)
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	d := &device{spec: spec, opts: opts.WithDefaults(), host: host, port: port, turn: make(chan struct{}, 1)}
	d.suites = []types.CipherSuiteID{types.CipherSuiteID17, types.CipherSuiteID3}
	if spec.Cipher != 0 {
		d.suites = []types.CipherSuiteID{types.CipherSuiteID(spec.Cipher)}
	}
	return d, nil
}

// ID is "ipmi host:port".
func (d *device) ID() string { return "ipmi " + d.Via() }

// Driver is "ipmi".
func (d *device) Driver() string { return fence.DriverIPMI }

// Via is the BMC's address.
func (d *device) Via() string { return net.JoinHostPort(d.host, strconv.Itoa(d.port)) }

// Power reads the chassis status.
func (d *device) Power(ctx context.Context) (fence.State, error) {
	state := fence.StateUnknown
	err := d.ask(ctx, func(ctx context.Context, s *session) (err error) {
		state, err = s.power(ctx)
		return err
	})
	return state, err
}

func (s *session) power(ctx context.Context) (fence.State, error) {
	status, err := s.client.GetChassisStatus(ctx)
	switch {
	case err != nil:
		return fence.StateUnknown, err
	case status.PowerIsOn:
		return fence.StateOn, nil
	}
	return fence.StateOff, nil
}

// Identity reads the system's and the controller's GUID; a BMC that has neither
// command has no identity.
func (d *device) Identity(ctx context.Context) (fence.Identity, error) {
	var id fence.Identity
	err := d.ask(ctx, func(ctx context.Context, s *session) error {
		system, errSystem := s.client.GetSystemGUID(ctx)
		if errSystem == nil {
			id.UUID = text(system.GUID)
		} else if _, refused := completion(errSystem); !refused {
			return errSystem
		}
		bmc, errBMC := s.client.GetDeviceGUID(ctx)
		if errBMC == nil {
			id.Controller = text(bmc.GUID)
		} else if _, refused := completion(errBMC); !refused {
			return errBMC
		}
		return nil
	})
	if err == nil && id == (fence.Identity{}) {
		err = fmt.Errorf("the BMC has no GUID: %w", fence.ErrNoIdentity)
	}
	return id, err
}

// text writes a GUID down as it came; fence.Identity knows the byte orders.
func text(g [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[0:4], g[4:6], g[6:8], g[8:10], g[10:16])
}

// Off sends "power down", the hard one (IPMI 2.0, 28.3).
func (d *device) Off(ctx context.Context, permit fence.Permit) error {
	return d.control(ctx, permit, chassis.ChassisControlPowerDown)
}

// On sends "power up".
func (d *device) On(ctx context.Context, permit fence.Permit) error {
	return d.control(ctx, permit, chassis.ChassisControlPowerUp)
}

// control sends one power command, after a read has shown that the session
// lives: a BMC drops what belongs to a session that it has forgotten.
func (d *device) control(ctx context.Context, permit fence.Permit, what chassis.ChassisControl) error {
	ctx, cancel := context.WithTimeout(ctx, d.opts.Timeout)
	defer cancel()
	if err := d.take(ctx); err != nil {
		return fmt.Errorf("%w: %w", fence.ErrNotSent, err)
	}
	defer d.give()
	err := d.ready(ctx, func(ctx context.Context, s *session) error {
		_, err := s.power(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: %w", fence.ErrNotSent, err)
	}
	s := d.session
	s.guard.arm(permit)
	s.client.WithRetry(0)
	_, err = s.client.ChassisControl(ctx, what)
	s.client.WithRetry(retries)
	code, refused := completion(err)
	sent, denied := s.guard.disarm()
	if err != nil && !refused {
		d.forget()
	}
	switch {
	case denied != nil:
		return denied
	case !sent:
		return fmt.Errorf("%w: %w", fence.ErrNotSent, silence(err))
	case refused && code == types.CodeInsufficientPrivilege:
		return fmt.Errorf("%w (completion code %#02x)", fence.ErrPrivilege, uint8(code))
	case refused:
		return fmt.Errorf("the BMC refused the power command (completion code %#02x: %s)", uint8(code), types.StrCC(types.CommandChassisControl, uint8(code)))
	case err != nil:
		return silence(err)
	}
	return nil
}

// Check logs in, reads identity and power.
func (d *device) Check(ctx context.Context) fence.Health {
	return fence.Examine(ctx, d)
}

// Close ends the session.
func (d *device) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), d.opts.Timeout)
	defer cancel()
	if err := d.take(ctx); err != nil {
		return fmt.Errorf("cannot close %s: %w", d.ID(), err)
	}
	defer d.give()
	if d.session == nil {
		return nil
	}
	err := d.session.close(ctx)
	d.session = nil
	if err != nil {
		return fmt.Errorf("cannot end the session of %s: %w", d.ID(), silence(err))
	}
	return nil
}

// ask does one read, within the timeout.
func (d *device) ask(ctx context.Context, read func(context.Context, *session) error) error {
	ctx, cancel := context.WithTimeout(ctx, d.opts.Timeout)
	defer cancel()
	if err := d.take(ctx); err != nil {
		return err
	}
	defer d.give()
	return d.ready(ctx, read)
}

// ready does a read in the session at hand, or in a new one if there is none or
// if it is dead. Reads may be repeated; a BMC that restarted has forgotten its
// sessions and is silent in them. Afterwards d.session is alive, or err says
// why there is none.
func (d *device) ready(ctx context.Context, read func(context.Context, *session) error) error {
	if d.session != nil && time.Since(d.session.opened) > maxAge {
		if err := d.session.close(ctx); err != nil {
			d.opts.Logger.Debug("An old BMC session could not be closed", "device", d.ID(), "err", err)
		}
		d.session = nil
	}
	if d.session != nil {
		// The old session gets a part of the time only: the login has to fit too.
		part, cancel := context.WithTimeout(ctx, d.opts.Timeout/3)
		err := read(part, d.session)
		cancel()
		if err = d.answered(err); err == nil || d.session != nil {
			return err
		}
		if ctx.Err() != nil {
			return err
		}
	}
	if err := d.connect(ctx); err != nil {
		return err
	}
	return d.answered(read(ctx, d.session))
}

// answered keeps the session if the BMC answered in it, be it with a refusal.
func (d *device) answered(err error) error {
	if err == nil {
		return nil
	}
	if code, refused := completion(err); refused {
		if code == types.CodeInsufficientPrivilege {
			return fmt.Errorf("%w (completion code %#02x)", fence.ErrPrivilege, uint8(code))
		}
		return fmt.Errorf("the BMC refused the request (completion code %#02x)", uint8(code))
	}
	d.forget()
	return silence(err)
}

// connect tries the cipher suites until one is spoken, and remembers it. Some
// BMCs are silent about a suite that they don't know, so that all but the last
// get half of the time left.
func (d *device) connect(ctx context.Context) error {
	var err error
	for i, suite := range d.suites {
		part, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok && i < len(d.suites)-1 {
			part, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		}
		var s *session
		s, err = d.openSession(part, suite)
		cancel()
		if err == nil {
			d.session = s
			d.suites[0], d.suites[i] = d.suites[i], d.suites[0]
			return nil
		}
		// A wrong password is wrong in every suite, and each try counts towards
		// the BMC's lock-out.
		if errors.Is(err, fence.ErrLogin) || errors.Is(err, fence.ErrPrivilege) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (d *device) forget() {
	if d.session != nil {
		d.session.giveUp()
		d.session = nil
	}
}

func (d *device) take(ctx context.Context) error {
	select {
	case d.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s is busy: %w", d.ID(), ctx.Err())
	}
}

func (d *device) give() { <-d.turn }
