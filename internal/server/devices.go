package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
)

const (
	checkEvery   = 60 * time.Second
	checkWithin  = 30 * time.Second // of one host's devices
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
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				waiting = false
			case <-f.s.checkNow:
				hosts, all := f.wanted()
				if f.s.reign.Load() != nil {
					f.checkThese(ctx, hosts)
				}
				waiting = !all
			}
		}
	}
}

// checkSoon asks for a check of one host's devices, of all hosts' for "".
func (f *fencing) checkSoon(host string) {
	f.mu.Lock()
	f.soon[host] = true
	f.mu.Unlock()
	select {
	case f.s.checkNow <- struct{}{}:
	default:
	}
}

func (f *fencing) wanted() (hosts []string, all bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hosts, all = slices.Sorted(maps.Keys(f.soon)), f.soon[""]
	clear(f.soon)
	if all {
		return nil, true
	}
	return hosts, false
}

func (f *fencing) checkAll(ctx context.Context) { f.checkThese(ctx, f.hosts()) }

func (f *fencing) checkThese(ctx context.Context, hosts []string) {
	gate := make(chan struct{}, checksAtOnce)
	var wg sync.WaitGroup
	for _, h := range hosts {
		select {
		case gate <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-gate }()
			f.check(ctx, h)
		})
	}
	wg.Wait()
}

// check tries everything a fence of the host needs but switches nothing, and binds devices whose identity matches.
func (f *fencing) check(ctx context.Context, host string) []DeviceState {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	m, release := f.hold(host)
	defer release()
	if m == nil {
		return nil
	}
	before := f.levels(host)
	out := make([]DeviceState, len(m.devices()))
	var wg sync.WaitGroup
	n := 0
	for i, level := range m.levels {
		for _, d := range level {
			at := n
			n++
			wg.Go(func() { out[at] = f.examine(ctx, m, host, d, i+1) })
		}
	}
	wg.Wait()
	if !slices.Equal(before, f.levels(host)) {
		f.s.want() // the engine plans with levels
	}
	return out
}

func (f *fencing) examine(ctx context.Context, m *machine, host string, d fence.Device, level int) DeviceState {
	st := DeviceState{Host: host, Level: level, Device: d.ID(), Driver: d.Driver(), Via: d.Via(), Health: d.Check(ctx)}
	if ctx.Err() != nil { // cut off by our own end: that says nothing about the device
		f.mu.Lock()
		defer f.mu.Unlock()
		if last, ok := m.health[d.ID()]; ok {
			return last
		}
		st.Trouble = "not checked to the end"
		return st
	}
	why, refused, match := f.belongs(m, host, d.ID(), st.Health.Found)
	if match {
		if err := f.bind(ctx, m, host, map[string]Binding{d.ID(): {Identity: st.Health.Found, At: time.Now()}}); err != nil {
			why = "its identity is the host's, but that could not be recorded: " + err.Error()
		}
	}
	f.mu.Lock()
	delete(m.refused, d.ID())
	if refused {
		m.refused[d.ID()] = why
	}
	st.Bound, st.Why = m.counts(d.ID()), why
	before := m.health[d.ID()]
	st.Working, st.Trouble = st.Bound && st.Health.OK(), st.Health.Trouble()
	if st.Trouble == "" && !st.Bound {
		st.Trouble = "not bound: " + st.Why
	}
	st.Since = before.Since
	news := before.Working != st.Working || before.Since.IsZero()
	if news {
		st.Since = time.Now()
	}
	m.health[d.ID()] = st
	f.mu.Unlock()
	if news {
		f.changed(before, st)
	}
	return st
}

