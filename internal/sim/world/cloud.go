package world

import (
	"slices"
	"time"
)

// ServiceUpdate is the body of PUT /os-services/{id}; nil fields change nothing.
type ServiceUpdate struct {
	Disabled   *bool
	Reason     string
	ForcedDown *bool
}

// UpdateService changes a nova-compute's record. wait is how long Nova takes to
// answer: a synchronous call to the host, unless Nova believes it down.
func (w *World) UpdateService(c Caller, id string, u ServiceUpdate) (h *Host, wait time.Duration, err *Error) {
	h = w.serviceHost(id)
	if h == nil {
		return nil, 0, refuse(404, "Service %s could not be found.", id)
	}
	if u.ForcedDown != nil && !*u.ForcedDown && h.ForcedDown && w.unfinished(h.Name) {
		return nil, 0, refuse(400, "Unable to force up host %s: done evacuation records of it remain until its compute service has restarted.", h.Name)
	}
	if u.ForcedDown != nil {
		h.ForcedDown = *u.ForcedDown
	}
	if u.Disabled != nil {
		h.Disabled, h.DisabledReason = *u.Disabled, ""
		if *u.Disabled {
			h.DisabledReason = u.Reason
		}
		if w.ServiceUp(h.Name) && !h.computeWorks() {
			wait = w.opt.Timing.DisableRPC
		}
	}
	w.emit("service", h.Name, "", "disabled=%t reason=%q forced_down=%t by %s", h.Disabled, h.DisabledReason, h.ForcedDown, c.User)
	return h, wait, nil
}

func (w *World) unfinished(host string) bool {
	return slices.ContainsFunc(w.migrations, func(m *Migration) bool {
		return m.Type == "evacuation" && m.Source == host && m.Status == "done"
	})
}

func (w *World) serviceHost(id string) *Host {
	for _, name := range w.hostNames {
		if w.hosts[name].ServiceID == id {
			return w.hosts[name]
		}
	}
	return nil
}

// Services lists the hosts whose nova-compute Nova shows: those of cells that answer.
func (w *World) Services() []*Host {
	var out []*Host
	for _, name := range w.hostNames {
		if h := w.hosts[name]; !w.cellsDown[h.Cell] {
			out = append(out, h)
		}
	}
	return out
}

// Allocations lists who holds resources of a hypervisor in Placement, as
// consumer uuid to flavor; false: no such provider. While a VM moves, a
// migration's uuid holds the source's share. An evacuated VM keeps its share
// of the source until that nova-compute has restarted.
func (w *World) Allocations(hypervisor string) (map[string]Flavor, bool) {
	i := slices.IndexFunc(w.hostNames, func(n string) bool { return w.hosts[n].HypUUID == hypervisor })
	if i < 0 {
		return nil, false
	}
	name, out := w.hostNames[i], map[string]Flavor{}
	for _, id := range w.vmIDs {
		if v := w.vms[id]; v.Host == name && v.VMState != Offloaded {
			out[id] = v.Flavor
		}
	}
	for _, m := range w.migrations {
		v := w.vms[m.VM]
		switch {
		case v == nil:
		case m.Type == "evacuation":
			if m.Source == name && m.Status == "done" || m.Dest == name && m.Open() {
				out[v.ID] = v.Flavor
			}
		case m.Source == name && m.Open():
			delete(out, v.ID)
			out[m.UUID] = v.Flavor
		case m.Dest == name && m.Open():
			out[v.ID] = v.Flavor
		}
	}
	return out, true
}

// AddGroup adds a server group and returns its id; VMs join by VMSpec.Group.
func (w *World) AddGroup(name, policy string) string {
	g := &Group{ID: w.uuid(), Name: name, Policy: policy, Project: DemoProject}
	w.groups = append(w.groups, g)
	return g.ID
}

func (w *World) group(id string) *Group {
	for _, g := range w.groups {
		if g.ID == id {
			return g
		}
	}
	return nil
}

// Groups lists all server groups.
func (w *World) Groups() []*Group { return slices.Clone(w.groups) }

// AddAggregate adds an aggregate; with a zone its hosts are in that zone.
func (w *World) AddAggregate(name, zone string, hosts []string, metadata map[string]string) {
	w.aggregates = append(w.aggregates, &Aggregate{
		ID: len(w.aggregates) + 1, UUID: w.uuid(), Name: name, Zone: zone, Hosts: slices.Clone(hosts), Metadata: metadata,
	})
	for _, h := range hosts {
		if zone != "" {
			w.mustHost(h).Zone = zone
		}
	}
}

// Aggregates lists all aggregates.
func (w *World) Aggregates() []*Aggregate { return slices.Clone(w.aggregates) }

// AddFlavor adds a flavor.
func (w *World) AddFlavor(f Flavor) { w.flavors = append(w.flavors, &f) }

// Flavors lists all flavors.
func (w *World) Flavors() []*Flavor { return slices.Clone(w.flavors) }

// AddImage adds an image and returns its id.
func (w *World) AddImage(name string, properties map[string]string) string {
	i := &Image{ID: w.uuid(), Name: name, Properties: properties}
	w.images = append(w.images, i)
	return i.ID
}

// Image returns an image, or nil.
func (w *World) Image(id string) *Image {
	for _, i := range w.images {
		if i.ID == id {
			return i
		}
	}
	return nil
}

// StoreOf returns the store that a host's instances_path is on.
func (w *World) StoreOf(host string) Store { return *w.stores[w.mustHost(host).Store] }
