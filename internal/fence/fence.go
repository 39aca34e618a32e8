// Package fence makes certain that a machine runs nothing: it switches a
// machine's power devices off, reads them back, and says what was seen.
//
// The package executes one level at a time. Which level, when, how often, and
// whether the device belongs to the machine at all (the binding) is decided
// elsewhere; so is the permit that each write asks for.
//
// Drivers live in packages of their own (fence/ipmi, fence/redfish,
// fence/agents) and are handed in by a Drivers table: there is no registration
// at start-up.
package fence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// State is what a device says about the power of a machine or an outlet.
// The zero value is not a valid state; drivers return StateUnknown with an
// error when they could not find out.
type State string

// The power states. A machine on its way (Redfish's PoweringOff) is unknown:
// neither on nor off can be concluded from it.
const (
	StateOn      State = "on"
	StateOff     State = "off"
	StateUnknown State = "unknown"
)

// Permit is the leave to send one dangerous write. A driver calls it as the
// very last thing before the bytes leave: after the connection and the login.
// If it returns an error nothing is sent, and Off or On return that error
// wrapped, together with ErrNotSent.
type Permit func() error

// Ask asks for the permit and wraps its refusal as drivers return it. No permit
// at all is a refusal too.
func (p Permit) Ask() error {
	if p == nil {
		return fmt.Errorf("%w: %w", ErrNotSent, ErrNoPermit)
	}
	if err := p(); err != nil {
		return fmt.Errorf("%w: %w: %w", ErrNotSent, ErrNoPermit, err)
	}
	return nil
}

// Errors that callers may branch on.
var (
	// ErrNotSent is wrapped by the error of Off and On when the command
	// certainly did not leave: no connection, no login, no permit. Any other
	// error of Off leaves it open whether the device acts on the command.
	ErrNotSent = errors.New("command not sent")
	// ErrNoPermit says that the permit was refused; it comes with ErrNotSent.
	ErrNoPermit = errors.New("no permit")
	// ErrNoIdentity says that a device can't know which machine it powers (a
	// PDU, a switch of outlets). Such a device is bound by the operator's word.
	ErrNoIdentity = errors.New("the device does not know which machine it powers")
	// ErrLogin says that the controller answered and refused the login.
	ErrLogin = errors.New("login refused")
	// ErrUnreachable says that nothing answered. It is neither on nor off.
	ErrUnreachable = errors.New("no answer")
	// ErrPrivilege says that the login works but may not switch power.
	ErrPrivilege = errors.New("the account may not control power")
)

// Device is one thing that can take the power of a machine away and tell
// whether it is gone. Implementations are safe for concurrent use, bound every
// call by the context and by their own timeout, and never put a secret into an
// error.
type Device interface {
	// ID names the device in records and messages, e.g.
	// "ipmi 10.9.0.11:623". It holds no secret and stays the same over restarts.
	ID() string
	// Driver is the name under which the device was declared: ipmi, redfish, agent.
	Driver() string
	// Via is the controller that answers (BMC, chassis manager, PDU). Readings
	// of devices that share it are one witness.
	Via() string
	// Identity is what the device says about the machine that it powers;
	// ErrNoIdentity if it can't know.
	Identity(ctx context.Context) (Identity, error)
	// Power reads the state. An error always comes with StateUnknown; a state
	// of StateUnknown without error means "on its way".
	Power(ctx context.Context) (State, error)
	// Off sends one hard power-off, never a graceful one and never twice, also
	// when the machine is off already. A nil error means that the command was
	// accepted, not that the machine is off.
	Off(ctx context.Context, permit Permit) error
	// On sends one power-on. A nil error means that the command was accepted.
	On(ctx context.Context, permit Permit) error
	// Check tries everything that a fence needs, but switches nothing.
	Check(ctx context.Context) Health
	// Close gives up connections. The device is not used afterwards.
	Close() error
}

// Options are what every driver is opened with.
type Options struct {
	// Logger receives what a driver finds worth telling; nil discards it.
	Logger *slog.Logger
	// Timeout bounds one exchange with the controller (open a connection, log
	// in, one request); zero means DefaultTimeout. Agents, which are programs
	// that do several exchanges, get a multiple of it.
	Timeout time.Duration
}

// DefaultTimeout bounds one exchange with a controller: a healthy BMC answers
// in 0.1 s, a busy one in 2 s; 5 s leaves room without holding a fence up.
const DefaultTimeout = 5 * time.Second

// WithDefaults fills in what the caller left out.
func (o Options) WithDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	return o
}

// OpenFunc makes the device of a spec. It sends nothing to the device; what is
// wrong with the declaration itself is its error.
type OpenFunc func(spec Spec, opts Options) (Device, error)

// Drivers are the drivers that a program was built with, by the name used in
// devices.yaml.
type Drivers map[string]OpenFunc

// Open validates the spec and makes its device.
func (d Drivers) Open(spec Spec, opts Options) (Device, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	open, ok := d[spec.Driver]
	if !ok {
		return nil, fmt.Errorf("driver %q is not built into this program", spec.Driver)
	}
	return open(spec, opts.WithDefaults())
}

// OpenLevels makes all devices of a machine, level by level. On an error the
// devices made so far are closed.
func (d Drivers) OpenLevels(m Machine, opts Options) ([][]Device, error) {
	levels := make([][]Device, 0, len(m.Levels))
	for i, specs := range m.Levels {
		var level []Device
		for j, spec := range specs {
			dev, err := d.Open(spec, opts)
			if err != nil {
				closeAll(append(levels, level))
				return nil, fmt.Errorf("%s: level %d, device %d: %w", m.Host, i+1, j+1, err)
			}
			level = append(level, dev)
		}
		levels = append(levels, level)
	}
	return levels, nil
}

// closeAll gives up devices that will never be used; that one of them can't
// say goodbye changes nothing for the caller, who gets the reason of the
// failure instead.
func closeAll(levels [][]Device) {
	for _, level := range levels {
		for _, dev := range level {
			_ = dev.Close()
		}
	}
}
