package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// DevicesRecord is a host's fence devices as imported, and what binds them to its machine.
type DevicesRecord struct {
	Machine fence.Machine `json:"machine"`
	// Bound: device → the identity it showed when it matched the host's, or what an operator said.
	Bound map[string]Binding `json:"bound,omitempty"`
}

// Binding is why a device counts as the host's.
type Binding struct {
	Identity fence.Identity `json:"identity,omitzero"`
	By       string         `json:"by,omitempty"` // an operator; "" for a matching identity
	Reason   string         `json:"reason,omitempty"`
	At       time.Time      `json:"at"`
}

// DeviceState is one device as people see it.
type DeviceState struct {
	Host    string       `json:"host"`
	Level   int          `json:"level"` // from 1
	Device  string       `json:"device"`
	Driver  string       `json:"driver"`
	Via     string       `json:"via"`
	Bound   bool         `json:"bound"`
	Why     string       `json:"why"` // why it is bound, or why it isn't
	Health  fence.Health `json:"health"`
	Working bool         `json:"working"` // it could fence now
	Trouble string       `json:"trouble,omitempty"`
	Since   time.Time    `json:"since,omitzero"`
}

// fencing holds all fence devices: opens, checks and binds them, and carries out what the engine decided.
type fencing struct {
	s       *Server
	log     *slog.Logger
	drivers fence.Drivers

	mu       sync.Mutex
	machines map[string]*machine
}

// machine is a host's devices, opened.
type machine struct {
	record DevicesRecord
	levels [][]fence.Device
	health map[string]DeviceState
}

func newFencing(s *Server, drivers fence.Drivers) *fencing {
	return &fencing{s: s, log: s.log, drivers: drivers, machines: map[string]*machine{}}
}

// load opens the devices on record.
func (f *fencing) load(records []store.Record) error {
	for _, rec := range records {
		if !strings.HasPrefix(rec.Key, store.DevicesPrefix) {
			continue
		}
		var d DevicesRecord
		if _, err := store.Decode(rec, format, &d); err != nil {
			return err
		}
		if err := f.open(d); err != nil {
			f.log.Error("cannot use the fence devices of a host", "host", d.Machine.Host, "error", err)
		}
	}
	return nil
}

func (f *fencing) open(d DevicesRecord) error {
	levels, err := f.drivers.OpenLevels(d.Machine, fence.Options{Logger: f.log, Timeout: f.s.o.FenceTimeout})
	if err != nil {
		return err
	}
	if d.Bound == nil {
		d.Bound = map[string]Binding{}
	}
	f.mu.Lock()
	old := f.machines[d.Machine.Host]
	f.machines[d.Machine.Host] = &machine{record: d, levels: levels, health: map[string]DeviceState{}}
	f.mu.Unlock()
	if old != nil {
		old.close(f.log)
	}
	return nil
}

func (m *machine) close(log *slog.Logger) {
	for _, level := range m.levels {
		for _, d := range level {
			if err := d.Close(); err != nil {
				log.Debug("cannot close a fence device", "device", d.ID(), "error", err)
			}
		}
	}
}

func (f *fencing) of(host string) *machine {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.machines[host]
}

// levels are the host's levels, in words, of which every device is bound: an unbound device neither proves nor fences.
func (f *fencing) levels(host string) []string {
	var out []string
	for _, l := range f.usable(host) {
		var names []string
		for _, d := range l {
			names = append(names, d.ID())
		}
		out = append(out, strings.Join(names, " + "))
	}
	return out
}

// usable are the levels of which every device is bound to the host's machine.
func (f *fencing) usable(host string) [][]fence.Device {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machines[host]
	if m == nil {
		return nil
	}
	var out [][]fence.Device
	for _, level := range m.levels {
		all := true
		for _, d := range level {
			_, bound := m.record.Bound[d.ID()]
			all = all && bound
		}
		if all {
			out = append(out, level)
		}
	}
	return out
}

// unbound reports whether a host has devices that don't count as its own.
func (f *fencing) unbound(host string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machines[host]
	if m == nil {
		return false
	}
	for _, level := range m.levels {
		for _, d := range level {
			if _, bound := m.record.Bound[d.ID()]; !bound {
				return true
			}
		}
	}
	return false
}

