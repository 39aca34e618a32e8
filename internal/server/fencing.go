package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/planted"
)

// fencing holds all fence devices: opens, checks and binds them, and carries out what the engine decided.
type fencing struct {
	s       *Server
	log     *slog.Logger
	drivers fence.Drivers

	writes turn // one writer of devices' records at a time; taken before mu

	mu       sync.Mutex
	machines map[string]*machine
	soon     map[string]bool // hosts to be checked at once
}

func newFencing(s *Server, drivers fence.Drivers) *fencing {
	return &fencing{s: s, log: s.log, drivers: drivers, writes: newTurn(), machines: map[string]*machine{}, soon: map[string]bool{}}
}

func (f *fencing) of(host string) *machine {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.machines[host]
}

func (f *fencing) hosts() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.machines))
}

// levels are the host's usable levels, in words.
func (f *fencing) levels(host string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machines[host]
	if m == nil {
		return nil
	}
	var out []string
	for _, l := range m.usable() {
		var names []string
		for _, d := range l {
			names = append(names, d.ID())
		}
		out = append(out, strings.Join(names, " + "))
	}
	return out
}

// counts reports whether readings of a device say anything of the host whose devices m are.
func (f *fencing) counts(m *machine, device string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return m.counts(device)
}

// unbound reports whether a host has devices that don't count as its own.
func (f *fencing) unbound(host string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machines[host]
	return m != nil && slices.ContainsFunc(m.devices(), func(d fence.Device) bool { return !m.counts(d.ID()) })
}

// identify makes sure, right before a device is used, that it is still the host's: cables and addresses get swapped.
// A device that can't know its machine rests on the operator's word alone.
func (f *fencing) identify(ctx context.Context, m *machine, host string, d fence.Device) error {
	f.mu.Lock()
	binding, bound := m.record.Bound[d.ID()]
	refused, retired := m.refused[d.ID()], m.retired
	f.mu.Unlock()
	switch {
	case retired:
		return fmt.Errorf("%s was replaced by an import meanwhile", d.ID())
	case !bound:
		return fmt.Errorf("%s is not bound to %s", d.ID(), host)
	case refused != "":
		return fmt.Errorf("%s is refused: %s", d.ID(), refused)
	}
	if planted.Binding {
		return nil
	}
	found, err := d.Identity(ctx)
	byWord := binding.By != "" && !binding.Identity.Usable()
	if err != nil && !byWord {
		return fmt.Errorf("cannot make sure that %s is %s's: %w", d.ID(), host, err)
	}
	why := ""
	switch owner := f.s.agents.owner(found, host); {
	case owner != "":
		why = fmt.Sprintf("it shows the identity of %s, which is alive", owner)
	case byWord:
	default:
		why = f.another(host, found, binding)
	}
	if why != "" {
		f.log.Error("a fence device is not used", "host", host, "device", d.ID(), "why", why)
		return fmt.Errorf("%s is refused: %s", d.ID(), why)
	}
	return nil
}

// another says why the identity that a bound device shows isn't that of the host's machine, "" if it is.
func (f *fencing) another(host string, found fence.Identity, b Binding) string {
	if !found.Match(b.Identity) {
		return fmt.Sprintf("it shows the identity of another machine (%s, bound to %s)", name(found), name(b.Identity))
	}
	if agent, known := f.s.agents.of(host); b.By == "" && known && agent.another(found) {
		return fmt.Sprintf("it shows identity %s, the host's agent %s", name(found), name(agent.Machine))
	}
	return ""
}

// name is an identity in a sentence.
func name(id fence.Identity) string { return either(id.UUID, either(id.Serial, "none")) }

