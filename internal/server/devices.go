package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/store"
)

const (
	checkEvery   = 60 * time.Second
	checksAtOnce = 16
)

// watch checks all devices all the time: a host whose fencing doesn't work today is unprotected today.
func (f *fencing) watch(ctx context.Context) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		if f.s.reign.Load() != nil {
			f.checkAll(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-f.s.checkNow:
		}
	}
}

func (f *fencing) checkAll(ctx context.Context) {
	f.mu.Lock()
	hosts := make([]string, 0, len(f.machines))
	for h := range f.machines {
		hosts = append(hosts, h)
	}
	f.mu.Unlock()
	slices.Sort(hosts)
	gate := make(chan struct{}, checksAtOnce)
	var wg sync.WaitGroup
	for _, h := range hosts {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			f.check(ctx, h)
		})
	}
	wg.Wait()
}

// check tries everything a fence of the host needs but switches nothing, and binds devices whose identity matches.
func (f *fencing) check(ctx context.Context, host string) []DeviceState {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	m := f.of(host)
	if m == nil {
		return nil
	}
	var out []DeviceState
	for i, level := range m.levels {
		for _, d := range level {
			st := f.examine(ctx, m, host, d)
			st.Level = i + 1
			out = append(out, st)
		}
	}
	return out
}

func (f *fencing) examine(ctx context.Context, m *machine, host string, d fence.Device) DeviceState {
	st := DeviceState{Host: host, Device: d.ID(), Driver: d.Driver(), Via: d.Via(), Health: d.Check(ctx)}
	agent, known := f.s.agents.of(host)
	f.mu.Lock()
	binding, bound := m.record.Bound[d.ID()]
	before := m.health[d.ID()]
	f.mu.Unlock()
	found := st.Health.Found
	owner := f.s.agents.owner(found, host)
	switch {
	case owner != "":
		st.Why = fmt.Sprintf("it shows the identity of %s, a living host: refused", owner)
		bound = false
	case bound && binding.By != "":
		st.Why = fmt.Sprintf("bound by %s: %s", binding.By, binding.Reason)
	case found.Usable() && known && found.Match(agent.Machine):
		st.Why = "its identity is the host's"
		if !bound || !binding.Identity.Match(found) {
			bound = f.bind(host, d.ID(), Binding{Identity: found, At: time.Now()}) == nil
		}
	case found.Usable() && known:
		st.Why = fmt.Sprintf("it shows identity %s, the host's agent %s (if it is the host's all the same: ninelives fence bind %s --reason …)", found.UUID, agent.Machine.UUID, host)
		bound = false
	case bound:
		st.Why = "its identity was the host's when it was last read"
	case !known:
		st.Why = "the host's agent has not said which machine it is yet"
	default:
		st.Why = fmt.Sprintf("it can't say which machine it switches (ninelives fence bind %s --reason …)", host)
	}
	st.Bound = bound
	st.Working, st.Trouble = bound && st.Health.OK(), st.Health.Trouble()
	if st.Trouble == "" && !bound {
		st.Trouble = "not bound: " + st.Why
	}
	st.Since = before.Since
	if before.Working != st.Working || before.Since.IsZero() {
		st.Since = time.Now()
		f.changed(before, st)
	}
	f.mu.Lock()
	m.health[d.ID()] = st
	f.mu.Unlock()
	return st
}

func (f *fencing) changed(before, now DeviceState) {
	if now.Working == before.Working && before.Since.IsZero() && now.Working {
		return
	}
	n := engine.Note{Host: now.Host, Text: fmt.Sprintf("fence device %s works", now.Device)}
	if !now.Working {
		n.Severity, n.Text = engine.Warning, fmt.Sprintf("%s could not be fenced by %s now: %s", now.Host, now.Device, now.Trouble)
	}
	f.s.trail.note(n)
}

// bind records that a device is the host's.
func (f *fencing) bind(host, device string, b Binding) error {
	m := f.of(host)
	r := f.s.reign.Load()
	switch {
	case m == nil:
		return fmt.Errorf("%s has no fence devices (ninelives fence import FILE)", host)
	case r == nil:
		return errNotLeading
	}
	f.mu.Lock()
	m.record.Bound[device] = b
	value, err := store.Encode(format, m.record)
	f.mu.Unlock()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.ctx, 5*time.Second)
	defer cancel()
	if _, err := f.s.store.Commit(ctx, r.epoch, store.Put(store.DevicesKey(host), value)); err != nil {
		return err
	}
	f.s.want()
	return nil
}

