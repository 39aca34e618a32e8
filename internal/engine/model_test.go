package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// model drives the engine through a small cloud at random: hosts die, are cut off, reboot and return; acts are carried
// out late, in any order, or by a leader that is no more; answers are lost; leaders change between a record and its act.
// After every step the promises are checked against the world's truth, not against what the engine believes.
type model struct {
	listed   time.Time // when the inventory was read last
	t        *rapid.T
	e        *Engine
	w        *world
	cfg      Config
	now      time.Time
	records  map[string][]byte
	due      []modelAct
	trace    []string
	heard    map[string]Assessed // what detection last said
	silent   map[string]time.Time
	keep     int // lines of the trace to print
	replies  []Reply
	slow     time.Duration // how long answers to writes are under way
	disarmed bool
	operator map[string]bool // services that an operator disabled
	resting  map[string]bool // hosts in maintenance
}

// modelAct is an action on its way: carried out at do, answered at answer (zero: never).
type modelAct struct {
	a       Action
	epoch   int64
	do      time.Time
	answer  time.Time
	outcome Event
	done    bool
}

const (
	modelHosts = 4
	modelTTL   = 90 * time.Second
)

func newModel(t *rapid.T) *model {
	m := &model{
		t: t, keep: 4000, now: epochStart, records: map[string][]byte{}, heard: map[string]Assessed{}, silent: map[string]time.Time{}, operator: map[string]bool{}, resting: map[string]bool{},
		cfg: Config{Epoch: 1, User: "ninelives", RequestTTL: modelTTL, Permit: 2 * time.Second}, w: newWorld(epochStart),
	}
	m.e = armed(New(m.cfg, policy.Default()))
	m.w.undated = rapid.Bool().Draw(t, "undated")
	for i := range modelHosts {
		h := m.w.addMachine(fmt.Sprintf("h%d", i+1), "nova", rapid.SampledFrom([]string{"1", "2"}).Draw(t, "levels"))
		if rapid.IntRange(0, 5).Draw(t, "disabled") == 0 {
			h.service.Disabled, h.service.DisabledReason, m.operator[h.name] = true, "maintenance window", true
		}
		h.facts.Service = h.service
	}
	for i := range 6 {
		m.w.addVM(fmt.Sprintf("vm%d", i+1), fmt.Sprintf("h%d", i%modelHosts+1))
	}
	m.introduce()
	m.inventory()
	return m
}

// inventory is what the server reads of each host once a minute, while Nova answers.
func (m *model) inventory() {
	if m.w.answers["nova"] == "down" {
		return
	}
	for _, n := range m.w.names() {
		m.step(InventoryRead{Host: n, VMs: m.w.on(n)})
	}
}

func (m *model) introduce() {
	for _, n := range m.w.names() {
		h := m.w.machines[n]
		m.step(HostSeen{h.facts})
		if h.on && !h.cut {
			m.step(AgentReported{Host: n, Report: m.w.report(h)})
		} else {
			m.step(AgentReported{Host: n, Report: AgentReport{Stores: []string{"nfs:shared"}}})
		}
	}
	clear(m.heard)
	m.detect()
}

// step feeds one event, keeps the records, and puts the actions on their way.
func (m *model) step(ev Event) {
	m.logEvent(ev)
	eff := m.e.Step(m.now, ev)
	sameCount(m.t, m.e)
	for _, r := range eff.Records {
		if r.Value == nil {
			delete(m.records, r.Key)
			continue
		}
		data, err := json.Marshal(r.Value)
		if err != nil {
			m.t.Fatal(err)
		}
		m.records[r.Key] = data
	}
	m.replies = append(m.replies, eff.Replies...)
	m.standing()
	for _, n := range eff.Notes {
		m.log("    say %s: %s", n.Host, n.Text)
	}
	for _, a := range eff.Actions {
		if a.Do != Track && a.Do != ReadService && a.Do != ReadPower && a.Do != Look {
			m.log("    do %s %s %s %s->%s", a.ID, a.Do, a.Host, a.VM, a.Target)
		}
		m.check(a)
		delay := time.Duration(rapid.IntRange(0, 20).Draw(m.t, "delay")) * 100 * time.Millisecond
		m.due = append(m.due, modelAct{a: a, epoch: m.cfg.Epoch, do: m.now.Add(delay)})
	}
	m.checkState()
}

