package engine

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
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
			if d := cmp.Diff(strings.Split(string(text), "\n"), strings.Split(got, "\n")); d != "" {
				t.Errorf("%s (- expected, + came; go test ./internal/engine -run 'TestScenarios/%s' -update rewrites it):\n%s",
					f, strings.TrimSuffix(filepath.Base(f), ".txt"), d)
			}
		})
	}
}

// script drives an engine by lines of text. Lines before "----" are events, each with its time in seconds; what follows,
// up to an empty line, are the decisions. The harness plays a Nova that answers nothing by itself: every answer is a line.
type script struct {
	e       *Engine
	now     time.Duration
	vms     map[string]*VM
	out     []string
	records map[string][]byte
	policy  string
	cfg     Config
	last    map[string]string // last action of a kind and subject, by "kind subject"
	uuids   map[string]int
	quiet   map[string]string // last printed state of a record
}

var epochStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (s *script) time() time.Time { return epochStart.Add(s.now) }

func runScript(text string) (string, error) {
	s := &script{vms: map[string]*VM{}, records: map[string][]byte{}, last: map[string]string{}, uuids: map[string]int{}, quiet: map[string]string{},
		cfg: Config{Epoch: 1, User: "ninelives"}}
	s.e = New(s.cfg, policy.Default())
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
				return "", fmt.Errorf("line %d: %q: %w", n+1, line, err)
			}
		}
	}
	if len(s.out) > 0 {
		result = append(append(result, "----"), s.out...)
	}
	return strings.Join(result, "\n") + "\n", nil
}

func (s *script) line(line string) error {
	w := words(line)
	if w[0] == "cloud" || w[0] == "policy" {
		return s.setUp(w)
	}
	at, err := strconv.ParseFloat(strings.TrimSuffix(w[0], "s"), 64)
	if err != nil {
		return fmt.Errorf("a line begins with its time: %w", err)
	}
	if until := time.Duration(at * float64(time.Second)); until < s.now {
		return fmt.Errorf("time goes back from %v", s.now)
	} else {
		for s.now+200*time.Millisecond < until { // the shell ticks
			s.now += 200 * time.Millisecond
			s.step(Tick{})
		}
		s.now = until
	}
	return s.event(w[1], w[2:])
}

