package server

import "github.com/ninelives-ha/ninelives/internal/policy"

// seen is what the cloud has now of what rules name; what hasn't been read is unknown. It reads everything once.
func (v *inventory) seen(g guests) policy.Seen {
	s, listed := v.places()
	if !listed {
		return s
	}
	flavors, projects, vms := map[string]bool{}, map[string]bool{}, 0
	s.Named = true
	for i := range g.hosts {
		for j := range g.hosts[i].VMs {
			f := &g.hosts[i].VMs[j].Facts
			flavors[f.Flavor], projects[f.ProjectID] = true, true
			if f.ProjectName == "" {
				s.Named = false
			} else {
				projects[f.ProjectName] = true
			}
			if s.Zones != nil && f.Zone != "" {
				s.Zones[f.Zone] = true
			}
			vms++
		}
	}
	if vms > 0 && !flavors[""] {
		s.Flavors = flavors
	}
	if vms > 0 && !projects[""] {
		s.Projects = projects
	}
	return s
}

// places are the zones and aggregates of the hosts, and whether the VMs have been listed.
func (v *inventory) places() (s policy.Seen, listed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.hosts) > 0 {
		s.Zones = map[string]bool{}
		for _, h := range v.hosts {
			s.Zones[h.Zone] = true
		}
	}
	if v.around.aggregates != nil {
		s.Aggregates = map[string]bool{}
		for _, names := range v.around.aggregates {
			for _, name := range names {
				s.Aggregates[name] = true
			}
		}
	}
	return s, v.vms != nil
}
