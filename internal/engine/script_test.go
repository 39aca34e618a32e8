package engine

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

var update = flag.Bool("update", false, "rewrite the expected decisions of the scenarios")

// TestScenarios runs testdata/*.txt: events in, decisions out. See script for the words.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txt")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got, err := runScript(string(text))
			if err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			if *update {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := gocmp.Diff(strings.Split(string(text), "\n"), strings.Split(got, "\n")); d != "" {
				t.Errorf("%s (- expected, + came; go test ./internal/engine -run 'TestScenarios/%s' -update rewrites it):\n%s", f, name, d)
			}
		})
	}
}

// script drives an engine and a small cloud (world) by lines of text. A line is a time in seconds, a word and its
// options; what follows "----", up to an empty line, are the decisions: what was said, and what was done to the world.
// Reads are answered by the world within a tick and aren't shown. The words:
//
//	verdict HOST VERDICT [boot= via= life=AGO] "reason"   suspect HOST   up HOST          what detection says
//	dies HOST   cut HOST   uncut HOST   boots HOST   power HOST on   opens HOST  what happens to machines
//	vm NAME status=… power=… host=… task=…   gone NAME   fails NAME   guest NAME HOST   ends NAME HOST   what happens to VMs
//	migration VM/TYPE/STATUS/SOURCE/DEST[/USER]   service HOST forced=… disabled=… reason=…
//	answer ACTION HOW                                                            how the world answers (see world.write)
//	ask VERB host=… reason=…   policy "…"   takeover   quorum …   show [gate]
type script struct {
	e *Engine
	w *world

	now time.Duration
	due []dueEvent

	nextReport time.Duration
	out        []string
	records    map[string][]byte
	gates      map[string]string // the last gate order printed
	policy     *policy.Policy
	cfg        Config
	crash      *crash
}

type dueEvent struct {
	at time.Duration
	a  Action
}

var epochStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const scriptTick = 200 * time.Millisecond

func (s *script) time() time.Time { return epochStart.Add(s.now) }

// armed lets a new engine act, as an operator does who has installed it.
func armed(e *Engine) *Engine {
	if err := e.Load("switches/armed", []byte(`{"armed":true}`)); err != nil {
		panic(err)
	}
	return e
}

func runScript(text string) (string, error) {
	_, told, err := playScript(text)
	return told, err
}

func playScript(text string) (*script, string, error) {
	s := &script{records: map[string][]byte{}, gates: map[string]string{}, cfg: Config{Epoch: 1, User: "ninelives"}, policy: policy.Default(), w: newWorld(epochStart)}
	s.e = armed(New(s.cfg, s.policy))
	var result []string
	skipping := false
	for n, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		switch {
		case skipping && line == "":
			skipping = false
			result = append(result, "")
		case skipping:
		case line == "----":
			result = append(append(result, line), s.out...)
			s.out, skipping = nil, true
		default:
			result = append(result, line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if err := s.line(line); err != nil {
				return nil, "", fmt.Errorf("line %d: %q: %w", n+1, line, err)
			}
		}
	}
	if len(s.out) > 0 {
		result = append(append(result, "----"), s.out...)
	}
	if len(s.w.twice) > 0 {
		return nil, "", errors.New("S1: " + strings.Join(s.w.twice, "; "))
	}
	return s, strings.Join(result, "\n") + "\n", nil
}

func (s *script) line(line string) error {
	w := words(line)
	switch w[0] {
	case "cloud":
		return s.setUp(w)
	case "policy":
		p, err := policy.Parse("policy.yaml", []byte(strings.ReplaceAll(strings.Join(w[1:], " "), `\n`, "\n")))
		if err != nil {
			return err
		}
		s.policy = p
		s.step(PolicyChanged{p})
		return nil
	}
	at, err := strconv.ParseFloat(strings.TrimSuffix(w[0], "s"), 64)
	if err != nil {
		return fmt.Errorf("a line begins with its time: %w", err)
	}
	until := time.Duration(at * float64(time.Second)).Round(time.Millisecond)
	if until < s.now {
		return fmt.Errorf("time goes back from %v", s.now)
	}
	s.wait(until)
	return s.event(w[1], w[2:])
}

