package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// How often the quiet reads are made. Services cost one query; the whole inventory costs Nova about 10 ms a VM.
const (
	servicesEvery  = 10 * time.Second
	inventoryEvery = 60 * time.Second
	missingReads   = 60               // ten minutes of readings without a host, before it is forgotten
	serviceFresh   = 30 * time.Second // three of Nova's report intervals
)

// inventory reads the cloud in quiet times, and for an incident what it asks for.
type inventory struct {
	s     *Server
	cloud cloud.Cloud
	log   *slog.Logger

	mu          sync.Mutex
	caps        *cloud.Capabilities
	around      around
	hypervisors map[string][]cloud.Hypervisor // by host
	updated     map[string]seenReport
	hosts       map[string]engine.HostFacts
	vms         map[string][]engine.VM
	missing     map[string]int    // how often in a row a host was not listed
	boots       map[string]string // the last boot on record of each host, when this server took over
	trouble     string            // why the cloud can't be read now
	since       time.Time
}

// seenReport is when, on our own clock, a service's updated_at last changed. Nova's clock is never compared with ours.
type seenReport struct {
	value time.Time
	at    time.Time
}

func newInventory(s *Server) *inventory {
	return &inventory{
		s: s, cloud: s.cloud, log: s.log, hypervisors: map[string][]cloud.Hypervisor{},
		updated: map[string]seenReport{}, missing: map[string]int{}, hosts: map[string]engine.HostFacts{},
	}
}

// run reads until ctx ends. Only the leader's readings reach an engine; detection on every server uses the services.
func (v *inventory) run(ctx context.Context) {
	services, whole := time.NewTicker(servicesEvery), time.NewTicker(inventoryEvery)
	defer services.Stop()
	defer whole.Stop()
	v.refresh(ctx, true)
	for {
		select {
		case <-ctx.Done():
			return
		case <-services.C:
			v.refresh(ctx, v.empty())
		case <-whole.C:
			v.refresh(ctx, true)
		case <-v.s.wanted:
			v.refresh(ctx, v.empty())
			select { // a wave of agents asks for one reading a second, not for one each
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

func (v *inventory) empty() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.hosts) == 0 || v.caps == nil || v.vms == nil && v.s.reign.Load() != nil
}

func (v *inventory) refresh(ctx context.Context, whole bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*inventoryEvery)
	defer cancel()
	err := v.readServices(ctx, whole)
	switch {
	case err == nil && whole && v.s.reign.Load() != nil: // the list of all VMs is the expensive one; only a leader needs it
		err = v.readServers(ctx)
	case whole && v.s.reign.Load() == nil:
		v.forget()
	}
	if ctx.Err() == nil || err != nil {
		v.tell(err)
	}
}

// tell notes when the cloud stops or begins to answer.
func (v *inventory) tell(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.trouble
	v.trouble = ""
	if err != nil {
		v.trouble = err.Error()
	}
	if (was == "") != (v.trouble == "") {
		v.since = time.Now()
	}
	switch {
	case was == "" && err != nil:
		v.log.Warn("the cloud can't be read; hosts are watched all the same", "error", err)
	case was != "" && err == nil:
		v.log.Info("the cloud answers again")
	}
}

func (v *inventory) readServices(ctx context.Context, whole bool) error {
	var around error // that zones or groups can't be read must not keep hosts from being known
	if whole {
		around = v.readAround(ctx)
	}
	services, err := v.cloud.Services(ctx)
	if err != nil {
		return errors.Join(around, err)
	}
	now := time.Now()
	seen := map[string]bool{}
	for _, s := range services {
		seen[s.Host] = true
		v.s.ears.step(detect.Service{Host: s.Host, UpdatedAt: s.UpdatedAt})
		v.host(s, now)
	}
	for _, host := range v.vanished(seen) {
		v.s.ears.step(detect.HostForgotten{Host: host})
		v.s.tell(engine.HostForgotten{Host: host})
	}
	return around
}

// vanished returns the hosts to forget. Nova leaves the services of a cell that doesn't answer out without a word, so a
// host is only gone when it was missing for long and its agent isn't connected either.
func (v *inventory) vanished(seen map[string]bool) []string {
	connected := v.s.agents.connected()
	v.mu.Lock()
	defer v.mu.Unlock()
	var gone []string
	for host := range v.hosts {
		if _, talks := connected[host]; seen[host] || talks {
			delete(v.missing, host)
			continue
		}
		if v.missing[host]++; v.missing[host] > missingReads {
			gone = append(gone, host)
			delete(v.hosts, host)
			delete(v.missing, host)
		}
	}
	return gone
}

// host puts together what is known of one host and tells detection and the engine.
func (v *inventory) host(s cloud.Service, now time.Time) {
	v.mu.Lock()
	f := engine.HostFacts{
		Name: s.Host, Zone: s.Zone, Aggregates: v.around.aggregates[s.Host], Service: serviceOf(s, v.fresh(s, now)),
		Unprotected: protectable(v.hypervisors[s.Host]),
	}
	for _, h := range v.hypervisors[s.Host] {
		f.Hypervisor = h.Type
		f.FreeMB += h.MemoryMB - h.MemoryUsed
		f.FreeVCPUs += h.VCPUs - h.VCPUsUsed
		f.Running += h.RunningVMs
	}
	v.mu.Unlock()
	agent, known := v.s.agents.of(s.Host)
	f.Labels = agent.Labels
	if !known {
		f.Unprotected = either(f.Unprotected, "it has no agent (ninelives token create "+s.Host+")")
	} else if why := v.s.agents.mismatch(s.Host, v.hypervisorName(s.Host)); why != "" {
		f.Unprotected = either(f.Unprotected, why)
	}
	f.Levels = v.s.fencing.levels(s.Host)
	v.mu.Lock()
	v.hosts[s.Host] = f
	v.mu.Unlock()
	v.s.ears.step(detect.HostKnown{
		Host: s.Host, Zone: s.Zone, Labels: agent.Labels, Planes: agent.planes(), Protected: f.Unprotected == "", Boot: v.recorded(s.Host),
	})
	v.s.tell(engine.HostSeen{Host: f})
}

// forget drops a list that nobody keeps up to date: the next reign has to read its own.
func (v *inventory) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.vms = nil
}