// standing reads what the operator's switches say, after each step.
func (m *model) standing() {
	s, zones := m.e.Switches()
	m.disarmed = !s.Armed || s.Shadow
	for _, h := range m.e.Hosts() {
		_, zone := zones[h.Zone]
		m.resting[h.Name] = zone || h.Maintenance != nil
	}
}

func (m *model) log(format string, args ...any) {
	line := fmt.Sprintf("%8.1f ", m.now.Sub(epochStart).Seconds()) + fmt.Sprintf(format, args...)
	if len(line) > 400 {
		line = line[:400]
	}
	m.trace = append(m.trace, line)
}

func (m *model) logEvent(ev Event) {
	switch ev := ev.(type) {
	case HostSeen, Tick, InventoryRead, ServiceRead, Tracked, PowerRead:
	case AgentReported:
		m.log("report %s %s guests=%v gate=%v asof=%v", ev.Host, ev.Report.Boot, ev.Report.Guests, !ev.Report.GateClosed, !ev.Report.AsOf.IsZero())
	case Assessed:
		m.log("assessed %s %s suspect=%v %s", ev.Host, ev.Verdict, ev.Suspect, ev.Boot)
	case Listed:
		m.log("listed %s %d VMs, %d migrations %s", ev.Action, len(ev.VMs), len(ev.Migrations), ev.Err)
	case Looked:
		m.log("looked %s %s on %s %s", ev.Action, ev.VM.ID, ev.VM.Host, ev.VM.Status)
	default:
		m.log("%T %+v", ev, ev)
	}
}

func (m *model) fail(format string, args ...any) {
	keep := m.trace[max(0, len(m.trace)-m.keep):]
	m.t.Fatalf("%s\ntrace:\n%s", fmt.Sprintf(format, args...), strings.Join(keep, "\n"))
}

// check looks at one action when it is decided.
func (m *model) check(a Action) {
	if m.disarmed && a.Do.Dangerous() {
		m.fail("S4: %s of %s%s although disarmed", a.Do, a.Host, a.VM)
	}
	if in := m.e.incidents[a.Incident]; a.Do.Dangerous() && (m.resting[in.Host] || in.Aborted != "") {
		m.fail("S4: %s for %s, which is in maintenance or given up", a.Do, in.Host)
	}
	switch a.Do {
	case Evacuate, ResetState:
		in := m.e.incidents[a.Incident]
		if in.Proof == nil || in.Revoked != "" {
			m.fail("S1: %s %s without a proof that stands", a.Do, a.VM)
		}
		m.checkIntent(a)
		for _, n := range m.w.names() {
			if m.w.machines[n].guests[a.VM] {
				m.fail("S1: %s %s to %s while it runs on %s", a.Do, a.VM, a.Target, n)
			}
		}
	case PutBack:
		for _, r := range m.e.recoveries(m.e.incidents[a.Incident]) {
			if r.Open() != nil {
				m.fail("put back %s while an evacuation of %s is open", a.Host, r.VM.ID)
			}
		}
		if m.operator[a.Host] && a.Disable {
			m.fail("S4: %s was disabled by an operator and is enabled", a.Host)
		}
	case TakeOut:
		if m.operator[a.Host] && a.Disable {
			m.fail("S4: %s was disabled by an operator; its reason is overwritten", a.Host)
		}
	case SendGate:
		for _, vms := range m.e.vms {
			for _, r := range vms {
				if a.Gate.Open && r.Open() != nil && r.VM.Host == a.Host {
					m.fail("gate of %s opens while an evacuation of %s is open", a.Host, r.VM.ID)
				}
			}
		}
	}
}

// checkIntent: the intent is on record before the act (S5).
func (m *model) checkIntent(a Action) {
	var r Recovery
	if err := json.Unmarshal(m.records["incidents/"+a.Incident+"/servers/"+a.VM], &r); err != nil {
		m.fail("S5: %s %s has no record: %v", a.Do, a.VM, err)
	}
	if a.Do == Evacuate && (r.Open() == nil || r.Open().Target != a.Target) {
		m.fail("S5: evacuate %s is not on record as an open attempt", a.VM)
	}
}

