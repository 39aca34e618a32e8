package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/internal/transport"
)

const (
	recordWithin = 5 * time.Second // one write of agents' records
	recordsAtOne = 500             // records in it: a wave of agents must not hold up the commits of a recovery
)

// Join lets a machine take a host's name the first time, or when an operator said so.
func (g *agents) Join(ctx context.Context, j transport.Joining) error {
	g.writes.Lock() // two machines that want one name come one after the other
	defer g.writes.Unlock()
	r := g.s.reign.Load()
	if r == nil {
		return fmt.Errorf("this server does not lead; join through %s", either(g.s.leadership().LeaderName, "another server"))
	}
	g.mu.RLock()
	a, had := g.records[j.Host]
	g.mu.RUnlock()
	machine := machineOf(j.Machine)
	if had && !a.Joined.IsZero() && !a.Rejoin && !a.Machine.Match(machine) {
		return fmt.Errorf("%s is known as another machine (%s); if it was replaced: ninelives host rejoin %s", j.Host, a.Machine.UUID, j.Host)
	}
	joined := time.Now()
	err := g.store(ctx, r, j.Host, func(a *AgentRecord) {
		a.Host, a.Machine, a.Serial, a.Joined, a.Rejoin = j.Host, machine, j.Serial, joined, false
	})
	if err != nil {
		return err
	}
	g.s.trail.note(engine.Note{Host: j.Host, Text: fmt.Sprintf("%s joined from %s", j.Host, j.Remote)})
	g.s.want()
	return nil
}

// store writes a changed record, and only then believes it: what the agent said meanwhile stays. Call with g.writes held.
func (g *agents) store(ctx context.Context, r *reign, host string, change func(*AgentRecord)) error {
	g.mu.RLock()
	a := g.records[host]
	g.mu.RUnlock()
	change(&a)
	value, err := store.Encode(format, a)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, recordWithin)
	defer cancel()
	if _, err := g.s.store.Commit(ctx, r.epoch, store.Put(agentsPrefix+host, value)); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kept[host] = a
	a = g.records[host]
	change(&a)
	g.set(a)
	g.dismiss(a)
	return nil
}

// Renew lets a known agent have its next certificate.
func (g *agents) Renew(_ context.Context, r transport.Renewing) error {
	a, ok := g.of(r.Host)
	switch {
	case !ok:
		return fmt.Errorf("no host %s has joined here", r.Host)
	case a.another(machineOf(r.Machine)):
		return fmt.Errorf("%s has been taken over by another machine", r.Host)
	}
	return nil
}

// rejoin allows another machine to take a host's name over, once.
func (g *agents) rejoin(host string) error {
	g.writes.Lock()
	defer g.writes.Unlock()
	r := g.s.reign.Load()
	if r == nil {
		return errNotLeading
	}
	if _, ok := g.of(host); !ok {
		return fmt.Errorf("no host %q has joined", host)
	}
	return g.store(r.ctx, r, host, func(a *AgentRecord) { a.Rejoin = true })
}

// remember has the changed records written soon.
func (g *agents) remember() {
	select {
	case g.dirty <- struct{}{}:
	default:
	}
}

// record writes down, while a reign lasts, what agents say of their hosts: also what they said while nobody led, or to
// a server that didn't. Nobody waits for it: until it is written this server's memory has it.
func (g *agents) record(r *reign) {
	failing := false
	for {
		more, err := g.recordSome(r)
		if r.ctx.Err() != nil {
			return
		}
		if (err != nil) && !failing {
			g.log.Warn("cannot record what agents said of their hosts; tried again", "error", err)
		}
		failing = err != nil
		var again <-chan time.Time
		switch {
		case failing:
			again = time.After(recordWithin)
		case more:
			continue
		}
		select {
		case <-r.ctx.Done():
			return
		case <-again:
		case <-g.dirty:
		}
	}
}

func (g *agents) recordSome(r *reign) (more bool, err error) {
	g.writes.Lock()
	defer g.writes.Unlock()
	g.mu.RLock()
	var changed []AgentRecord
	for host := range g.unkept {
		if more = len(changed) == recordsAtOne; more {
			break
		}
		changed = append(changed, g.records[host])
	}
	g.mu.RUnlock()
	if len(changed) == 0 {
		return false, nil
	}
	ops, size := make([]store.Op, 0, len(changed)), 0
	for i, a := range changed {
		value, err := store.Encode(format, a)
		if err != nil {
			return false, err
		}
		if size += len(value); i > 0 && size > store.MaxBytes/2 {
			changed, more = changed[:i], true
			break
		}
		ops = append(ops, store.Put(agentsPrefix+a.Host, value))
	}
	ctx, cancel := context.WithTimeout(r.ctx, recordWithin)
	defer cancel()
	if _, err := g.s.store.Commit(ctx, r.epoch, ops...); err != nil {
		return false, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range changed {
		g.kept[a.Host] = a
		g.compare(a.Host)
	}
	return more, nil
}

func sameRecord(a, b AgentRecord) bool {
	return a.Boot == b.Boot && a.Serial == b.Serial && a.Version == b.Version && a.Machine == b.Machine && a.ProbePort == b.ProbePort &&
		a.Rejoin == b.Rejoin && a.Joined.IsZero() == b.Joined.IsZero() && maps.Equal(a.Planes, b.Planes) && maps.Equal(a.Labels, b.Labels) &&
		slices.Equal(a.Stores, b.Stores) && a.Nova.Host == b.Nova.Host && a.Nova.Hypervisor == b.Nova.Hypervisor &&
		a.Nova.Resume == b.Nova.Resume && a.Nova.GuestsBoot == b.Nova.GuestsBoot && a.Nova.Config == b.Nova.Config &&
		slices.Equal(a.Nova.Autostart, b.Nova.Autostart)
}
