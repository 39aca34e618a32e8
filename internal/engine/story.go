package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// How many lines a story keeps: more than any recovery needs, and bounded for one that fails for weeks.
const (
	keptLines   = 500
	keptLinesVM = 100
)

// grow adds a line to a story. What is cut from a long one is its middle: how it began is needed to understand the rest.
func (e *Engine) grow(log []Entry, most int, text string) []Entry {
	log = append(log, Entry{At: e.now, Text: text})
	if len(log) <= most {
		return log
	}
	at := most / 2
	if cut := "(the story was cut here)"; log[at].Text != cut {
		log[at].Text = cut
	}
	return slices.Delete(log, at+1, at+2)
}

// tell adds a line to an incident's story and to the notes.
func (e *Engine) tell(in *Incident, text string) {
	in.Log = e.grow(in.Log, keptLines, text)
	e.note(Info, in.Host, in.ID, "", text)
	e.touch(in)
}

// noteMode tells it with the severity of the incident's failure mode.
func (e *Engine) noteMode(in *Incident, text string) {
	in.Log = e.grow(in.Log, keptLines, text)
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
	r.Log = e.grow(r.Log, keptLinesVM, text)
	e.note(Info, e.incidents[r.Incident].Host, r.Incident, r.VM.ID, r.VM.Name+": "+text)
	e.touchVM(r)
}

// setState moves a recovery to a state, with the reason in words.
func (e *Engine) setState(r *Recovery, s State, reason string) {
	if r.State == s && r.Reason == reason {
		return
	}
	if s != r.State {
		delete(e.polled[r.Incident], "asked/"+r.VM.ID) // whoever looks from here on asks its host's agent anew
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

// block records why nothing is done now: what the rules say, and what the last act failed of. The story gets a line
// only when a reason of a new kind comes up.
func (e *Engine) block(in *Incident, locks []Interlock) {
	if in.stuck != nil {
		locks = append(locks, *in.stuck)
	}
	changed := len(locks) != len(in.Interlocks)
	for i := range locks {
		locks[i].Since = e.now
		if j := slices.IndexFunc(in.Interlocks, func(o Interlock) bool { return o.Code == locks[i].Code }); j >= 0 {
			locks[i].Since = in.Interlocks[j].Since
			changed = changed || in.Interlocks[j].Reason != locks[i].Reason
		} else {
			changed = true
			in.Log = e.grow(in.Log, keptLines, "waits: "+locks[i].Reason)
			e.note(Warning, in.Host, in.ID, "", "waits: "+locks[i].Reason)
		}
	}
	if changed {
		in.Interlocks = locks
		e.touch(in)
	}
}

// fail notes that an act did not succeed, for block to show until one does; work puts an end to that.
func (e *Engine) fail(in *Incident, code, format string, args ...any) {
	in.stuck = &Interlock{Code: code, Reason: fmt.Sprintf(format, args...)}
}

func (e *Engine) work(in *Incident) { in.stuck = nil }

func (e *Engine) closeIncident(in *Incident, why string) {
	e.tell(in, "closed: "+why)
	in.Phase, in.Stages.Closed, in.Interlocks, in.stuck = PhaseClosed, e.now, nil, nil
	e.open, e.openBy = slices.DeleteFunc(e.open, func(o *Incident) bool { return o == in }), nil
	if e.openOn[in.Host] == in {
		delete(e.openOn, in.Host)
	}
	delete(e.polled, in.ID)
	delete(e.queues, in.ID)
	e.regate(in.Host) // what was forbidden is lifted
}

func (e *Engine) touch(in *Incident)    { e.dirty["incidents/"+in.ID] = true }
func (e *Engine) touchVM(r *Recovery)   { e.dirty["incidents/"+r.Incident+"/servers/"+r.VM.ID] = true }
func (e *Engine) touchHost(name string) { e.dirty["hosts/"+name] = true }

// flush turns what has changed into records. VMs come before their incident, and incidents before hosts: the shell may
// need more than one transaction, and whoever finds an incident planned, or a host's boot accounted for, must find all
// of the VMs, or the incident, that this says.
func (e *Engine) flush() {
	keys := slices.Collect(maps.Keys(e.dirty))
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(rank(a)-rank(b), cmp.Compare(a, b)) })
	for _, k := range keys {
		e.out.Records = append(e.out.Records, Record{Key: k, Value: e.value(k)})
	}
	clear(e.dirty)
}

func rank(key string) int {
	switch {
	case strings.Contains(key, "/servers/"):
		return 0
	case strings.HasPrefix(key, "incidents/"):
		return 1
	default:
		return 2
	}
}

// value is what is to be written under a key: a copy; nil if there is no such thing any more.
func (e *Engine) value(key string) any {
	switch k := splitKey(key); {
	case k[0] == "incidents" && len(k) == 2:
		if in := e.incidents[k[1]]; in != nil {
			return *in
		}
	case k[0] == "incidents" && len(k) == 4:
		if r := e.vms[k[1]][k[3]]; r != nil {
			v := *r
			v.Attempts, v.Log = slices.Clone(v.Attempts), slices.Clone(v.Log)
			return v
		}
	case k[0] == "hosts":
		if e.hosts[k[1]] != nil {
			return e.hostRecord(k[1])
		}
	case key == "switches/armed":
		return e.switches
	case key == "switches/maintenance":
		return cloneZones(e.zones)
	case key == "switches/storm":
		return stormRecord{Last: e.stormKept}
	default:
		panic(fmt.Sprintf("engine: no record for key %q", key))
	}
	return nil
}

// history is how long closed incidents are kept.
const history = 90 * 24 * time.Hour

// sweep drops, once an hour, closed incidents that are older than the history kept, with their records.
func (e *Engine) sweep() {
	if !e.swept.IsZero() && e.now.Sub(e.swept) < time.Hour {
		return
	}
	e.swept = e.now
	for id, in := range e.incidents {
		if in.closed() && e.now.Sub(in.Stages.Closed) > history {
			delete(e.incidents, id)
			e.touch(in)
		}
	}
	for id, vms := range e.vms {
		if e.incidents[id] == nil { // also VMs whose incident was never written: its leader ended between the two
			for _, r := range vms {
				e.touchVM(r)
			}
			delete(e.vms, id)
		}
	}
}
