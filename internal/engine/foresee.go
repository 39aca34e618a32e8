package engine

import (
	"fmt"
	"maps"
	"time"
)

// Foreseen is what would happen if some hosts died now.
type Foreseen struct {
	Hosts   []string       `json:"hosts"`
	VMs     []ForeseenVM   `json:"vms"`
	Locks   []Interlock    `json:"interlocks,omitempty"`
	Seconds float64        `json:"seconds"` // from the proof to the last VM, at PerEvacuation each
	Counts  map[State]int  `json:"counts"`
	Targets map[string]int `json:"targets"`
}

// ForeseenVM is one VM's fate.
type ForeseenVM struct {
	Order    int    `json:"order"`
	Name     string `json:"name"`
	ID       string `json:"id"`
	Host     string `json:"host"`
	State    State  `json:"state"` // queued: it would be resurrected
	Target   string `json:"target,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Rule     string `json:"rule,omitempty"`
	Priority int    `json:"priority"`
}

// Foresee plans the resurrection of hosts from the last inventory and the agents' last reports, with the rules, the
// queue and the placement of a real one. perEvacuation is how long one evacuation takes.
func (e *Engine) Foresee(hosts []string, perEvacuation time.Duration) (Foreseen, error) {
	f := Foreseen{Hosts: hosts, Counts: map[State]int{}, Targets: map[string]int{}}
	for _, name := range hosts {
		if e.hosts[name] == nil {
			return f, unknownHost(name)
		}
	}
	s := New(e.cfg, e.policy)
	s.now, s.switches, s.zones, s.quorum = e.now, e.switches, e.zones, e.quorum
	maps.Copy(s.hosts, e.hosts) // only those that are planned for change
	for _, name := range hosts {
		c := *e.hosts[name]
		s.hosts[name] = &c
	}
	var ins []*Incident
	for _, name := range hosts {
		h := s.hosts[name]
		ins = append(ins, s.openIncident(h, Assessed{Host: name, Verdict: Off, Boot: h.now.Boot, Reason: "foreseen"}, PhaseOpen))
		h.now.Verdict = Off
	}
	for _, in := range ins {
		for _, l := range s.mayFence(in) {
			l.Reason = in.Host + ": " + l.Reason
			f.Locks = append(f.Locks, l)
		}
		in.Proof = &Proof{Kind: "power-off", Host: in.Host, Boot: in.Boot}
		s.plan(in, Listed{VMs: s.hosts[in.Host].vms})
	}
	load := s.load()
	s.cfg.PerTarget, s.cfg.InAll = 1<<30, 1<<30
	for _, in := range ins {
		for _, r := range s.recoveries(in) {
			f.VMs = append(f.VMs, s.foresee(in, r, load))
		}
	}
	busiest := 0
	for i := range f.VMs {
		f.Counts[f.VMs[i].State]++
		if t := f.VMs[i].Target; t != "" {
			f.Targets[t]++
			busiest = max(busiest, f.Targets[t])
		}
	}
	waves := max((busiest+e.cfg.PerTarget-1)/e.cfg.PerTarget, (f.Counts[Queued]+e.cfg.InAll-1)/e.cfg.InAll)
	f.Seconds = float64(waves) * perEvacuation.Seconds()
	return f, nil
}

// toldVMs is how many VMs are named in a sentence; of more open incidents than toldHosts nobody reads where each VM would
// go, and to find that out takes as long as to decide on them all.
const toldVMs, toldHosts = 10, 20

// wouldDo says what would follow for an incident that nothing but shadow mode holds back.
func (e *Engine) wouldDo(in *Incident) string {
	text := "no device to fence it by"
	if levels := e.host(in.Host).facts.Levels; len(levels) > 0 {
		text = "fenced by " + levels[0]
	}
	if n := len(e.host(in.Host).vms); len(e.open) > toldHosts {
		return fmt.Sprintf("%s; %d VMs resurrected elsewhere (ninelives plan %s)", text, n, in.Host)
	}
	f, err := e.Foresee([]string{in.Host}, 0)
	if err != nil || len(f.VMs) == 0 {
		return text + "; no VM is known on it"
	}
	for i, vm := range f.VMs {
		switch {
		case i == toldVMs:
			return fmt.Sprintf("%s; and %d more (ninelives plan %s)", text, len(f.VMs)-i, in.Host)
		case vm.State == Queued && vm.Target != "":
			text += fmt.Sprintf("; %s to %s", vm.Name, vm.Target)
		default:
			text += fmt.Sprintf("; %s %s: %s", vm.Name, vm.State, vm.Reason)
		}
	}
	return text
}

func (e *Engine) foresee(in *Incident, r *Recovery, load *loads) ForeseenVM {
	v := ForeseenVM{Order: r.Order, Name: r.VM.Name, ID: r.VM.ID, Host: in.Host, State: r.State, Reason: r.Reason, Rule: r.Rule, Priority: r.Priority}
	if r.State != Queued {
		return v
	}
	target, verdict, why := e.target(in, r, load)
	switch verdict {
	case placeAt:
		load.add(target, r)
		v.Target = target
	case placeHeld:
		v.State, v.Reason = Held, why
	case placeWait:
		v.Reason = fmt.Sprintf("one member of an anti-affinity group at a time (%v)", r.VM.Apart)
	}
	return v
}