// words splits at spaces outside of quotes; key=value stay together.
func words(line string) []string {
	var out []string
	var cur strings.Builder
	quoted := false
	for _, r := range line {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ' ' && !quoted:
			if cur.Len() > 0 {
				out = append(out, cur.String())
				cur.Reset()
			}
		default:
			cur.WriteRune(r)
		}
	}
	if cur.Len() > 0 {
		out = append(out, cur.String())
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

// setUp: cloud hosts=3 [levels=2] vms=db-1@h1(status=PAUSED;priority=…),web-1@h1   ·   policy "text"
func (s *script) setUp(w []string) error {
	if w[0] == "policy" {
		p, err := policy.Parse("policy.yaml", []byte(strings.ReplaceAll(strings.Join(w[1:], " "), `\n`, "\n")))
		if err != nil {
			return err
		}
		s.policy = p.Source()
		s.step(PolicyChanged{p})
		s.out = nil
		return nil
	}
	hosts, _ := strconv.Atoi(option(w, "hosts", "3"))
	for i := 1; i <= hosts; i++ {
		s.host(fmt.Sprintf("h%d", i), w)
	}
	if list := option(w, "vms", ""); list != "" {
		for _, one := range strings.Split(list, ",") {
			if err := s.vm(one); err != nil {
				return err
			}
		}
	}
	for i := 1; i <= hosts; i++ {
		h := fmt.Sprintf("h%d", i)
		s.step(InventoryRead{Host: h, VMs: s.on(h)})
	}
	s.out = nil
	return nil
}

func (s *script) host(name string, w []string) {
	levels := []string{"bmc-" + name}
	switch option(w, "levels", "1") {
	case "0":
		levels = nil
	case "2":
		levels = append(levels, "pdu-"+name)
	}
	s.step(HostSeen{HostFacts{
		Name: name, Zone: option(w, "zone", "nova"), Hypervisor: option(w, "hypervisor", "fake"), Levels: levels, FreeMB: 64000, FreeVCPUs: 64,
		Service: Service{ID: "svc-" + name, Up: true, Fresh: true},
	}})
	s.step(AgentReported{Host: name, Report: AgentReport{Boot: "boot1-" + name, Stores: []string{option(w, "store", "nfs:shared")}}})
	s.step(Assessed{Host: name, Verdict: Up, Boot: "boot1-" + name, LastLife: s.time(), Since: s.time(), Reason: "pulses"})
}

func (s *script) vm(one string) error {
	name, rest, ok := strings.Cut(one, "@")
	if !ok {
		return fmt.Errorf("a VM is name@host, not %q", one)
	}
	host, opts, _ := strings.Cut(strings.TrimSuffix(rest, ")"), "(")
	o := strings.Split(opts, ";")
	mem, _ := strconv.Atoi(option(o, "mb", "512"))
	v := &VM{
		ID: name, Name: name, Host: host, Status: option(o, "status", "ACTIVE"), Task: option(o, "task", ""), Power: option(o, "power", "running"), Launched: option(o, "launched", "yes") == "yes",
		ImageBooted: option(o, "disk", "image") == "image", MemoryMB: mem, VCPUs: 1, Immovable: option(o, "immovable", ""),
		Facts: policy.VM{ID: name, Name: name, Zone: option(o, "zone", "nova"), Aggregates: []string{}, FlavorExtra: map[string]string{}, ImageProperties: map[string]string{}, Metadata: map[string]string{}, Tags: []string{}},
	}
	if tag := option(o, "tag", ""); tag != "" {
		v.Facts.Tags = []string{tag}
	}
	if g := option(o, "apart", ""); g != "" {
		v.Apart = []string{g}
	}
	s.vms[name] = v
	return nil
}

func (s *script) on(host string) []VM {
	var out []VM
	for _, v := range s.vms {
		if v.Host == host {
			out = append(out, *v)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

// event turns a line into an event.
func (s *script) event(word string, a []string) error {
	id := func(kind Kind, subject string) string { return s.last[string(kind)+" "+subject] }
	reason := "" // the last word that is no option
	if n := len(a); n > 1 && !strings.Contains(a[n-1], "=") {
		reason = a[n-1]
	}
	switch word {
	case "tick":
		s.step(Tick{})
	case "suspect":
		s.step(Assessed{Host: a[0], Verdict: Up, Suspect: true, Boot: option(a, "boot", "boot1-"+a[0]), LastLife: s.time().Add(-1500 * time.Millisecond), Since: s.time(), Reason: reason})
	case "up":
		s.step(Assessed{Host: a[0], Verdict: Up, Boot: option(a, "boot", "boot1-"+a[0]), LastLife: s.time(), Since: s.time(), Reason: "pulses"})
	case "verdict":
		s.step(Assessed{Host: a[0], Verdict: Verdict(a[1]), Boot: option(a, "boot", "boot1-"+a[0]), Via: option(a, "via", ""), LastLife: s.time().Add(-2 * time.Second), Since: s.time(), Reason: a[len(a)-1]})
	case "listed":
		s.step(s.listing(id(ListServers, a[0]), a))
	case "unlisted":
		s.step(Listed{Action: id(ListServers, a[0]), Err: reason})
	case "fenced":
		s.step(FenceDone{Action: id(Fence, a[0]), Proven: true, Device: "bmc-" + a[0], Devices: []string{"bmc-" + a[0]}, Sent: true})
	case "fence-failed":
		s.step(FenceDone{Action: id(Fence, a[0]), Sent: true, Devices: []string{"bmc-" + a[0]}, Err: reason})
	case "power":
		s.step(PowerRead{Action: id(ReadPower, a[0]), Readings: []Reading{{Device: "bmc-" + a[0], State: a[1], At: s.time()}}})
	case "accepted", "refused", "unanswered", "not-sent": // accepted KIND SUBJECT
		status, _ := strconv.Atoi(option(a, "status", "0"))
		s.step(Answered{Action: id(Kind(a[0]), a[1]), Answer: Answer(word), Status: status, Text: option(a, "text", "")})
	case "inspected":
		n, _ := strconv.Atoi(option(a, "evacuations", "0"))
		s.step(Inspected{Action: id(Inspect, a[0]), Evacuations: n})
	case "tracked":
		s.step(s.tracking(id(Track, a[0]), a))
	case "untracked":
		s.step(Tracked{Action: id(Track, a[0]), Err: reason})
	case "looked":
		v, found := s.vms[a[0]]
		ev := Looked{Action: id(Look, a[0]), Found: found && option(a, "found", "yes") == "yes"}
		if found {
			v.Host, v.Status, v.Power, v.Task = option(a, "host", v.Host), option(a, "status", v.Status), option(a, "power", v.Power), option(a, "task", "")
			ev.VM = *v
		}
		s.step(ev)
	case "service":
		on := func(key string) bool { return slices.Contains(a, key) }
		s.step(ServiceRead{Action: id(ReadService, a[0]), Host: a[0], Service: Service{
			ID: "svc-" + a[0], Up: !on("forced"), Fresh: on("fresh"), ForcedDown: on("forced"), Disabled: on("disabled"), DisabledReason: option(a, "reason", ""),
		}})
	case "report":
		s.step(AgentReported{Host: a[0], Report: AgentReport{
			Boot: option(a, "boot", "boot1-"+a[0]), GuestsSeen: option(a, "guests", "none") != "none", Guests: list(option(a, "guests", "")),
			Stores: list(option(a, "stores", "nfs:shared")), GateClosed: option(a, "gate", "open") == "closed", AsOf: s.time(),
		}})
	case "ask":
		s.step(Asked{ID: "ask", By: "admin", Verb: Verb(a[0]), Host: option(a, "host", ""), Zone: option(a, "zone", ""), Incident: s.incident(option(a, "incident", "")), VM: option(a, "vm", ""), Reason: option(a, "reason", "")})
	case "gone":
		delete(s.vms, a[0])
	case "takeover":
		return s.takeover()
	default:
		return fmt.Errorf("unknown word %q", word)
	}
	return nil
}

func list(v string) []string {
	if v == "" || v == "none" || v == "-" {
		return nil
	}
	return strings.Split(v, "+")
}

func (s *script) listing(action string, a []string) Listed {
	l := Listed{Action: action, Date: s.time(), VMs: s.on(a[0]), Allocated: list(option(a, "allocated", "")), Allocations: true, Service: s.e.host(a[0]).facts.Service}
	for _, m := range list(option(a, "migrations", "")) {
		p := strings.Split(m, "/") // vm/type/status/source/dest
		l.Migrations = append(l.Migrations, Migration{UUID: "old-" + p[0], VM: p[0], Type: p[1], Status: p[2], Source: p[3], Dest: p[4]})
	}
	if drop := option(a, "without", ""); drop != "" {
		l.VMs = slices.DeleteFunc(l.VMs, func(v VM) bool { return slices.Contains(list(drop), v.ID) })
	}
	return l
}

// tracking: tracked h1 db-1/done/h2 web-1/accepted/-
func (s *script) tracking(action string, a []string) Tracked {
	tr := Tracked{Action: action}
	for _, m := range a[1:] {
		p := strings.Split(m, "/")
		mig := Migration{UUID: "m-" + p[0], VM: p[0], Type: "evacuation", Status: p[1], Source: a[0], Dest: strings.Trim(p[2], "-"), User: "ninelives", Created: s.time()}
		if len(p) > 3 {
			mig.UUID = p[3]
		}
		if len(p) > 4 {
			mig.User = p[4]
		}
		if v := s.vms[p[0]]; v != nil && p[1] == "done" {
			v.Host = mig.Dest
		}
		tr.Migrations = append(tr.Migrations, mig)
	}
	return tr
}

func (s *script) incident(host string) string {
	if in := s.e.incidentOf(host); in != nil {
		return in.ID
	}
	return ""
}

// takeover kills the leader after its records and before its actions' answers; another one loads them.
func (s *script) takeover() error {
	old := s.e
	s.cfg.Epoch++
	s.cfg.Takeover = s.time()
	p := policy.Default()
	if s.policy != "" {
		var err error
		if p, err = policy.Parse("policy.yaml", []byte(s.policy)); err != nil {
			return err
		}
	}
	s.e = New(s.cfg, p)
	keys := make([]string, 0, len(s.records))
	for k := range s.records {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		if err := s.e.Load(k, s.records[k]); err != nil {
			return err
		}
	}
	names := make([]string, 0, len(old.hosts))
	for n := range old.hosts {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		h := old.hosts[n]
		s.step(HostSeen{h.facts})
		s.step(AgentReported{Host: n, Report: h.report})
		if h.now.Verdict == Up {
			s.step(h.now)
		}
	}
	return nil
}

// step runs the engine and writes its decisions down.
func (s *script) step(ev Event) {
	eff := s.e.Step(s.time(), ev)
	for _, r := range eff.Records {
		data, err := json.Marshal(r.Value)
		if err != nil {
			panic(err)
		}
		s.records[r.Key] = data
	}
	for _, n := range eff.Notes {
		text := n.Text
		if n.VM == "" && n.Host != "" {
			text = n.Host + ": " + text
		}
		s.print("say  %s", s.plain(text))
	}
	for _, r := range eff.Replies {
		s.print("reply ok=%v %s", r.OK, s.plain(r.Text))
	}
	for _, a := range eff.Actions {
		subject := a.Host
		if a.VM != "" {
			subject = a.VM
		}
		s.last[string(a.Do)+" "+subject] = a.ID
		if a.Do == SendGate && a.Gate.Open && len(a.Gate.Forbidden) == 0 && s.e.incidentOf(a.Host) == nil {
			defer s.step(Answered{Action: a.ID, Answer: Accepted}) // the everyday order, told to every agent once
			continue
		}
		if a.Do == Track || a.Do == Look || a.Do == ReadService || a.Do == Inspect {
			s.print("read %s %s", a.Do, subject)
			continue
		}
		s.print("do   %s", s.action(a, subject))
	}
}

func (s *script) action(a Action, subject string) string {
	text := fmt.Sprintf("%s %s", a.Do, subject)
	switch a.Do {
	case Evacuate:
		text += " to " + either(a.Target, "(scheduler)")
		if a.Stopped {
			text += " stopped"
		}
	case Fence:
		text += fmt.Sprintf(" level=%d %q", a.Level+1, a.Why)
	case TakeOut, PutBack:
		text += fmt.Sprintf(" disable/enable=%v force=%v", a.Disable, a.Force)
	case SendGate:
		text += fmt.Sprintf(" open=%v forbidden=%v %q", a.Gate.Open, a.Gate.Forbidden, s.plain(a.Gate.Reason))
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

// print drops what repeats without news: a scenario is read by people.
func (s *script) print(format string, args ...any) {
	line := fmt.Sprintf("%6.1fs  ", s.now.Seconds()) + fmt.Sprintf(format, args...)
	if strings.HasPrefix(line[9:], "read ") && s.quiet[line[9:]] != "" {
		return
	}
	s.quiet[line[9:]] = "seen"
	s.out = append(s.out, line)
}