// identify makes sure, right before a device is used, that it is still the host's: cables and addresses get swapped.
// A device that can't know its machine rests on the operator's word alone.
func (f *fencing) identify(ctx context.Context, host string, d fence.Device) error {
	m := f.of(host)
	if m == nil {
		return fmt.Errorf("%s has no devices any more", host)
	}
	f.mu.Lock()
	binding, bound := m.record.Bound[d.ID()]
	f.mu.Unlock()
	switch {
	case !bound:
		return fmt.Errorf("%s is not bound to %s", d.ID(), host)
	case binding.By != "" && !binding.Identity.Usable():
		return nil
	}
	found, err := d.Identity(ctx)
	if err != nil {
		return fmt.Errorf("cannot make sure that %s is %s's: %w", d.ID(), host, err)
	}
	if !found.Match(binding.Identity) {
		f.log.Error("a fence device shows another machine's identity; it is not used", "host", host, "device", d.ID(), "shows", found.UUID, "bound_to", binding.Identity.UUID)
		return fmt.Errorf("%s shows the identity of another machine (%s, bound to %s): refused", d.ID(), found.UUID, binding.Identity.UUID)
	}
	return nil
}

// fence carries out one level.
func (f *fencing) fence(ctx context.Context, a engine.Action, permit func() error) engine.Event {
	ev := engine.FenceDone{Action: a.ID}
	levels := f.usable(a.Host)
	if a.Level >= len(levels) {
		ev.Err = fmt.Sprintf("%s has no level %d any more", a.Host, a.Level+1)
		return ev
	}
	level := levels[a.Level]
	for _, d := range level {
		if as, ok := f.s.ears.assess(a.Host); ok && slices.Contains(as.Muted, d.ID()) {
			ev.Err = fmt.Sprintf("%s read off while the host pulsed: its readings prove nothing until it is bound anew (ninelives fence bind %s --reason …)", d.ID(), a.Host)
			return ev
		}
		if err := f.identify(ctx, a.Host, d); err != nil {
			ev.Err = err.Error()
			return ev
		}
	}
	out := fence.OffLevel(ctx, level, permit, fence.OffOptions{
		OffTimeout: f.s.o.OffTimeout,
		Renew:      func(context.Context) (fence.Permit, error) { return permit, nil }, // it proves the leadership anew by itself
	})
	ev.Proven, ev.Err = out.Proven, out.Why
	for _, d := range out.Devices {
		ev.Sent = ev.Sent || d.Sent
		if d.Sent {
			ev.Devices = append(ev.Devices, d.Device)
		}
		for _, r := range d.Readings {
			ev.Readings = append(ev.Readings, engine.Reading{Device: d.Device, State: string(r.State), At: r.At})
		}
	}
	if ev.Proven {
		ev.Device = strings.Join(ev.Devices, ", ")
	}
	return ev
}

// readPower reads every bound device of a host once.
func (f *fencing) readPower(ctx context.Context, a engine.Action) engine.Event {
	ev := engine.PowerRead{Action: a.ID}
	for _, level := range f.usable(a.Host) {
		for _, d := range level {
			r := fence.Read(ctx, d)
			ev.Readings = append(ev.Readings, engine.Reading{Device: d.ID(), State: string(r.State), At: r.At})
			if r.Err != "" {
				ev.Err = r.Err
			}
		}
	}
	return ev
}

// powerOn switches on every device that was switched off.
func (f *fencing) powerOn(ctx context.Context, a engine.Action, permit func() error) engine.Event {
	var devices []fence.Device
	for _, level := range f.usable(a.Host) {
		for _, d := range level {
			for _, name := range a.Devices {
				if d.ID() == name {
					devices = append(devices, d)
				}
			}
		}
	}
	if len(devices) < len(a.Devices) {
		return engine.Answered{Action: a.ID, Answer: engine.NotSent, Text: fmt.Sprintf("of %s only %d are still %s's bound devices", strings.Join(a.Devices, ", "), len(devices), a.Host)}
	}
	for _, d := range devices {
		if err := f.identify(ctx, a.Host, d); err != nil {
			return engine.Answered{Action: a.ID, Answer: engine.NotSent, Text: err.Error()}
		}
	}
	out := fence.OnMachine(ctx, devices, permit, fence.OnOptions{
		Renew: func(context.Context) (fence.Permit, error) { return permit, nil },
	})
	if out.On {
		return engine.Answered{Action: a.ID, Answer: engine.Accepted}
	}
	why := "not on yet"
	for _, d := range out.Devices {
		if d.Err != "" {
			why = d.Device + ": " + d.Err
		}
	}
	return engine.Answered{Action: a.ID, Answer: engine.Unanswered, Text: why}
}

func (f *fencing) bound(host, device string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machines[host]
	if m == nil {
		return false
	}
	_, ok := m.record.Bound[device]
	return ok
}
