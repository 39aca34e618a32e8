package soak

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// nova is the cloud as one process sees it: the world's, with everything that can happen on the way.
type nova struct{ l *life }

var _ cloud.Cloud = nova{}

const (
	novaUser   = "ninelives"
	readWithin = 15 * time.Second
)

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// read asks Nova something.
func (n nova) read(ctx context.Context, what, args string, f func(*world.World) *world.Error) error {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	var refused *world.Error
	t := &trip{what: what, args: args, there: [2]time.Duration{ms(3), ms(12)}, back: [2]time.Duration{ms(3), ms(20)}}
	t.do = func(t *trip) {
		if t.lost = n.l.c.noNova[n.l.name]; t.lost {
			return
		}
		fate := n.l.c.w.FateOf(false)
		t.back[0], t.back[1] = t.back[0]+fate.Slow, t.back[1]+fate.Slow
		if fate.Status != 0 {
			t.err = fmt.Errorf("%w: %d %s", cloud.ErrUnavailable, fate.Status, fate.Message)
			return
		}
		if refused = f(n.l.c.w); refused != nil {
			t.err = refused
		}
	}
	err := n.l.travel(ctx, t)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, cloud.ErrUnavailable):
		return err
	case refused != nil && t.err == error(refused) && refused.Code == 404:
		return fmt.Errorf("%w: %s", cloud.ErrNotFound, refused.Message)
	case refused != nil && t.err == error(refused) && refused.Code < 500:
		return &cloud.Refused{Status: refused.Code, Message: refused.Message}
	}
	return fmt.Errorf("%w: %w", cloud.ErrUnavailable, err)
}

func (n nova) Capabilities(ctx context.Context) (c cloud.Capabilities, err error) {
	err = n.read(ctx, "capabilities", "", func(*world.World) *world.Error {
		c = cloud.Capabilities{Min: 1, Max: n.l.c.o.Microversion, UserID: novaUser, User: novaUser, ProjectID: "admin", Project: "admin", Roles: []string{"admin"}}
		return nil
	})
	return c, err
}

func (n nova) Services(ctx context.Context) (out []cloud.Service, err error) {
	err = n.read(ctx, "services", "", func(w *world.World) *world.Error {
		for _, h := range w.Services() {
			out = append(out, serviceOf(w, h))
		}
		return nil
	})
	return out, err
}

func (n nova) Service(ctx context.Context, host string) (out cloud.Service, err error) {
	err = n.read(ctx, "service", host, func(w *world.World) *world.Error {
		for _, h := range w.Services() {
			if h.Name == host {
				out = serviceOf(w, h)
				return nil
			}
		}
		return &world.Error{Code: 404, Message: "no such host"}
	})
	return out, err
}

func serviceOf(w *world.World, h *world.Host) cloud.Service {
	s := cloud.Service{
		ID: h.ServiceID, Host: h.Name, Zone: h.Zone, Disabled: h.Disabled, DisabledReason: h.DisabledReason, ForcedDown: h.ForcedDown,
		State: "down", UpdatedAt: h.UpdatedAt,
	}
	if w.ServiceUp(h.Name) {
		s.State = "up"
	}
	return s
}

func (n nova) Hypervisors(ctx context.Context) (out []cloud.Hypervisor, err error) {
	err = n.read(ctx, "hypervisors", "", func(w *world.World) *world.Error {
		for _, h := range w.Services() {
			used := w.Used(h.Name)
			out = append(out, cloud.Hypervisor{
				ID: h.HypUUID, Host: h.Name, Name: h.Hypervisor, Type: h.HypType, State: "up", VCPUs: h.VCPUs, VCPUsUsed: used.VCPUs,
				MemoryMB: h.RAM, MemoryUsed: used.RAM, RunningVMs: used.VMs,
			})
		}
		return nil
	})
	return out, err
}

func (n nova) Aggregates(ctx context.Context) (out []cloud.Aggregate, err error) {
	err = n.read(ctx, "aggregates", "", func(w *world.World) *world.Error {
		for _, a := range w.Aggregates() {
			out = append(out, cloud.Aggregate{Name: a.Name, Zone: a.Zone, Hosts: slices.Clone(a.Hosts), Metadata: a.Metadata})
		}
		return nil
	})
	return out, err
}

func (n nova) ServerGroups(ctx context.Context) (out []cloud.ServerGroup, err error) {
	err = n.read(ctx, "groups", "", func(w *world.World) *world.Error {
		for _, g := range w.Groups() {
			out = append(out, cloud.ServerGroup{ID: g.ID, Name: g.Name, Policy: g.Policy, Members: slices.Clone(g.Members)})
		}
		return nil
	})
	return out, err
}