// checkState looks at everything after a step.
func (m *model) checkState() {
	if len(m.w.twice) > 0 {
		m.fail("S1: %s", strings.Join(m.w.twice, "; "))
	}
	open := map[string]string{}
	for id, vms := range m.e.vms {
		for vm, r := range vms {
			if r.Open() == nil {
				continue
			}
			if open[vm] != "" {
				m.fail("S1: two unresolved evacuations of %s: incidents %s and %s", vm, open[vm], id)
			}
			open[vm] = id
		}
	}
	for _, in := range m.e.open {
		if in.Phase != PhaseRetrying && m.e.openOn[in.Host] != in {
			m.fail("two open incidents of %s", in.Host)
		}
	}
}

// advance lets time pass in ticks of at most a second.
func (m *model) advance(d time.Duration) {
	for until := m.now.Add(d); m.now.Before(until); {
		m.now = m.now.Add(min(time.Second, until.Sub(m.now)))
		m.w.pass(m.now)
		m.work()
		m.detect()
		m.step(Tick{})
		if m.now.Sub(m.listed) >= time.Minute {
			m.listed = m.now
			m.inventory()
		}
	}
}

// work carries out what is due, and delivers the answers that are due.
func (m *model) work() {
	for i := 0; i < len(m.due); i++ {
		d := m.due[i]
		if !d.done && !m.now.Before(d.do) {
			d.done = true
			d.outcome = m.perform(d)
			d.answer = m.now
			if d.a.Do.Dangerous() {
				d.answer = m.now.Add(time.Duration(rapid.IntRange(0, int(m.slow.Seconds())).Draw(m.t, "late")) * time.Second)
			}
		}
		m.due[i] = d
		if d.done && !m.now.Before(d.answer) {
			m.due = slices.Delete(m.due, i, i+1)
			i--
			if d.outcome != nil && d.epoch == m.cfg.Epoch {
				m.deliver(d)
			}
		}
	}
}

// deliver hands an answer in. It may change the attempt that it answers, and no other one.
func (m *model) deliver(d modelAct) {
	r := m.e.vms[d.a.Incident][d.a.VM]
	if d.a.Do != Evacuate || r == nil {
		m.step(d.outcome)
		return
	}
	before := slices.Clone(r.Attempts)
	m.step(d.outcome)
	for _, a := range before {
		i := slices.IndexFunc(r.Attempts, func(o Attempt) bool { return o.ID == a.ID })
		if a.ID != d.a.attempt && (i < 0 || r.Attempts[i].Answer != a.Answer) {
			m.fail("the answer to attempt %s was taken for %s", d.a.attempt, a.ID)
		}
	}
}

func (m *model) perform(d modelAct) Event {
	a := d.a
	if a.Do == AskGuests {
		h := m.w.machines[a.Host]
		if !h.on || h.cut {
			return Answered{Action: a.ID, Answer: NotSent, Text: "no agent"}
		}
		h.asOf = m.now
		r := m.w.report(h)
		if d.epoch == m.cfg.Epoch {
			m.step(AgentReported{Host: a.Host, Report: r})
		}
		return Answered{Action: a.ID, Answer: Accepted}
	}
	if !a.Do.Dangerous() {
		return m.w.read(a)
	}
	if d.epoch != m.cfg.Epoch && m.now.Sub(a.Begun) > m.cfg.Permit {
		return nil // the deposed leader's permit has run out
	}
	ev := m.w.write(a)
	m.log("    done %s %s %s%s: %+v", a.ID, a.Do, a.Host, a.VM, ev)
	return ev
}

