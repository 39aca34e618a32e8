package world_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

var update = flag.Bool("update", false, "rewrite the expected part of testdata/*.txt")

// Each file of testdata is a story: what is done, a line of dashes, and what
// the world says happened.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			story, want, _ := strings.Cut(string(text), "----\n")
			got := play(t, story)
			if *update {
				if err := os.WriteFile(file, []byte(story+"----\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-want +got (rewrite with -update):\n%s", d)
			}
		})
	}
}

// teller plays a story.
type teller struct {
	w     *world.World
	start time.Time
	out   strings.Builder
	names []string // pairs of id and name, for reading
}

func play(t *testing.T, story string) string {
	t.Helper()
	exact := world.Exactly
	timing := world.Timing{
		Schedule: exact(200 * time.Millisecond), Evacuate: exact(time.Second), PowerOff: exact(200 * time.Millisecond), Boot: exact(3 * time.Second),
		ComputeStart: exact(time.Second), GuestStart: exact(500 * time.Millisecond), Delete: exact(500 * time.Millisecond),
		LiveMigration: exact(2 * time.Second), PostMigration: exact(400 * time.Millisecond), Resize: exact(2 * time.Second),
	}
	tl := &teller{start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	tl.w = world.New(world.Options{
		Seed: 1, Timing: timing, Gated: strings.Contains(story, "\ngated\n"), ResumeGuests: strings.Contains(story, "\nresume-guests\n"),
	})
	lines := bufio.NewScanner(strings.NewReader(story))
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if d, err := time.ParseDuration(words[0]); err == nil {
			tl.w.Advance(tl.start.Add(d))
			words = words[1:]
		}
		if len(words) > 0 && !tl.do(words) {
			t.Fatalf("line %d: I don't understand %q", n, lines.Text())
		}
	}
	return strings.NewReplacer(tl.names...).Replace(tl.out.String()) + tl.truth()
}

func (t *teller) listen() {
	t.w.Subscribe(func(e world.Event) {
		line := fmt.Sprintf("%6.1fs %s", e.At.Sub(t.start).Seconds(), e.Kind)
		for _, s := range []string{e.Host, e.VM, e.Text} {
			if s != "" {
				line += " " + s
			}
		}
		fmt.Fprintln(&t.out, line)
	})
}

func (t *teller) id(name string) string {
	if v := t.w.VMByName(name); v != nil {
		return v.ID
	}
	for i := 0; i < len(t.names); i += 2 { // deleted meanwhile
		if t.names[i+1] == name {
			return t.names[i]
		}
	}
	return name
}

func (t *teller) arg(words []string, i int) string {
	if i < len(words) {
		return words[i]
	}
	return ""
}

func (t *teller) do(words []string) bool {
	w, a, b := t.w, t.arg(words, 1), t.arg(words, 2)
	switch words[0] {
	case "shared":
		w.AddStore(a, true)
	case "host":
		h := w.AddHost(world.HostSpec{Name: a, Store: b})
		t.names = append(t.names, h.Boot, "boot-1-of-"+a)
	case "vm":
		v := w.AddVM(world.VMSpec{Name: a, Host: b, State: t.arg(words, 3)})
		t.names = append(t.names, v.ID, a)
	case "begin":
		t.listen()
	case "cut-power":
		w.PowerCut(a)
	case "power-on":
		w.PowerOn(a)
	case "freeze":
		w.Freeze(a)
	case "thaw":
		w.Thaw(a)
	case "cut-plane":
		w.CutPlane(a, world.Plane(b))
	case "deny":
		w.DenyGuests(a, []string{t.id(b)})
	case "bmc-lies":
		w.SetBMC(a, func(m *world.BMC) { m.Lying = true })
	case "bmc-lags":
		w.SetBMC(a, func(m *world.BMC) { m.Lag = 5 * time.Second })
	case "bmc-off":
		t.answer(w.BMCSet(a, false))
	case "bmc-read":
		on, err := w.BMCPower(a)
		fmt.Fprintf(&t.out, "        reads on=%t\n", on)
		t.answer(err)
	case "end", "gated", "resume-guests":
	default:
		return t.ask(words, a, b)
	}
	return true
}

// ask is what goes through the API and may be refused.
func (t *teller) ask(words []string, a, b string) bool {
	w := t.w
	switch words[0] {
	case "force-down", "un-force", "disable":
		yes, no := true, false
		u := map[string]world.ServiceUpdate{"force-down": {ForcedDown: &yes}, "un-force": {ForcedDown: &no}, "disable": {Disabled: &yes, Reason: "test"}}[words[0]]
		_, wait, err := w.UpdateService(world.Caller{User: "op"}, w.Host(a).ServiceID, u)
		fmt.Fprintf(&t.out, "        Nova answers after %s\n", wait)
		t.refusal(err)
	case "evacuate":
		t.refusal(w.Evacuate(world.Caller{User: "op"}, t.id(a), b, t.arg(words, 3) == "2.95"))
	case "live-migrate":
		t.refusal(w.LiveMigrate(world.Caller{User: "op"}, t.id(a), b))
	case "migrate-cold":
		t.refusal(w.Resize(world.Caller{User: "op"}, t.id(a), true))
	case "confirm":
		t.refusal(w.ConfirmResize(world.Caller{User: "op"}, t.id(a)))
	case "self-reboot":
		w.Reboot(a, time.Second)
	case "open-gate":
		w.OpenGate(a)
	case "hang":
		w.Hang(a)
	case "probe":
		for _, p := range world.Planes() {
			fmt.Fprintf(&t.out, "        %s answers on %s: %s\n", b, p, w.Probe(a, p, b))
		}
	default:
		if len(words) != 2 {
			return false
		}
		t.refusal(w.Do(world.Caller{User: "op"}, t.id(a), words[0]))
	}
	return true
}

func (t *teller) refusal(err *world.Error) {
	if err != nil {
		fmt.Fprintf(&t.out, "        refused: %v\n", err)
	}
}

func (t *teller) answer(err error) {
	if err != nil {
		fmt.Fprintf(&t.out, "        error: %v\n", err)
	}
}

func (t *teller) truth() string {
	var b strings.Builder
	for _, id := range t.w.VMIDs() {
		v := t.w.VM(id)
		fmt.Fprintf(&b, "= %s: %s on %s in Nova; runs", v.Name, v.Status(), v.Host)
		for _, c := range t.w.Copies(id) {
			fmt.Fprintf(&b, " on %s", c.Host)
		}
		if len(t.w.Copies(id)) == 0 {
			b.WriteString(" nowhere")
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "= twice %d, lost %d, down %d\n", len(t.w.DoubleRuns()), len(t.w.Lost()), len(t.w.VMsDown()))
	return b.String()
}
