package server

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// planImages is how long a plan waits for properties of images not read before: a hanging Glance must not keep VMs from
// coming back whose rules ask for none.
const planImages = 3 * time.Second

// list reads all that an incident's plan needs, at once.
func (v *inventory) list(ctx context.Context, a engine.Action) engine.Event {
	ev := engine.Listed{Action: a.ID}
	var servers cloud.ServerList
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { servers, err = v.cloud.ServersOn(gctx, a.Host); return err })
	g.Go(func() error {
		list, err := v.cloud.Migrations(gctx, cloud.MigrationQuery{Host: a.Host})
		ev.Date = list.Since()
		for _, m := range list.Migrations {
			ev.Migrations = append(ev.Migrations, migrationOf(m))
		}
		return err
	})
	g.Go(func() (err error) { ev.Service, err = v.service(gctx, a.Host); return err })
	g.Go(func() error { v.allocations(gctx, a.Host, &ev); return nil })
	if err := g.Wait(); err != nil {
		return engine.Listed{Action: a.ID, Err: err.Error()}
	}
	imaging, cancel := context.WithTimeout(ctx, planImages)
	v.readImages(imaging, servers.Servers)
	cancel()
	moves := map[string]bool{}
	for _, m := range ev.Migrations {
		moves[m.UUID] = true
	}
	ev.Allocated = without(ev.Allocated, moves)
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range servers.Servers {
		ev.VMs = append(ev.VMs, v.around.vmOf(s))
	}
	return ev
}

// allocations asks Placement who holds resources there. That it doesn't answer only weakens the check.
func (v *inventory) allocations(ctx context.Context, host string, ev *engine.Listed) {
	v.mu.Lock()
	hypervisors := v.hypervisors[host]
	v.mu.Unlock()
	for _, h := range hypervisors {
		consumers, err := v.cloud.Allocations(ctx, h.ID)
		if err != nil {
			v.log.Warn("cannot check a dead host's VMs against Placement", "host", host, "error", err)
			return
		}
		ev.Allocated = append(ev.Allocated, consumers...)
		ev.Allocations = true
	}
}

func without(ids []string, drop map[string]bool) []string {
	var out []string
	for _, id := range ids {
		if !drop[id] {
			out = append(out, id)
		}
	}
	return out
}

func (v *inventory) service(ctx context.Context, host string) (engine.Service, error) {
	s, err := v.cloud.Service(ctx, host)
	if err != nil {
		return engine.Service{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return serviceOf(s, v.fresh(s, time.Now())), nil
}

func (v *inventory) readService(ctx context.Context, a engine.Action) engine.Event {
	ev := engine.ServiceRead{Action: a.ID, Host: a.Host}
	s, err := v.service(ctx, a.Host)
	if err != nil {
		ev.Err = err.Error()
	}
	ev.Service = s
	return ev
}

func (v *inventory) track(ctx context.Context, a engine.Action) engine.Event {
	ev := engine.Tracked{Action: a.ID}
	list, err := v.cloud.Migrations(ctx, cloud.MigrationQuery{
		Types: []cloud.MigrationType{cloud.Evacuation}, SourceHost: a.Host, Since: a.Since,
	})
	if err != nil {
		ev.Err = err.Error()
	}
	for _, m := range list.Migrations {
		ev.Migrations = append(ev.Migrations, migrationOf(m))
	}
	return ev
}

// inspect counts the evacuations that Nova's instance actions show since the plan's list; both times are Nova's.
func (v *inventory) inspect(ctx context.Context, a engine.Action) engine.Event {
	ev := engine.Inspected{Action: a.ID}
	actions, err := v.cloud.Actions(ctx, a.VM)
	if errors.Is(err, cloud.ErrNotFound) {
		// Deleted meanwhile, and its actions with it: if the server itself says the same, no evacuation is taken any
		// more, and waiting for its record would never end.
		if _, gone := v.cloud.Server(ctx, a.VM); errors.Is(gone, cloud.ErrNotFound) {
			return ev
		}
	}
	if err != nil {
		ev.Err = err.Error()
	}
	for _, act := range actions {
		if act.Name == "evacuate" && !act.Start.Before(a.Since.Truncate(time.Second)) {
			ev.Evacuations++
		}
	}
	return ev
}

func (v *inventory) look(ctx context.Context, a engine.Action) engine.Event {
	ev := engine.Looked{Action: a.ID}
	s, err := v.cloud.Server(ctx, a.VM)
	switch {
	case errors.Is(err, cloud.ErrNotFound):
	case err != nil:
		ev.Err = err.Error()
	default:
		ev.Found = true
		v.mu.Lock()
		ev.VM = v.around.vmOf(s)
		v.mu.Unlock()
	}
	return ev
}
