package engine

import (
	"fmt"
	"slices"
	"sort"
)

// tell adds a line to an incident's story and to the notes.
func (e *Engine) tell(in *Incident, text string) {
	in.Log = append(in.Log, Entry{At: e.now, Text: text})
	e.note(Info, in.Host, in.ID, "", text)
	e.touch(in)
}

// noteMode tells it with the severity of the incident's failure mode.
func (e *Engine) noteMode(in *Incident, text string) {
	in.Log = append(in.Log, Entry{At: e.now, Text: text})
	m, ok := ModeOf(in.Verdict)
	if !ok {
		m.Severity = Warning
	}
	if in.Revoked != "" {
		m.Severity = Critical
	}
	e.out.Notes = append(e.out.Notes, Note{Severity: m.Severity, Code: m.Code, Host: in.Host, Incident: in.ID, Text: text})
	e.touch(in)
}

func (e *Engine) note(s Severity, host, incident, vm, text string) {
	e.out.Notes = append(e.out.Notes, Note{Severity: s, Host: host, Incident: incident, VM: vm, Text: text})
}

// tellVM adds a line to a VM's story.
func (e *Engine) tellVM(r *Recovery, text string) {
	r.Log = append(r.Log, Entry{At: e.now, Text: text})
	e.note(Info, e.incidents[r.Incident].Host, r.Incident, r.VM.ID, r.VM.Name+": "+text)
	e.touchVM(r)
}

// setState moves a recovery to a state, with the reason in words.
func (e *Engine) setState(r *Recovery, s State, reason string) {
	if r.State == s && r.Reason == reason {
		return
	}
	r.State, r.Reason = s, reason
	r.Ended = zeroTime
	if s.Settled() {
		r.Ended = e.now
	}
	text := string(s)
	if reason != "" {
		text += ": " + reason
	}
	e.tellVM(r, text)
}

// block records why nothing is done now. The story gets a line only when the set of reasons changes.
func (e *Engine) block(in *Incident, locks []Interlock) {
	changed := len(locks) != len(in.Interlocks)
	for i := range locks {
		locks[i].Since = e.now
		if j := slices.IndexFunc(in.Interlocks, func(o Interlock) bool { return o.Code == locks[i].Code }); j >= 0 {
			locks[i].Since = in.Interlocks[j].Since
			changed = changed || in.Interlocks[j].Reason != locks[i].Reason
		} else {
			changed = true
			in.Log = append(in.Log, Entry{At: e.now, Text: "waits: " + locks[i].Reason})
			e.note(Warning, in.Host, in.ID, "", "waits: "+locks[i].Reason)
		}
	}
	if changed {
		in.Interlocks = locks
		e.touch(in)
	}
}

func (e *Engine) release(in *Incident) {
	if len(in.Interlocks) > 0 {
		in.Interlocks = nil
		e.touch(in)
	}
}

func (e *Engine) closeIncident(in *Incident, why string) {
	e.tell(in, "closed: "+why)
	in.Phase, in.Stages.Closed, in.Interlocks = PhaseClosed, e.now, nil
	e.host(in.Host).sent = Gate{} // the next gate order lifts what was forbidden
	e.forgetPolls(in)
}

func (e *Engine) forgetPolls(in *Incident) {
	for _, key := range []string{"track/", "power/", "service/", "list/"} {
		delete(e.polled, key+in.ID)
	}
}

func (e *Engine) touch(in *Incident)    { e.dirty["incidents/"+in.ID] = true }
func (e *Engine) touchVM(r *Recovery)   { e.dirty["incidents/"+r.Incident+"/servers/"+r.VM.ID] = true }
func (e *Engine) touchHost(name string) { e.dirty["hosts/"+name] = true }

// flush turns what has changed into records, in a fixed order.
func (e *Engine) flush() {
	keys := make([]string, 0, len(e.dirty))
	for k := range e.dirty {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		e.out.Records = append(e.out.Records, Record{Key: k, Value: e.value(k)})
		delete(e.dirty, k)
	}
}

func (e *Engine) value(key string) any {
	var id, vm string
	switch k := splitKey(key); {
	case k[0] == "incidents" && len(k) == 2:
		v := *e.incidents[k[1]]
		return v
	case k[0] == "incidents" && len(k) == 4:
		id, vm = k[1], k[3]
		v := *e.vms[id][vm]
		v.Attempts, v.Log = slices.Clone(v.Attempts), slices.Clone(v.Log)
		return v
	case k[0] == "hosts":
		return e.hostRecord(k[1])
	case key == "switches/armed":
		return e.switches
	case key == "switches/maintenance":
		return cloneZones(e.zones)
	default:
		panic(fmt.Sprintf("engine: no record for key %q", key))
	}
}