// wait lets time pass: ticks, answers that are due, and every two seconds a report of each agent.
func (s *script) wait(until time.Duration) {
	for s.now < until {
		s.now = min(until, s.now+scriptTick)
		s.w.pass(s.time())
		slices.SortStableFunc(s.due, func(a, b dueEvent) int { return cmp.Compare(a.at, b.at) })
		for len(s.due) > 0 && s.due[0].at <= s.now {
			a := s.due[0].a
			s.due = s.due[1:]
			s.perform(a)
		}
		if s.now >= s.nextReport {
			s.nextReport = s.now + 2*time.Second
			s.reports()
		}
		s.step(Tick{})
	}
}

func (s *script) reports() {
	for _, n := range s.w.names() {
		if m := s.w.machines[n]; m.on && !m.cut {
			s.step(AgentReported{Host: n, Report: s.w.report(m)})
		}
	}
}

func (s *script) perform(a Action) {
	if a.Do == AskGuests {
		m := s.w.machines[a.Host]
		if !m.on || m.cut {
			s.step(Answered{Action: a.ID, Answer: NotSent, Text: "no agent is connected"})
			return
		}
		m.asOf = s.time()
		s.step(AgentReported{Host: a.Host, Report: s.w.report(m)})
		s.step(Answered{Action: a.ID, Answer: Accepted})
		return
	}
	ev := s.w.read(a)
	if a.Do.Dangerous() {
		ev = s.w.write(a)
	}
	if ev != nil {
		s.step(ev)
	}
}

// words splits at spaces outside of quotes; key=value stay together.
func words(line string) []string {
	var out []string
	var cur strings.Builder
	quoted := false
	for _, r := range line + " " {
		switch {
		case r == '"':
			quoted = !quoted
		case r != ' ' || quoted:
			cur.WriteRune(r)
		case cur.Len() > 0:
			out = append(out, cur.String())
			cur.Reset()
		}
	}
	return out
}

func option(args []string, key, def string) string {
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, key+"="); ok {
			return v
		}
	}
	return def
}

// setUp: cloud hosts=3 [levels=0|1|2 nova=2.95 driver=fake stores=no] vms=db-1@h1(status=PAUSED;tag=pet),web-1@h1
func (s *script) setUp(w []string) error {
	hosts, _ := strconv.Atoi(option(w, "hosts", "3"))
	for i := 1; i <= hosts; i++ {
		name := fmt.Sprintf("h%d", i)
		m := s.w.addMachine(name, "nova", option(w, "levels", "1"))
		m.facts.Hypervisor = option(w, "driver", "QEMU")
		m.facts.Service = m.service
		s.step(HostSeen{m.facts})
		s.step(AgentReported{Host: name, Report: s.w.report(m)})
		s.step(Assessed{Host: name, Verdict: Up, Boot: m.bootID(), LastLife: s.time(), Since: s.time(), Reason: "pulses"})
	}
	if option(w, "nova", "") == "2.95" {
		s.step(CloudSeen{User: "ninelives", StaysStopped: true})
	}
	for _, one := range strings.FieldsFunc(option(w, "vms", ""), func(r rune) bool { return r == ',' }) {
		name, rest, _ := strings.Cut(one, "@")
		host, opts, _ := strings.Cut(strings.TrimSuffix(rest, ")"), "(")
		if s.w.machines[host] == nil {
			return fmt.Errorf("a VM is name@host, not %q", one)
		}
		change(s.w, s.w.addVM(name, host), strings.Split(opts, ";"))
	}
	for _, h := range s.w.names() {
		s.step(InventoryRead{Host: h, VMs: s.w.on(h)})
	}
	s.wait(time.Second) // every agent is told its gate's state
	s.out, s.now = nil, 0
	s.due, s.nextReport = nil, 0
	return nil
}

func change(w *world, v *VM, o []string) {
	v.Status, v.Power, v.Task, v.Host = option(o, "status", v.Status), option(o, "power", v.Power), option(o, "task", v.Task), option(o, "host", v.Host)
	v.Launched, v.Immovable = option(o, "launched", "yes") == "yes", option(o, "immovable", v.Immovable)
	v.ImageBooted = option(o, "disk", "image") == "image"
	v.Locked = option(o, "locked", "") == "yes"
	v.MemoryMB, _ = strconv.Atoi(option(o, "mb", strconv.Itoa(v.MemoryMB)))
	v.Facts.Flavor = option(o, "flavor", v.Facts.Flavor)
	if hv := option(o, "hv", ""); hv != "" {
		v.Facts.ImageProperties = map[string]string{"img_hv_type": hv}
	}
	if tag := option(o, "tag", ""); tag != "" {
		v.Facts.Tags = []string{tag}
	}
	if g := option(o, "apart", ""); g != "" {
		v.Apart = []string{g}
	}
	if v.Status != "ACTIVE" && v.Status != "PAUSED" {
		delete(w.machines[v.Host].guests, v.ID)
	}
}