// recall tells a new reign the VMs as last listed, before it hears of any suspicion: an incident's own list is checked
// against what was known before.
func (v *inventory) recall(in *inbox) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for host, vms := range v.vms {
		in.put(engine.InventoryRead{Host: host, VMs: vms})
	}
}

// remember takes in the last boots on record: a host that comes back with another one has rebooted, also if this server
// wasn't there to see it.
func (v *inventory) remember(boots map[string]string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.boots = boots
}

func (v *inventory) recorded(host string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.boots[host]
}

func (v *inventory) hypervisorName(host string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.hypervisors[host]) == 1 {
		return v.hypervisors[host][0].Name
	}
	return ""
}

// rebooted forgets how fresh a host's service was: what was seen of it belongs to the boot before, or was our own write
// that took the host out of service.
func (v *inventory) rebooted(host string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.updated, host)
}

// fresh notes a changed updated_at and reports whether it changed lately on our clock. Call with v.mu held.
func (v *inventory) fresh(s cloud.Service, now time.Time) bool {
	last, ok := v.updated[s.Host]
	switch {
	case !ok:
		v.updated[s.Host] = seenReport{value: s.UpdatedAt} // its age is unknown
		return false
	case !last.value.Equal(s.UpdatedAt):
		v.updated[s.Host] = seenReport{value: s.UpdatedAt, at: now}
		return true
	}
	return !last.at.IsZero() && now.Sub(last.at) < serviceFresh
}

func (v *inventory) readAround(ctx context.Context) error {
	caps, err := v.cloud.Capabilities(ctx)
	if err != nil {
		return err
	}
	aggregates, err := v.cloud.Aggregates(ctx)
	if err != nil {
		return err
	}
	groups, err := v.cloud.ServerGroups(ctx)
	if err != nil {
		return err
	}
	hypervisors, err := v.cloud.Hypervisors(ctx)
	if err != nil {
		return err
	}
	v.s.tell(engine.CloudSeen{User: caps.UserID, StaysStopped: caps.KeepsStopped()})
	v.mu.Lock()
	defer v.mu.Unlock()
	v.caps = &caps
	v.around.aggregates, v.around.groups = aggregatesOf(aggregates), groupsOf(groups)
	v.hypervisors = map[string][]cloud.Hypervisor{}
	for _, h := range hypervisors {
		v.hypervisors[h.Host] = append(v.hypervisors[h.Host], h)
	}
	return nil
}

func (v *inventory) readServers(ctx context.Context) error {
	var all []cloud.Server
	if err := v.cloud.AllServers(ctx, func(s cloud.Server) error { all = append(all, s); return nil }); err != nil {
		return err
	}
	v.readImages(ctx, all)
	v.mu.Lock()
	byHost := map[string][]engine.VM{}
	partial := slices.ContainsFunc(all, func(s cloud.Server) bool { return s.Status == "UNKNOWN" })
	for host := range v.hosts {
		if partial { // a cell doesn't answer: of hosts that seem empty, what was known before stays known
			byHost[host] = v.vms[host]
		} else {
			byHost[host] = []engine.VM{}
		}
	}
	listed := map[string]bool{}
	for _, s := range all {
		if s.Host == "" || s.Status == "UNKNOWN" {
			continue
		}
		if !listed[s.Host] {
			listed[s.Host], byHost[s.Host] = true, nil
		}
		byHost[s.Host] = append(byHost[s.Host], v.around.vmOf(s))
	}
	v.vms = byHost
	v.mu.Unlock()
	for host, vms := range byHost {
		v.s.tell(engine.InventoryRead{Host: host, VMs: vms})
	}
	return nil
}

// readImages fetches the properties of images not seen before; those that can't be read stay unknown.
func (v *inventory) readImages(ctx context.Context, servers []cloud.Server) {
	v.mu.Lock()
	if v.around.images == nil {
		v.around.images = map[string]map[string]string{}
	}
	missing := map[string]bool{}
	for _, s := range servers {
		if _, ok := v.around.images[s.ImageID]; !ok && s.ImageID != "" {
			missing[s.ImageID] = true
		}
	}
	v.mu.Unlock()
	for id := range missing {
		props, err := v.cloud.ImageProperties(ctx, id)
		if err != nil {
			v.log.Debug("cannot read an image's properties; rules that need them hold its VMs", "image", id, "error", err)
			continue
		}
		v.mu.Lock()
		v.around.images[id] = known(props)
		v.mu.Unlock()
	}
}

func (v *inventory) capabilities() (cloud.Capabilities, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.caps == nil {
		return cloud.Capabilities{}, false
	}
	return *v.caps, true
}

// troubled returns why the cloud can't be read, "" if it can.
func (v *inventory) troubled() (string, time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.trouble, v.since
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// facts are what is known of a host; ok is false if Nova doesn't list it.
func (v *inventory) facts(host string) (engine.HostFacts, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f, ok := v.hosts[host]
	return f, ok
}

// names lists the compute hosts, for messages.
func (v *inventory) names() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	names := make([]string, 0, len(v.hosts))
	for h := range v.hosts {
		names = append(names, h)
	}
	slices.Sort(names)
	if len(names) > 10 {
		return strings.Join(names[:10], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}