// belongs says whose a device is by the identity that it shows now: why it counts or doesn't; refused: it doesn't count,
// whatever bound it; match: it is to be bound (anew).
func (f *fencing) belongs(m *machine, host, device string, found fence.Identity) (why string, refused, match bool) {
	f.mu.Lock()
	b, bound := m.record.Bound[device]
	f.mu.Unlock()
	agent, known := f.s.agents.of(host)
	owner := f.s.agents.owner(found, host)
	fits := known && found.Match(agent.Machine)
	switch {
	case owner != "":
		return fmt.Sprintf("it shows the identity of %s, a living host: refused", owner), true, false
	case bound && b.By != "" && b.Identity.Usable() && found.Usable() && !found.Match(b.Identity):
		return fmt.Sprintf("it shows identity %s, when %s bound it it was %s: refused until it is bound anew", name(found), b.By, name(b.Identity)), true, false
	case bound && b.By != "":
		return fmt.Sprintf("bound by %s: %s", b.By, b.Reason), false, false
	case fits:
		return "its identity is the host's", false, !bound || !b.Identity.Match(found)
	case found.Usable() && known:
		return fmt.Sprintf("it shows identity %s, the host's agent %s (if it is the host's all the same: ninelives fence bind %s --reason …)",
			name(found), name(agent.Machine), host), true, false
	case found.Usable() && bound && !found.Match(b.Identity):
		return fmt.Sprintf("it shows identity %s, it was bound as %s", name(found), name(b.Identity)), true, false
	case bound:
		return "its identity was the host's when it was last read", false, false
	case !known:
		return "the host's agent has not said which machine it is yet", false, false
	default:
		return fmt.Sprintf("it can't say which machine it switches (ninelives fence bind %s --reason …)", host), false, false
	}
}

func (f *fencing) changed(before, now DeviceState) {
	if now.Working && before.Since.IsZero() {
		return // nothing to tell of a device that works from the beginning
	}
	n := engine.Note{Host: now.Host, Text: fmt.Sprintf("fence device %s works", now.Device)}
	if !now.Working {
		n.Severity, n.Text = engine.Warning, fmt.Sprintf("%s could not be fenced by %s now: %s", now.Host, now.Device, now.Trouble)
	}
	f.s.trail.note(n)
}

// states are all devices with their last check, by host and level.
func (f *fencing) states() []DeviceState {
	out, _ := f.statesAfter("", 0)
	return out
}

// statesAfter are those of the hosts behind the given one, at least n if there are so many (0: all), up to a host's last.
func (f *fencing) statesAfter(host string, n int) (out []DeviceState, more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	hosts := slices.Sorted(maps.Keys(f.machines))
	at, found := slices.BinarySearch(hosts, host)
	if found {
		at++
	}
	for _, host := range hosts[at:] {
		if n > 0 && len(out) >= n {
			return out, true
		}
		out = f.machines[host].states(out, host)
	}
	return out, false
}

// each shows the devices of these hosts; what is shown holds for the call only. A list of 10,000 devices, made and thrown
// away for each look at the status, was most of what it cost.
func (f *fencing) each(hosts []string, show func(host string, states []DeviceState)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var states []DeviceState
	for _, host := range hosts {
		states = states[:0]
		if m := f.machines[host]; m != nil {
			states = m.states(states, host)
		}
		show(host, states)
	}
}

// statesOf are those of one host.
func (f *fencing) statesOf(host string) []DeviceState {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.machines[host]; m != nil {
		return m.states(nil, host)
	}
	return nil
}

// states adds a host's. Call with fencing.mu held.
func (m *machine) states(out []DeviceState, host string) []DeviceState {
	if m.trouble != "" {
		out = append(out, DeviceState{Host: host, Level: 1, Trouble: m.trouble})
	}
	for i, level := range m.levels {
		for _, d := range level {
			st, checked := m.health[d.ID()]
			if !checked {
				st = DeviceState{Host: host, Device: d.ID(), Driver: d.Driver(), Via: d.Via(), Trouble: "not checked yet"}
			}
			st.Level, st.Power = i+1, m.power[d.ID()]
			out = append(out, st)
		}
	}
	return out
}

var errNoReason = errors.New("binding a device by hand needs a reason (--reason)")
