package server

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// perEvacuation is how long one evacuation is reckoned to take in a plan: boot-from-volume VMs on Nova's libvirt driver
// need 5 to 10 s, most of it Neutron's and Cinder's.
const perEvacuation = 8 * time.Second

// Hosts implements api.Backend.
func (b *backend) Hosts(ctx context.Context, p api.Page) (api.Part[api.Host], error) {
	return see(ctx, b, func(_ *reign, e *engine.Engine) (out api.Part[api.Host]) {
		if p.Limit == 0 {
			return api.Part[api.Host]{List: e.HostsAfter(p.After, math.MaxInt32)}
		}
		if out.List = e.HostsAfter(p.After, p.Limit+1); len(out.List) > p.Limit {
			out.List = out.List[:p.Limit]
			out.Next = out.List[p.Limit-1].Name
		}
		return out
	})
}

// Host implements api.Backend.
func (b *backend) Host(ctx context.Context, name string) (api.HostDetail, error) {
	type seen struct {
		guests
		host  api.Host
		found bool
	}
	h, err := see(ctx, b, func(r *reign, e *engine.Engine) (h seen) {
		h.guests = guests{e.GuestsOn(name), r.policy}
		h.host, h.found = e.Host(name)
		return h
	})
	if err != nil {
		return api.HostDetail{}, err
	}
	if !h.found {
		return api.HostDetail{}, noHost(name)
	}
	d := api.HostDetail{Host: h.host, Planes: []api.Plane{}, Devices: []api.Device{}, Guests: h.page("", api.Page{}).List}
	agent, joined := b.s.agents.of(name)
	if joined {
		d.Joined = b.agent(agent)
	}
	if as, ok := b.s.ears.assess(name); ok {
		d.Waiting, d.Muted = as.Waiting, as.Muted
		d.LastLife = as.LastLife // the engine's is as old as its last change
		for _, p := range as.Planes {
			d.Planes = append(d.Planes, plane(p, agent.Planes[string(p.Plane)]))
		}
	}
	for _, st := range b.s.fencing.statesOf(name) {
		d.Devices = append(d.Devices, device(st))
	}
	return d, nil
}

func noHost(name string) error {
	return api.NotFound("`ninelives host list` shows all", "there is no host %q", name)
}

func plane(p detect.PlaneView, address string) api.Plane {
	out := api.Plane{
		Plane: string(p.Plane), Address: address, State: either(string(p.State), "unknown"), LastLife: p.LastLife,
		SilentFor: p.SilentFor.Seconds(), WitnessedBy: p.WitnessedBy,
	}
	switch {
	case p.State != "":
	case address == "":
		out.Why = "its agent has named no address there"
	case p.LastLife.IsZero():
		out.Why = "nobody has looked there yet: it takes another host on that network whose agent is connected"
	default:
		out.Why = "nobody has looked there lately, or it can't be told who is silent: the host or who looked"
	}
	return out
}

func (b *backend) agent(a AgentRecord) *api.AgentRecord {
	return &api.AgentRecord{
		Version: a.Version, Boot: a.Boot, Joined: a.Joined, Connected: b.s.agents.isConnected(a.Host), UUID: a.Machine.UUID, Serial: a.Machine.Serial,
		Labels: a.Labels, Stores: a.Stores, NovaHost: a.Nova.Host, Rejoin: a.Rejoin,
	}
}

// Incidents implements api.Backend.
func (b *backend) Incidents(ctx context.Context, state, host string, p api.Page) (api.Part[api.Incident], error) {
	all, err := see(ctx, b, func(_ *reign, e *engine.Engine) []api.Incident { return e.Incidents() })
	all = slices.DeleteFunc(all, func(in api.Incident) bool {
		closed := in.Phase == engine.PhaseClosed
		return host != "" && in.Host != host || state == "open" && closed || state == "closed" && !closed
	})
	return paged(all, p, func(in *api.Incident) string { return in.ID }), err
}

// Incident implements api.Backend.
func (b *backend) Incident(ctx context.Context, id string) (api.IncidentDetail, error) {
	out, err := see(ctx, b, func(_ *reign, e *engine.Engine) (d api.IncidentDetail) {
		d.Incident, d.Guests, _ = e.Incident(id)
		return d
	})
	if err == nil && out.ID == "" {
		err = api.NotFound("`ninelives incident list --state all` shows all", "there is no incident %q", id)
	}
	return out, err
}

// VMs implements api.Backend.
func (b *backend) VMs(ctx context.Context, host, project string, p api.Page) (api.Part[api.VM], error) {
	g, err := see(ctx, b, func(r *reign, e *engine.Engine) guests {
		if host != "" {
			return guests{e.GuestsOn(host), r.policy}
		}
		return guestsOf(r, e)
	})
	if err == nil && host != "" && len(g.hosts) == 0 {
		err = noHost(host)
	}
	return g.page(project, p), err
}

// VM implements api.Backend.
func (b *backend) VM(ctx context.Context, idOrName string) ([]api.VM, error) {
	out, _, err := b.explain(ctx, idOrName)
	if err == nil && len(out) == 0 {
		err = b.noVM(idOrName)
	}
	return out, err
}

func (b *backend) noVM(idOrName string) error {
	if b.s.inventory.unread() {
		return b.unlisted()
	}
	return api.NotFound("`ninelives vm list` shows all; VMs are listed once a minute", "there is no VM with the id or name %q", idOrName)
}

// unlisted: nobody knows which VMs there are.
func (b *backend) unlisted() error {
	why, _ := b.s.inventory.troubled()
	return api.Unavailable("see the cloud's part of `ninelives doctor`; VMs are listed once a minute", "the VMs could not be listed yet: %s", either(why, "they are being read"))
}

// Plan implements api.Backend.
func (b *backend) Plan(ctx context.Context, hosts []string) (api.Plan, error) {
	for _, h := range hosts {
		if _, ok := b.s.inventory.facts(h); !ok && b.s.reign.Load() != nil {
			return api.Plan{}, api.NotFound("`ninelives host list` shows all; `ninelives status` says whether the cloud answers", "Nova has shown no compute host %q", h)
		}
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	type foreseen struct {
		plan api.Plan
		err  error
	}
	out, err := see(ctx, b, func(_ *reign, e *engine.Engine) (f foreseen) {
		f.plan, f.err = e.Foresee(hosts, perEvacuation)
		return f
	})
	if err == nil && out.err != nil {
		err = api.NotFound("`ninelives host list` shows all", "%v", out.err)
	}
	if out.plan.VMs == nil {
		out.plan.VMs = []engine.ForeseenVM{}
	}
	return out.plan, err
}

// zones are those of all compute hosts, by name.
func (v *inventory) zones() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []string
	for _, f := range v.hosts {
		if !slices.Contains(out, f.Zone) {
			out = append(out, f.Zone)
		}
	}
	slices.Sort(out)
	return out
}
