package server

import (
	"context"
	"fmt"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

func (v *inventory) readServices(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	services, err := v.cloud.Services(ctx)
	if err != nil {
		return err
	}
	v.mu.Lock()
	known := len(v.hosts)
	v.mu.Unlock()
	if len(services) == 0 && known > 0 {
		return fmt.Errorf("%d nova-compute services: %w", known, errNothingListed)
	}
	now := time.Now()
	seen := map[string]bool{}
	for _, s := range services {
		seen[s.Host] = true
		v.s.ears.step(detect.Service{Host: s.Host, UpdatedAt: s.UpdatedAt})
		v.host(s, now)
	}
	for _, host := range v.vanished(seen, now) {
		v.s.ears.step(detect.HostForgotten{Host: host})
		v.s.tell(engine.HostForgotten{Host: host})
	}
	return nil
}

// vanished returns the hosts to forget. Nova leaves the services of a cell that doesn't answer out without a word, so a
// host is only gone when it was missing for long, its agent isn't connected, and no VM is known there.
func (v *inventory) vanished(seen map[string]bool, now time.Time) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var gone []string
	for host := range v.hosts {
		since, missing := v.missing[host]
		switch {
		case seen[host]:
			delete(v.missing, host)
		case !missing:
			v.missing[host] = now
			v.log.Warn("Nova no longer lists a compute host; it is watched on all the same", "host", host)
		case now.Sub(since) >= goneAfter && !v.s.agents.isConnected(host) && len(v.vms[host]) == 0:
			gone = append(gone, host)
			delete(v.hosts, host)
			delete(v.missing, host)
			delete(v.hypervisors, host)
			delete(v.updated, host)
			delete(v.vms, host)
			delete(v.boots, host)
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
	if v.hypervisors == nil {
		f.Unprotected = "Nova's hypervisors could not be read yet"
	}
	hypervisor := ""
	for _, h := range v.hypervisors[s.Host] {
		f.Hypervisor = h.Type
		f.FreeMB += h.MemoryMB - h.MemoryUsed
		f.FreeVCPUs += h.VCPUs - h.VCPUsUsed
		f.Running += h.RunningVMs
		hypervisor = h.Name
	}
	if len(v.hypervisors[s.Host]) != 1 {
		hypervisor = ""
	}
	boot := v.boots[s.Host]
	v.mu.Unlock()
	agent, known := v.s.agents.of(s.Host)
	f.Labels = agent.Labels
	if !known {
		f.Unprotected = either(f.Unprotected, "it has no agent (ninelives token create "+s.Host+")")
	} else if why := v.s.agents.mismatch(s.Host, hypervisor); why != "" {
		f.Unprotected = either(f.Unprotected, why)
	}
	f.Levels = v.s.fencing.levels(s.Host)
	v.mu.Lock()
	v.hosts[s.Host] = f
	v.mu.Unlock()
	v.s.ears.step(detect.HostKnown{
		Host: s.Host, Zone: s.Zone, Labels: agent.Labels, Planes: agent.planes(), Protected: f.Unprotected == "", Boot: boot,
	})
	v.s.tell(engine.HostSeen{Host: f})
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