// event turns a line into what happens.
func (s *script) event(word string, a []string) error {
	reason := "" // the last word that is no option
	if n := len(a); n > 1 && !strings.Contains(a[n-1], "=") {
		reason = a[n-1]
	}
	var m *machine
	if len(a) > 0 {
		m = s.w.machines[a[0]]
	}
	switch word {
	case "suspect", "up", "verdict", "withdrawn":
		s.assess(word, a, m, reason)
	case "dies":
		s.w.kill(m)
	case "cut":
		m.cut = a[0] != ""
	case "uncut":
		m.cut = false
	case "boots":
		s.w.boots(m)
		s.step(AgentReported{Host: a[0], Report: s.w.report(m)})
	case "opens": // an operator opens its gate by hand
		m.gate, m.byHand = true, true
		s.step(AgentReported{Host: a[0], Report: s.w.report(m)})
	case "ends": // a guest of a host, behind Nova's back
		delete(s.w.machines[a[1]].guests, a[0])
	case "power":
		m.power = a[1]
	case "driver":
		m.facts.Hypervisor = a[1]
		s.step(HostSeen{m.facts})
	case "service":
		m.service.ForcedDown = option(a, "forced", "no") == "yes"
		m.service.Disabled, m.service.DisabledReason = option(a, "disabled", "no") == "yes", option(a, "reason", "")
		m.service.Up, m.service.Fresh = !m.service.ForcedDown, option(a, "fresh", "yes") == "yes"
		m.facts.Service = m.service
		s.step(HostSeen{m.facts})
	case "vm":
		change(s.w, s.w.vms[a[0]], a)
	case "fails": // the evacuation under way
		for _, mv := range s.w.moves {
			if mv.VM == a[0] && mv.Status == "accepted" {
				mv.Status, mv.due = "failed", time.Time{}
			}
		}
	case "forgets": // the message bus, the order of the evacuation under way
		for _, mv := range s.w.moves {
			if mv.VM == a[0] && mv.Status == "accepted" {
				mv.due = time.Time{}
			}
		}
	case "gone":
		delete(s.w.vms, a[0])
	case "guest":
		s.w.machines[a[1]].guests[a[0]] = true
	case "migration":
		s.migration(strings.Split(a[0], "/"))
	case "answer":
		s.w.answers[Kind(a[0])] = strings.Join(a[1:], " ")
	case "ask":
		in := ""
		for _, i := range s.e.open { // the latest one that is open
			if i.Host == option(a, "incident", "") {
				in = i.ID
			}
		}
		s.step(Asked{ID: "ask", By: "admin", Verb: Verb(a[0]), Host: option(a, "host", ""), Zone: option(a, "zone", ""), Incident: in, VM: option(a, "vm", ""), Reason: option(a, "reason", "")})
	case "quorum": // quorum self=h1 members=3 healthy=3 on=h2 lost=yes
		q := QuorumChanged{Self: option(a, "self", ""), On: map[string]string{}, Lost: map[string]bool{}}
		q.Members, _ = strconv.Atoi(option(a, "members", "3"))
		q.Healthy, _ = strconv.Atoi(option(a, "healthy", "3"))
		q.On[option(a, "on", q.Self)] = "server-2"
		q.Lost["server-2"] = option(a, "lost", "") == "yes"
		s.step(q)
	case "takeover":
		return s.takeover()
	case "show":
		s.show()
		if len(a) > 0 {
			s.showGates()
		}
	default:
		return fmt.Errorf("unknown word %q", word)
	}
	return nil
}

func (s *script) assess(word string, a []string, m *machine, reason string) {
	life, err := time.ParseDuration(option(a, "life", "2s"))
	if err != nil {
		panic(err)
	}
	ev := Assessed{Host: a[0], Verdict: Up, Boot: option(a, "boot", m.bootID()), Via: option(a, "via", ""), LastLife: s.time().Add(-life), Since: s.time(), Reason: either(reason, word)}
	switch word {
	case "suspect":
		ev.Suspect = true
	case "verdict":
		ev.Verdict = Verdict(a[1])
	case "withdrawn":
		ev.Verdict, ev.Suspect = "", true
	}
	s.step(ev)
}

