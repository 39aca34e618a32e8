package engine

import (
	"cmp"
	"fmt"
	"maps"
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
	// Unplanned is how many VMs the host has, as last listed, before a plan counts them: then VMs is 0.
	Unplanned int `json:"unplanned,omitempty"`
}

// Hosts returns all hosts, by name.
func (e *Engine) Hosts() []HostView { return e.HostsAfter("", len(e.hosts)) }

// HostsAfter returns at most n hosts, by name, beginning after the one named ("": with the first).
func (e *Engine) HostsAfter(after string, n int) []HostView {
	names := e.inOrder()
	at, found := slices.BinarySearch(names, after)
	if found {
		at++
	}
	names = names[at:min(at+n, len(names))]
	out := make([]HostView, len(names))
	for i, name := range names {
		out[i] = e.hostView(name, e.hosts[name])
	}
	return out
}

// inOrder are the names of all hosts. They are put into order once: a part of a list would cost as much as the whole.
func (e *Engine) inOrder() []string {
	if e.names == nil {
		e.names = slices.Sorted(maps.Keys(e.hosts))
	}
	return e.names
}

// EachHost shows every host, in no order. To count them that is a tenth of what a list of them costs.
func (e *Engine) EachHost(show func(HostView)) {
	for name, h := range e.hosts {
		show(e.hostView(name, h))
	}
}

// Host returns one host; false: there is none of that name.
func (e *Engine) Host(name string) (HostView, bool) {
	h, ok := e.hosts[name]
	if !ok {
		return HostView{}, false
	}
	return e.hostView(name, h), true
}

func (e *Engine) hostView(name string, h *host) HostView {
	v := HostView{
		HostFacts: h.facts, Verdict: h.now.Verdict, Suspect: h.now.Suspect, Since: h.now.Since, Reason: h.now.Reason,
		Evidence: h.now.Evidence, LastLife: h.now.LastLife, Boot: h.now.Boot, Agent: h.report,
		Maintenance: h.maintenance, VMs: len(h.vms),
	}
	if in := e.openOn[name]; in != nil {
		v.Incident = in.ID
	}
	if h.givenUp != "" {
		v.Unprotected = either(v.Unprotected, fmt.Sprintf("incident %s was given up: left alone until its service is taken back, or ninelives host readmit %s", h.givenUp, name))
	}
	return v
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
	if h := e.hosts[in.Host]; h != nil && v.VMs == 0 && in.unplanned() {
		v.Unplanned = len(h.vms)
	}
	return v
}

// unplanned: its VMs have not been listed for it yet.
func (in *Incident) unplanned() bool {
	switch in.Phase {
	case PhaseAlert, PhaseOpen, PhaseFencing, PhaseTakingOut:
		return true
	default:
		return false
	}
}

func (e *Engine) recoveryViews(in *Incident) []Recovery {
	rs := e.recoveries(in)
	out := make([]Recovery, len(rs))
	for i, r := range rs {
		out[i] = r.view()
	}
	return out
}

func (r *Recovery) view() Recovery {
	v := *r
	v.Log, v.Attempts = slices.Clone(r.Log), slices.Clone(r.Attempts)
	return v
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

// HostGuests are the VMs last seen on a host. They are shared with the engine, which replaces lists and never changes
// them: they may be read at any time, and must not be written.
type HostGuests struct {
	Host        string
	Unprotected string // as in HostFacts
	VMs         []VM
}

// Guests returns the VMs of all hosts, by host. It costs what the hosts cost, not their VMs: with 200,000 of them, who
// wants to search or to judge them must not do it in the engine's time.
func (e *Engine) Guests() []HostGuests {
	out := make([]HostGuests, 0, len(e.hosts))
	for _, name := range e.inOrder() {
		h := e.hosts[name]
		out = append(out, HostGuests{Host: name, Unprotected: h.facts.Unprotected, VMs: h.vms})
	}
	return out
}

// GuestsOn returns the VMs of one host, none for a host that isn't there.
func (e *Engine) GuestsOn(host string) []HostGuests {
	h, ok := e.hosts[host]
	if !ok {
		return nil
	}
	return []HostGuests{{Host: host, Unprotected: h.facts.Unprotected, VMs: h.vms}}
}

// Stories returns, for each VM with this id or name, its latest recovery.
func (e *Engine) Stories(idOrName string) []Recovery {
	latest := map[string]*Recovery{}
	for id, in := range e.incidents {
		for _, r := range e.vms[id] {
			if r.VM.ID != idOrName && r.VM.Name != idOrName {
				continue
			}
			if before := latest[r.VM.ID]; before == nil || in.Stages.Verdict.After(e.incidents[before.Incident].Stages.Verdict) {
				latest[r.VM.ID] = r
			}
		}
	}
	out := make([]Recovery, 0, len(latest))
	for _, r := range latest {
		out = append(out, r.view())
	}
	return out
}