// detect says what detection would: life at once, suspicion after 2 s, off or dead after 6 s.
func (m *model) detect() {
	for _, n := range m.w.names() {
		h := m.w.machines[n]
		was, ev := m.heard[n], Assessed{Host: n, Boot: h.bootID(), LastLife: m.now, Since: m.now, Reason: "model"}
		if h.on && !h.cut {
			delete(m.silent, n)
			ev.Verdict = Up
			if was.Verdict == Up && !was.Suspect && was.Boot == ev.Boot {
				continue
			}
			if was.Boot != "" && was.Boot != ev.Boot {
				ev.Verdict = Rebooted
			}
			m.step(AgentReported{Host: n, Report: m.w.report(h)})
		} else {
			if m.silent[n].IsZero() {
				m.silent[n] = m.now
			}
			ev.Boot = was.Boot
			since := m.now.Sub(m.silent[n])
			switch {
			case since > 6*time.Second && (was.Verdict != Dead && was.Verdict != Off):
				ev.Verdict = Dead
				if !h.on && len(h.name)%2 == 0 {
					ev.Verdict = Off
				}
			case since > 2*time.Second && !was.Suspect && was.Verdict != Dead && was.Verdict != Off:
				ev.Verdict, ev.Suspect = was.Verdict, true
			default:
				continue
			}
		}
		m.heard[n] = ev
		m.step(ev)
	}
	for _, n := range m.w.names() {
		if h := m.w.machines[n]; h.on && !h.cut && m.now.Sub(epochStart)%(5*time.Second) < time.Second {
			m.step(AgentReported{Host: n, Report: m.w.report(h)})
			f := h.facts
			f.Service = h.service
			m.step(HostSeen{f})
		}
	}
}

// takeover: the leader dies between its records and its acts; some of them are carried out all the same.
func (m *model) takeover() {
	m.log("TAKEOVER")
	m.cfg.Epoch++
	m.cfg.Takeover = m.now
	m.e = armed(New(m.cfg, policy.Default()))
	for _, k := range slices.Sorted(keysOf(m.records)) {
		if err := m.e.Load(k, m.records[k]); err != nil {
			m.fail("cannot load: %v", err)
		}
	}
	m.introduce()
}

// heal ends all trouble, and lets everything come to its end: dead hosts are switched on by somebody in the end.
func (m *model) heal() {
	m.log("HEAL")
	clear(m.w.answers)
	m.slow = 0
	for _, v := range []Verb{Arm, ShadowOff} {
		m.step(Asked{ID: "a", By: "op", Verb: v})
	}
	m.step(Asked{ID: "a", By: "op", Verb: MaintenanceOff, Zone: "nova"})
	for _, n := range m.w.names() {
		m.step(Asked{ID: "a", By: "op", Verb: MaintenanceOff, Host: n})
	}
	for _, n := range m.w.names() {
		m.w.machines[n].cut = false
	}
	m.advance(4 * time.Minute)
	for _, n := range m.w.names() {
		in := m.e.incidentOf(n)
		if h := m.w.machines[n]; !h.on && (in == nil || in.Phase == PhaseRecovered) {
			m.w.boots(h)
		}
		if in != nil {
			m.step(Asked{ID: "f", By: "op", Verb: FenceHost, Host: n, Reason: "repeated"})
		}
	}
	m.advance(8 * time.Minute)
	for _, n := range m.w.names() {
		if in := m.e.incidentOf(n); in != nil {
			m.step(Asked{ID: "r", By: "op", Verb: RetryIncident, Incident: in.ID})
		}
	}
	m.advance(8 * time.Minute)
}

// checkEnd is promise S3: every VM runs, once, or stands somewhere by name with its reason.
func (m *model) checkEnd() {
	for id := range m.w.vms {
		running := 0
		for _, h := range m.w.machines {
			if h.guests[id] {
				running++
			}
		}
		named := ""
		for _, in := range m.e.incidents {
			if r := m.e.vms[in.ID][id]; r != nil && (r.State == Held || r.State == Failed || r.State == Unaccounted || r.State == Skipped && r.Reason != "") {
				named = string(r.State) + ": " + r.Reason
			}
		}
		stuck := false
		for _, in := range m.e.open {
			stuck = stuck || in.Phase != PhaseClosed && len(in.Interlocks) > 0
		}
		if running != 1 && named == "" && !stuck {
			m.fail("S3: %s runs %d times and no incident names it", id, running)
		}
	}
	for _, in := range m.e.open {
		for _, r := range m.e.recoveries(in) {
			if !r.State.Settled() && len(in.Interlocks) == 0 && r.Reason == "" {
				m.fail("S3: %s is %s in incident of %s (%s), and nothing says why", r.VM.ID, r.State, in.Host, in.Phase)
			}
		}
	}
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		for range rapid.IntRange(1, 25).Draw(t, "disturbances") {
			m.disturb()
			m.advance(time.Duration(rapid.SampledFrom([]int{300, 1000, 3000, 8000, 20000, 120000}).Draw(t, "ms")) * time.Millisecond)
		}
		m.heal()
		m.checkEnd()
	})
}