// bindByHand binds all devices of a host on an operator's word, unless one shows that it is another living host's.
func (f *fencing) bindByHand(ctx context.Context, host, by, reason string) error {
	m := f.of(host)
	if m == nil {
		return fmt.Errorf("%s has no fence devices (ninelives fence import FILE)", host)
	}
	if reason == "" {
		return errors.New("binding a device by hand needs a reason (--reason)")
	}
	for _, level := range m.levels {
		for _, d := range level {
			found, err := d.Identity(ctx)
			if err != nil && !errors.Is(err, fence.ErrNoIdentity) {
				return fmt.Errorf("cannot ask %s which machine it switches: %w", d.ID(), err)
			}
			if owner := f.s.agents.owner(found, host); owner != "" {
				return fmt.Errorf("%s shows the identity of %s, which is alive: refused", d.ID(), owner)
			}
			f.s.ears.step(detect.Cleared{Host: host, Device: d.ID()})
			if err := f.bind(host, d.ID(), Binding{Identity: found, By: by, Reason: reason, At: time.Now()}); err != nil {
				return err
			}
		}
	}
	return nil
}

// importDevices replaces the devices of the hosts named in a devices.yaml; others keep theirs. Bindings of devices that
// stay as they were are kept. A file that names a host that Nova doesn't know changes nothing.
func (f *fencing) importDevices(ctx context.Context, d fence.Devices) error {
	r := f.s.reign.Load()
	if r == nil {
		return errNotLeading
	}
	if f.s.inventory.names() == "" {
		why, _ := f.s.inventory.troubled()
		return fmt.Errorf("the compute hosts of Nova are not known yet, so none of the file can be checked against them: %s", either(why, "try again in a few seconds"))
	}
	hosts := slices.Sorted(maps.Keys(d.Hosts))
	for _, host := range hosts {
		if _, ok := f.s.inventory.facts(host); !ok {
			return d.Errorf(host, "Nova has no compute host %q (it has: %s)", host, f.s.inventory.names())
		}
	}
	for _, host := range hosts {
		m := d.Hosts[host]
		rec := DevicesRecord{Machine: m, Bound: f.unchanged(host, m)}
		if err := f.open(rec); err != nil {
			return err
		}
		value, err := store.Encode(format, rec)
		if err != nil {
			return err
		}
		if _, err := f.s.store.Commit(ctx, r.epoch, store.Put(store.DevicesKey(host), value)); err != nil {
			return err
		}
	}
	for host := range d.Hosts {
		f.check(ctx, host)
	}
	f.s.want()
	return nil
}

// unchanged are the bindings of devices that stand in the new declaration just as they stood in the old one.
func (f *fencing) unchanged(host string, m fence.Machine) map[string]Binding {
	kept := map[string]Binding{}
	old := f.of(host)
	if old == nil {
		return kept
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, level := range old.levels {
		for j, d := range level {
			binding, bound := old.record.Bound[d.ID()]
			spec := old.record.Machine.Levels[i][j]
			for _, now := range m.Levels {
				if bound && slices.ContainsFunc(now, func(s fence.Spec) bool { return reflect.DeepEqual(s, spec) }) {
					kept[d.ID()] = binding
				}
			}
		}
	}
	return kept
}

// states are all devices with their last check, by host and level.
func (f *fencing) states() []DeviceState {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []DeviceState
	for host, m := range f.machines {
		for i, level := range m.levels {
			for _, d := range level {
				st, checked := m.health[d.ID()]
				if !checked {
					st = DeviceState{Host: host, Device: d.ID(), Driver: d.Driver(), Via: d.Via(), Trouble: "not checked yet"}
				}
				st.Level = i + 1
				out = append(out, st)
			}
		}
	}
	slices.SortFunc(out, func(a, b DeviceState) int {
		if a.Host != b.Host {
			if a.Host < b.Host {
				return -1
			}
			return 1
		}
		return a.Level - b.Level
	})
	return out
}