func (s *script) migration(p []string) {
	mv := &move{Migration: Migration{UUID: "old-" + p[0], VM: p[0], Type: p[1], Status: p[2], Source: p[3], Dest: p[4], User: "ninelives", Created: s.time()}}
	if len(p) > 5 {
		mv.UUID, mv.User = p[5]+"-"+p[0], p[5]
	}
	s.w.moves = slices.DeleteFunc(s.w.moves, func(o *move) bool { return o.UUID == mv.UUID })
	s.w.moves = append(s.w.moves, mv)
}

// takeover kills the leader after its records and before the answers to its acts; another one loads them.
func (s *script) takeover() error {
	s.cfg.Epoch++
	s.cfg.Takeover, s.due = s.time(), nil
	s.e = armed(New(s.cfg, s.policy))
	for _, k := range slices.Sorted(keysOf(s.records)) {
		if err := s.e.Load(k, s.records[k]); err != nil {
			return err
		}
	}
	s.print("     a new leader, epoch %d", s.cfg.Epoch)
	for _, n := range s.w.names() {
		m := s.w.machines[n]
		s.step(HostSeen{m.facts})
		if m.on && !m.cut {
			s.step(AgentReported{Host: n, Report: s.w.report(m)})
			s.step(Assessed{Host: n, Verdict: Up, Boot: m.bootID(), LastLife: s.time(), Since: s.time(), Reason: "pulses"})
		} else {
			s.step(AgentReported{Host: n, Report: AgentReport{Stores: []string{"nfs:shared"}}})
		}
	}
	return nil
}

func keysOf(m map[string][]byte) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// step runs the engine, writes its records as the store would, and its decisions down.
func (s *script) step(ev Event) {
	eff := s.e.Step(s.time(), ev)
	if s.crashes(&eff) {
		return
	}
	s.record(eff.Records)
	for _, n := range eff.Notes {
		text := n.Text
		if n.VM == "" && n.Host != "" {
			text = n.Host + ": " + text
		}
		s.print("say  %s", s.plain(text))
	}
	for _, r := range eff.Replies {
		if !r.OK {
			s.print("no   %s", s.plain(r.Text))
		}
	}
	for _, a := range eff.Actions {
		after := 2 * scriptTick
		if a.Do == Fence {
			after = time.Second
		}
		s.due = append(s.due, dueEvent{at: s.now + after, a: a})
		text := s.action(a)
		if a.Do == SendGate && (s.e.incidentOf(a.Host) == nil && s.gates[a.Host] == "" || s.gates[a.Host] == text) {
			continue // the everyday order, or one that is tried again
		}
		if a.Do == SendGate {
			s.gates[a.Host] = text
		}
		if a.Do.Dangerous() || a.Do == SendGate {
			s.print("do   %s", text)
		}
	}
}

func (s *script) record(records []Record) {
	for _, r := range records {
		if r.Value == nil {
			delete(s.records, r.Key)
			continue
		}
		data, err := json.Marshal(r.Value)
		if err != nil {
			panic(err)
		}
		s.records[r.Key] = data
	}
}

func (s *script) action(a Action) string {
	text := fmt.Sprintf("%s %s", a.Do, either(a.VM, a.Host))
	switch a.Do {
	case Evacuate:
		text += " to " + either(a.Target, "(scheduler)")
		if a.Stopped {
			text += " stopped"
		}
	case Fence:
		text += fmt.Sprintf(" level=%d", a.Level+1)
	case TakeOut, PutBack:
		text += fmt.Sprintf(" disable/enable=%v force=%v", a.Disable, a.Force)
	case SendGate:
		text += fmt.Sprintf(" open=%v forbidden=%v", a.Gate.Open, a.Gate.Forbidden)
	case PowerOn:
		text += " " + strings.Join(a.Devices, "+")
	}
	return text
}

// plain replaces incident ids by their host's name, so that scenarios read well and don't change with times.
func (s *script) plain(text string) string {
	for id, in := range s.e.incidents {
		text = strings.ReplaceAll(text, id, "#"+in.Host)
	}
	return text
}

func (s *script) print(format string, args ...any) {
	s.out = append(s.out, fmt.Sprintf("%6.1fs  ", s.now.Seconds())+fmt.Sprintf(format, args...))
}
