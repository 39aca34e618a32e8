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

// step runs the engine, writes its records as the store would, and its decisions down.
func (s *script) step(ev Event) {
	eff := s.e.Step(s.time(), ev)
	sameCount(panics{}, s.e)
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