// ready makes sure of all devices, side by side.
func (f *fencing) ready(ctx context.Context, m *machine, host string, devices []fence.Device) error {
	errs := make([]error, len(devices))
	var wg sync.WaitGroup
	for i, d := range devices {
		wg.Go(func() { errs[i] = f.identify(ctx, m, host, d) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// fence carries out one level.
func (f *fencing) fence(ctx context.Context, a engine.Action, permit func() error) engine.Event {
	ev := engine.FenceDone{Action: a.ID}
	m, release := f.hold(a.Host)
	defer release()
	level, err := f.level(m, a)
	if err == nil {
		err = f.ready(ctx, m, a.Host, level)
	}
	if err != nil {
		ev.Err = err.Error()
		return ev
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
			f.saw(m, d.Device, r)
			ev.Readings = append(ev.Readings, engine.Reading{Device: d.Device, State: string(r.State), At: r.At})
		}
	}
	if ev.Proven {
		ev.Device = strings.Join(ev.Devices, ", ")
	}
	return ev
}

// level finds the devices that a fence is to use, and refuses those that have lost their voice.
func (f *fencing) level(m *machine, a engine.Action) ([]fence.Device, error) {
	if m == nil {
		return nil, fmt.Errorf("%s has no devices any more", a.Host)
	}
	f.mu.Lock()
	levels := m.usable()
	f.mu.Unlock()
	if a.Level >= len(levels) {
		return nil, fmt.Errorf("%s has no level %d any more", a.Host, a.Level+1)
	}
	as, _ := f.s.ears.assess(a.Host)
	for _, d := range levels[a.Level] {
		if slices.Contains(as.Muted, d.ID()) {
			return nil, fmt.Errorf("%s read off while the host pulsed: its readings prove nothing until it is bound anew (ninelives fence bind %s --reason …)", d.ID(), a.Host)
		}
	}
	return levels[a.Level], nil
}

// readPower reads every device of a host's usable levels once, side by side: one that doesn't answer holds up no other.
func (f *fencing) readPower(ctx context.Context, a engine.Action) engine.Event {
	ev := engine.PowerRead{Action: a.ID}
	m, release := f.hold(a.Host)
	defer release()
	if m == nil {
		ev.Err = a.Host + " has no devices any more"
		return ev
	}
	f.mu.Lock()
	devices := slices.Concat(m.usable()...)
	f.mu.Unlock()
	readings := make([]fence.Reading, len(devices))
	var wg sync.WaitGroup
	for i, d := range devices {
		wg.Go(func() {
			readings[i] = fence.Read(ctx, d)
			f.saw(m, d.ID(), readings[i])
		})
	}
	wg.Wait()
	for i, r := range readings {
		ev.Readings = append(ev.Readings, engine.Reading{Device: devices[i].ID(), State: string(r.State), At: r.At})
		ev.Err = either(ev.Err, r.Err)
	}
	return ev
}

// powerOn switches on every device that was switched off, whatever level it belongs to now.
func (f *fencing) powerOn(ctx context.Context, a engine.Action, permit func() error) engine.Event {
	m, release := f.hold(a.Host)
	defer release()
	devices, err := f.named(m, a)
	if err == nil {
		err = f.ready(ctx, m, a.Host, devices)
	}
	if err != nil {
		return engine.Answered{Action: a.ID, Answer: engine.NotSent, Text: err.Error()}
	}
	out := fence.OnMachine(ctx, devices, permit, fence.OnOptions{
		Renew: func(context.Context) (fence.Permit, error) { return permit, nil },
	})
	for _, d := range out.Devices {
		f.saw(m, d.Device, d.Last)
	}
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

// named finds the devices that are to be switched on.
func (f *fencing) named(m *machine, a engine.Action) ([]fence.Device, error) {
	var found []fence.Device
	if m != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, name := range a.Devices {
			at := slices.IndexFunc(m.devices(), func(d fence.Device) bool { return d.ID() == name && m.counts(name) })
			if at >= 0 {
				found = append(found, m.devices()[at])
			}
		}
	}
	if len(found) < len(a.Devices) {
		return nil, fmt.Errorf("of %s only %d are still %s's bound devices", strings.Join(a.Devices, ", "), len(found), a.Host)
	}
	return found, nil
}
