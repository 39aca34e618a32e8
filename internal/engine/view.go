package engine

import (
	"cmp"
	"slices"
	"time"
)

// HostView is a host as people see it.
type HostView struct {
	HostFacts
	Verdict     Verdict      `json:"verdict"`
	Suspect     bool         `json:"suspect,omitempty"`
	Since       time.Time    `json:"since,omitzero"`
	Reason      string       `json:"reason,omitempty"`
	Evidence    []string     `json:"evidence,omitempty"`
	LastLife    time.Time    `json:"last_life,omitzero"`
	Boot        string       `json:"boot,omitempty"`
	Agent       AgentReport  `json:"agent"`
	Maintenance *Maintenance `json:"maintenance,omitempty"`
	Incident    string       `json:"incident,omitempty"`
	VMs         int          `json:"vms"`
}

// IncidentView is an incident with the count of its VMs by state.
type IncidentView struct {
	Incident
	Mode   string        `json:"mode"`
	Counts map[State]int `json:"counts"`
	VMs    int           `json:"vms"`
}

// Hosts returns all hosts, by name.
func (e *Engine) Hosts() []HostView {
	out := make([]HostView, 0, len(e.hosts))
	owner := map[string]string{}
	for _, in := range e.open {
		owner[in.Host] = in.ID
	}
	for name, h := range e.hosts {
		out = append(out, HostView{
			HostFacts: h.facts, Verdict: h.now.Verdict, Suspect: h.now.Suspect, Since: h.now.Since, Reason: h.now.Reason,
			Evidence: h.now.Evidence, LastLife: h.now.LastLife, Boot: h.now.Boot, Agent: h.report,
			Maintenance: h.maintenance, Incident: owner[name], VMs: len(h.vms),
		})
	}
	slices.SortFunc(out, func(a, b HostView) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Incidents returns all incidents the engine knows, newest first.
func (e *Engine) Incidents() []IncidentView {
	out := make([]IncidentView, 0, len(e.incidents))
	for _, in := range e.incidents {
		out = append(out, e.incidentView(in))
	}
	slices.SortFunc(out, func(a, b IncidentView) int {
		return cmp.Or(b.Stages.Verdict.Compare(a.Stages.Verdict), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Incident returns one incident and its VMs in the order of the queue.
func (e *Engine) Incident(id string) (IncidentView, []Recovery, bool) {
	in, ok := e.incidents[id]
	if !ok {
		return IncidentView{}, nil, false
	}
	return e.incidentView(in), e.recoveryViews(in), true
}

func (e *Engine) incidentView(in *Incident) IncidentView {
	v := IncidentView{Incident: *in, Counts: map[State]int{}, VMs: len(e.vms[in.ID])}
	v.Log, v.Interlocks, v.stuck = slices.Clone(in.Log), slices.Clone(in.Interlocks), nil
	if m, ok := ModeOf(in.Verdict); ok {
		v.Mode = m.Code
	}
	for _, r := range e.vms[in.ID] {
		v.Counts[r.State]++
	}
	return v
}

func (e *Engine) recoveryViews(in *Incident) []Recovery {
	rs := e.recoveries(in)
	out := make([]Recovery, len(rs))
	for i, r := range rs {
		out[i] = *r
		out[i].Log, out[i].Attempts = slices.Clone(r.Log), slices.Clone(r.Attempts)
	}
	return out
}

// Switches returns the operator's switches and the zones in maintenance.
func (e *Engine) Switches() (Switches, map[string]Maintenance) {
	return e.switches, cloneZones(e.zones)
}

// InventoryVM is a VM as last listed, with what the policy says of it.
type InventoryVM struct {
	VM
	Rule      string    `json:"rule"`
	Action    string    `json:"action"`
	Priority  int       `json:"priority"`
	Story     *Recovery `json:"story,omitempty"`     // its latest recovery
	Protected string    `json:"protected,omitempty"` // why it is not protected, "" if it is
}

// Inventory returns the VMs last seen on a host ("" for all), by host and name.
func (e *Engine) Inventory(host string) []InventoryVM {
	var out []InventoryVM
	for name, h := range e.hosts {
		if host != "" && host != name {
			continue
		}
		for _, vm := range h.vms {
			d := e.policy.Decide(vm.Facts)
			out = append(out, InventoryVM{VM: vm, Rule: d.Reason, Action: string(d.Action), Priority: d.Priority, Protected: h.facts.Unprotected})
		}
	}
	slices.SortFunc(out, func(a, b InventoryVM) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Explain returns what is known of the VMs with this id or name, each with its latest recovery.
func (e *Engine) Explain(idOrName string) []InventoryVM {
	found := map[string]InventoryVM{}
	for _, vm := range e.Inventory("") {
		if vm.ID == idOrName || vm.Name == idOrName {
			found[vm.ID] = vm
		}
	}
	for id, in := range e.incidents {
		for _, r := range e.vms[id] {
			if r.VM.ID != idOrName && r.VM.Name != idOrName {
				continue
			}
			v, ok := found[r.VM.ID]
			if !ok {
				v = InventoryVM{VM: r.VM, Rule: r.Rule, Priority: r.Priority}
			}
			if v.Story == nil || in.Stages.Verdict.After(e.incidents[v.Story.Incident].Stages.Verdict) {
				c := *r
				v.Story = &c
			}
			found[r.VM.ID] = v
		}
	}
	out := make([]InventoryVM, 0, len(found))
	for _, v := range found {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b InventoryVM) int { return cmp.Compare(a.ID, b.ID) })
	return out
}
