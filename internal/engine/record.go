package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"
)

var zeroTime time.Time

// HostRecord is what must survive about a host: an operator's maintenance and the times of its last failures.
type HostRecord struct {
	Host        string               `json:"host"`
	Maintenance *Maintenance         `json:"maintenance,omitempty"`
	Verdicts    []time.Time          `json:"verdicts,omitempty"`
	Boot        string               `json:"boot,omitempty"`      // the last boot whose VMs were accounted for
	Forbidden   []string             `json:"forbidden,omitempty"` // VMs that must not start there: a given-up incident left it out of service
	Late        map[string]time.Time `json:"late,omitempty"`      // VMs that orders from before its failure may still want to start there, until when they are refused
	GivenUp     string               `json:"given_up,omitempty"`  // that incident: the host is left alone until it is taken back
}

func (e *Engine) hostRecord(name string) HostRecord {
	h := e.host(name)
	return HostRecord{Host: name, Maintenance: h.maintenance, Verdicts: h.verdicts, Boot: h.boot, Forbidden: h.forbidden, GivenUp: h.givenUp, Late: maps.Clone(h.late)}
}

func splitKey(key string) []string { return strings.Split(key, "/") }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func cloneZones(z map[string]Maintenance) map[string]Maintenance { return maps.Clone(z) }

// damaged says what in a record can't be: it would be forgotten, or belong to something else, or wait for ever in a state
// that this version doesn't know.
func damaged(k []string, record any) string {
	switch v := record.(type) {
	case *HostRecord:
		if v.Host != k[1] {
			return fmt.Sprintf("it is of the host %q", v.Host)
		}
	case *Incident:
		if v.ID != k[1] || v.Host == "" {
			return fmt.Sprintf("it is of the incident %q of the host %q", v.ID, v.Host)
		}
		if !v.Phase.known() {
			return fmt.Sprintf("there is no phase %q", v.Phase)
		}
	case *Recovery:
		if v.Incident != k[1] || v.VM.ID != k[3] {
			return fmt.Sprintf("it is of the VM %q in the incident %q", v.VM.ID, v.Incident)
		}
		if !v.State.known() {
			return fmt.Sprintf("there is no state %q", v.State)
		}
		for _, a := range v.Attempts {
			if !a.Answer.known() {
				return fmt.Sprintf("attempt %s has the answer %q", a.ID, a.Answer)
			}
		}
	}
	return ""
}

// Load takes in one record of an earlier leader, before the first Step. Records of kinds that aren't the engine's
// (devices, audit, policy) are refused; so is one it can't read: better no leader than one that forgets an incident.
func (e *Engine) Load(key string, data []byte) error {
	k := splitKey(key)
	var into any
	switch {
	case key == "switches/armed":
		into = &Switches{}
	case key == "switches/maintenance":
		into = &e.zones
	case key == "switches/storm":
		into = &stormRecord{}
	case k[0] == "hosts" && len(k) == 2:
		into = &HostRecord{}
	case k[0] == "incidents" && len(k) == 2:
		into = &Incident{}
	case k[0] == "incidents" && len(k) == 4 && k[2] == "servers":
		into = &Recovery{}
	default:
		return fmt.Errorf("record %s is none of the engine's", key)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("cannot read record %s: %w", key, err)
	}
	if why := damaged(k, into); why != "" {
		return fmt.Errorf("cannot read record %s: %s", key, why)
	}
	e.recount = true
	if e.zones == nil {
		e.zones = map[string]Maintenance{} // the record said "null"
	}
	switch v := into.(type) {
	case *Switches:
		e.switches = *v
	case *stormRecord:
		e.within(stormNoted, &v.Last)
		e.storm, e.stormKept = v.Last, v.Last
	case *HostRecord:
		for i := range v.Verdicts {
			e.past(&v.Verdicts[i])
		}
		h := e.host(v.Host)
		h.maintenance, h.verdicts, h.boot, h.forbidden, h.givenUp, h.late = v.Maintenance, v.Verdicts, v.Boot, v.Forbidden, v.GivenUp, v.Late
		h.lived = v.Boot != "" // a new leader counts those it hasn't heard yet among the hosts that could be seen
	case *Incident:
		e.rebaseIncident(v)
		e.keep(v)
		if h := e.host(v.Host); v.Proof != nil && v.Proof.At.After(h.cleared) {
			h.cleared = v.Proof.At
		}
		if !v.Fencing.At.IsZero() {
			e.fences[v.Host] = later(e.fences[v.Host], v.Fencing.At)
		}
	case *Recovery:
		if e.vms[v.Incident] == nil {
			e.vms[v.Incident] = map[string]*Recovery{}
		}
		e.rebaseRecovery(v)
		e.add(v)
		if v.State == Recovered && e.cfg.Takeover.Sub(v.Ended) < arrivedLately {
			e.arrive(v)
		}
	}
	return nil
}