func serverOf(w *world.World, v *world.VM) cloud.Server {
	s := cloud.Server{
		ID: v.ID, Name: v.Name, ProjectID: v.Project, UserID: v.User, Host: v.Host, Status: v.Status(), VMState: v.VMState, TaskState: v.TaskState,
		PowerState: cloud.PowerState(v.PowerState), Locked: v.Locked, ImageID: v.Image, Tags: slices.Clone(v.Tags), Metadata: v.Metadata,
		Volumes: slices.Clone(v.Volumes), Created: v.Created, LaunchedAt: v.Launched,
		Flavor: cloud.Flavor{Name: v.Flavor.Name, VCPUs: v.Flavor.VCPUs, MemoryMB: v.Flavor.RAM, DiskGB: v.Flavor.Disk, ExtraSpecs: v.Flavor.Extra},
	}
	if h := w.Host(v.Host); h != nil {
		s.Hypervisor, s.Zone = h.Hypervisor, h.Zone
	}
	return s
}

func (n nova) ServersOn(ctx context.Context, host string) (out cloud.ServerList, err error) {
	err = n.read(ctx, "servers", host, func(w *world.World) *world.Error {
		out.Date = w.Now()
		page, _, refused := w.Servers(world.ServerQuery{Host: host})
		for _, v := range page {
			out.Servers = append(out.Servers, serverOf(w, v))
		}
		return refused
	})
	return out, err
}

func (n nova) AllServers(ctx context.Context, yield func(cloud.Server) error) error {
	var all []cloud.Server
	err := n.read(ctx, "all-servers", "", func(w *world.World) *world.Error {
		page, _, refused := w.Servers(world.ServerQuery{})
		for _, v := range page {
			all = append(all, serverOf(w, v))
		}
		return refused
	})
	for _, s := range all {
		if err == nil {
			err = yield(s)
		}
	}
	return err
}

func (n nova) Server(ctx context.Context, id string) (out cloud.Server, err error) {
	err = n.read(ctx, "server", n.l.c.vm(id), func(w *world.World) *world.Error {
		if _, refused := w.Actions(id); refused != nil {
			return refused
		}
		out = serverOf(w, w.VM(id))
		return nil
	})
	return out, err
}

func (n nova) Migrations(ctx context.Context, q cloud.MigrationQuery) (out cloud.MigrationList, err error) {
	err = n.read(ctx, "migrations", q.SourceHost+q.Host+n.l.c.vm(q.ServerID), func(w *world.World) *world.Error {
		out.Date = w.Now()
		page, _, refused := w.Migrations(world.MigrationQuery{Source: q.SourceHost, Host: q.Host, VM: q.ServerID, Since: q.Since})
		for _, m := range page {
			kind := cloud.MigrationType(m.Type)
			if len(q.Types) > 0 && !slices.Contains(q.Types, kind) {
				continue
			}
			out.Migrations = append(out.Migrations, cloud.Migration{
				ID: m.ID, UUID: m.UUID, ServerID: m.VM, Type: kind, Source: m.Source, Dest: m.Dest, Status: m.Status, UserID: m.User,
				ProjectID: m.Project, Created: m.Created, Updated: m.Updated,
			})
		}
		return refused
	})
	return out, err
}

func (n nova) Actions(ctx context.Context, id string) (out []cloud.Action, err error) {
	err = n.read(ctx, "actions", n.l.c.vm(id), func(w *world.World) *world.Error {
		list, refused := w.Actions(id)
		for _, a := range list {
			out = append(out, cloud.Action{Name: a.Name, RequestID: a.RequestID, Start: a.Start, UserID: a.User, ProjectID: a.Project, Message: a.Message})
		}
		return refused
	})
	return out, err
}

func (n nova) Allocations(ctx context.Context, hypervisor string) (out []string, err error) {
	err = n.read(ctx, "allocations", n.l.c.hypervisor(hypervisor), func(w *world.World) *world.Error {
		held, there := w.Allocations(hypervisor)
		if !there {
			return &world.Error{Code: 404, Message: "no such provider"}
		}
		for id := range held {
			out = append(out, id)
		}
		slices.Sort(out)
		return nil
	})
	return out, err
}

func (n nova) ImageProperties(ctx context.Context, id string) (out map[string]string, err error) {
	err = n.read(ctx, "image", id, func(*world.World) *world.Error { out = map[string]string{}; return nil })
	return out, err
}
