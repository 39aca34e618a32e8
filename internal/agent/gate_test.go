package agent

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

var update = flag.Bool("update", false, "rewrite testdata")

const (
	bootOne = "00000000-0000-4000-8000-000000000001"
	bootTwo = "00000000-0000-4000-8000-000000000002"
	vmA     = "aaaaaaaa-0000-4000-8000-00000000000a"
	vmB     = "bbbbbbbb-0000-4000-8000-00000000000b"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func bootBytes(t testing.TB, s string) []byte {
	t.Helper()
	b, err := transport.ParseBoot(s)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gateOrder(t testing.TB, boot string, epoch, generation uint64, open bool, forbidden ...string) *agentv1.GateOrder {
	return &agentv1.GateOrder{Boot: bootBytes(t, boot), Epoch: epoch, Generation: generation, Open: open, Forbidden: forbidden, Reason: "as the server says"}
}

// The gate's stories: what happens to it, and how it stands after. Rewritten by -update, reviewed as a diff.
func TestGateStories(t *testing.T) {
	files, err := filepath.Glob("testdata/gate_*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := gateStory(t, string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(string(text), got); d != "" {
				t.Errorf("%s (-want +got):\n%s", file, d)
			}
		})
	}
}

func gateStory(t *testing.T, text string) string {
	up := time.Duration(0)
	boots := map[string]string{"one": bootOne, "two": bootTwo}
	vms := map[string]string{"a": vmA, "b": vmB}
	names := strings.NewReplacer(vmA, "a", vmB, "b")
	var g gateRecord
	boot := ""
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "  ") {
			continue // what came of it the last time
		}
		fmt.Fprintln(&out, line)
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		var err error
		switch words[0] {
		case "boot":
			boot = boots[words[1]]
			g = g.forBoot(boot)
		case "after":
			d, perr := time.ParseDuration(words[1])
			if perr != nil {
				t.Fatal(perr)
			}
			up += d
		case "by-hand":
			g = g.byHand("I looked", up)
		case "order": // BOOT EPOCH GENERATION open|closed [VM…]
			epoch, _ := strconv.ParseUint(words[2], 10, 64)
			generation, _ := strconv.ParseUint(words[3], 10, 64)
			var forbidden []string
			for _, w := range words[5:] {
				if id, ok := vms[w]; ok {
					w = id
				}
				forbidden = append(forbidden, w)
			}
			g, err = g.obey(gateOrder(t, boots[words[1]], epoch, generation, words[4] == "open", forbidden...), up)
		default:
			t.Fatalf("unknown line %q", line)
		}
		if err != nil {
			fmt.Fprintf(&out, "  refused: %v\n", err)
			continue
		}
		state := "closed"
		if g.Open {
			state = "open"
		}
		fmt.Fprintf(&out, "  %s: %s\n", state, g.Reason)
		for _, vm := range []string{vmA, vmB} {
			why := g.refuses(boot, vm)
			if why == "" {
				why = "may start"
			}
			fmt.Fprintf(&out, "  %s: %s\n", names.Replace(vm), why)
		}
		fmt.Fprintf(&out, "  hunted: %s\n", names.Replace(fmt.Sprint(g.hunted(up))))
		// What is read back from the disk is the same gate.
		text, merr := json.Marshal(g)
		if merr != nil {
			t.Fatal(merr)
		}
		if back, perr := parseGate(text); perr != nil || !equalGate(back, g) {
			t.Errorf("after %q: the record does not survive the disk: %v\n%s", line, perr, cmp.Diff(g, back))
		}
	}
	return out.String()
}

// A record of another boot never opens a gate, whatever it says.
func TestARecordOfAnotherBootIsClosed(t *testing.T) {
	g := gateRecord{Format: gateFormat, Boot: bootOne, Open: true, Reason: "released"}
	if why := g.refuses(bootTwo, vmA); why == "" {
		t.Error("a VM may start in a boot that nobody released")
	}
}

func TestDamagedGateFiles(t *testing.T) {
	good, err := json.Marshal(gateRecord{}.forBoot(bootOne))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"", "{}", "null", string(good[:len(good)-1]), string(good) + "{}", strings.Replace(string(good), `"format":1`, `"format":2`, 1),
		strings.Replace(string(good), `"open"`, `"opne"`, 1), strings.Replace(string(good), bootOne, "x", 1),
		strings.Replace(string(good), `"open":false`, `"open":true,"forbidden":["x"]`, 1),
	} {
		if g, err := parseGate([]byte(text)); err == nil {
			t.Errorf("%q was taken for %+v", text, g)
		}
	}
}

func newTestKeeper(t *testing.T, dir, boot string) *keeper {
	t.Helper()
	k := newKeeper(dir, boot, discard())
	k.begin()
	return k
}

func TestGateSurvivesTheAgentButNotTheBoot(t *testing.T) {
	dir := t.TempDir()
	k := newTestKeeper(t, dir, bootOne)
	if g := k.current(); g.Open {
		t.Fatal("a gate that nobody opened is open")
	}
	if changed, err := k.obey(gateOrder(t, bootOne, 5, 100, true, vmA)); !changed || err != nil {
		t.Fatalf("changed %t, %v", changed, err)
	}
	// An upgrade: the new agent finds the gate open, as what runs was let in before.
	if g := newTestKeeper(t, dir, bootOne).current(); !g.Open || g.Generation != 100 || len(g.Forbidden) != 1 {
		t.Errorf("after the agent's restart: %+v", g)
	}
	// A reboot: closed, and the list kept, though nobody is killed for it.
	g := newTestKeeper(t, dir, bootTwo).current()
	if g.Open || g.Generation != 0 || len(g.Forbidden) != 1 || g.hunted(sinceBoot()) != nil {
		t.Errorf("after a reboot: %+v", g)
	}
}

// The ten minutes of the hunt are the machine's, not the agent's: they go on through its restart. What the wall clock
// shows meanwhile is nowhere asked.
func TestTheHuntIsMeasuredFromTheBoot(t *testing.T) {
	dir := t.TempDir()
	at := func(up time.Duration) *keeper {
		k := newKeeper(dir, bootOne, discard())
		k.up = func() time.Duration { return up }
		k.begin()
		return k
	}
	if _, err := at(100 * time.Hour).obey(gateOrder(t, bootOne, 5, 100, true, vmA)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		up   time.Duration
		want int
	}{{100*time.Hour + time.Second, 1}, {100*time.Hour + huntFor, 1}, {100*time.Hour + huntFor + time.Second, 0}} {
		if got := at(c.up).hunted(); len(got) != c.want {
			t.Errorf("%v after the boot the agent hunts %v, wanted %d of them", c.up, got, c.want)
		}
	}
	first, second := sinceBoot(), sinceBoot()
	if first <= 0 || second < first {
		t.Errorf("since the boot: %v, then %v", first, second)
	}
}

// A crash at any moment of a write leaves the old record or the new one: what is torn lies in another file.
func TestGateCrashBetweenWrites(t *testing.T) {
	dir := t.TempDir()
	k := newTestKeeper(t, dir, bootOne)
	if _, err := k.obey(gateOrder(t, bootOne, 1, 1, true, vmA)); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, gateFile))
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) { // killed after n bytes of the next record
		torn := filepath.Join(dir, "."+gateFile+".123")
		if err := os.WriteFile(torn, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if g := newTestKeeper(t, dir, bootOne).current(); !g.Open || g.Generation != 1 {
		t.Errorf("after a torn write: %+v", g)
	}
	// Killed before the rename was on the disk at all (a new host): nothing there, closed.
	if g := newTestKeeper(t, t.TempDir(), bootOne).current(); g.Open {
		t.Errorf("without a record: %+v", g)
	}
	// A disk that lost its content for all that: damaged is closed, and the file is kept for those who look.
	if err := os.WriteFile(filepath.Join(dir, gateFile), whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if g := newTestKeeper(t, dir, bootOne).current(); g.Open {
		t.Errorf("damaged: %+v", g)
	}
	if _, err := os.Stat(filepath.Join(dir, gateFile+".damaged")); err != nil {
		t.Error(err)
	}
}

// A running agent's word outlives a file that somebody damaged.
func TestGateFileDamagedUnderARunningAgent(t *testing.T) {
	dir := t.TempDir()
	k := newTestKeeper(t, dir, bootOne)
	if _, err := k.obey(gateOrder(t, bootOne, 1, 1, true, vmA)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, gateFile), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	k.refresh()
	g, err := readGate(dir)
	if err != nil || !g.Open || len(g.Forbidden) != 1 {
		t.Errorf("%+v, %v", g, err)
	}
}

// An order that can't be stored opens nothing; what it forbids is hunted all the same, and it is tried again.
func TestGateOnAFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	k := newTestKeeper(t, dir, bootOne)
	away := dir + ".away"
	if err := os.Rename(dir, away); err != nil { // nothing can be written where nothing is
		t.Fatal(err)
	}
	if changed, err := k.obey(gateOrder(t, bootOne, 1, 1, true, vmA)); changed || err == nil {
		t.Errorf("changed %t, %v; want an error", changed, err)
	}
	if g := k.current(); g.Open || g.Generation != 0 {
		t.Errorf("what is not on the disk counts: %+v", g)
	}
	if got := k.hunted(); len(got) != 1 || got[0] != vmA {
		t.Errorf("hunted %v, want %s", got, vmA)
	}
	k.refresh()
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	k.refresh()
	if g := k.current(); !g.Open || g.Generation != 1 {
		t.Errorf("after the disk is back: %+v", g)
	}
	// An order that is refused for what it says is not tried again.
	if _, err := k.obey(gateOrder(t, bootTwo, 1, 2, false)); err == nil || k.due != nil {
		t.Errorf("an order of another boot: %v, due %v", err, k.due)
	}
}

func fakeProc(t *testing.T, boot string) string {
	t.Helper()
	proc := t.TempDir()
	write(t, filepath.Join(proc, "sys/kernel/random/boot_id"), boot+"\n", 0o644)
	return proc
}

func write(t testing.TB, file, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

func testConfig(t *testing.T, boot string) Config {
	c := DefaultConfig()
	dir := t.TempDir()
	c.Host, c.Servers, c.Planes = "compute-01", []string{"127.0.0.1:1"}, map[string]string{"management": "127.0.0.1"}
	c.Data, c.Proc, c.NovaConf = filepath.Join(dir, "data"), fakeProc(t, boot), filepath.Join(dir, "nova.conf")
	c.LibvirtHook = filepath.Join(dir, "hooks/qemu")
	c.Identity = Identity{UUID: "11111111-0000-0000-0000-000000000001"}
	if err := os.Mkdir(c.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	return c
}

// `ninelives gate` waits for ever, says why every 30 s, and ends when a server or an operator opens.
func TestWaitGate(t *testing.T) {
	cfg := testConfig(t, bootOne)
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		done := make(chan error, 1)
		go func() { done <- WaitGate(t.Context(), cfg, &out) }()
		time.Sleep(95 * time.Second)
		synctest.Wait()
		if n := strings.Count(out.String(), "no agent runs"); n != 4 { // at 0, 30, 60 and 90 s
			t.Errorf("it said %d times that no agent runs:\n%s", n, out.String())
		}
		if !strings.Contains(out.String(), "ninelives gate --open --reason") {
			t.Errorf("it does not say how to open by hand:\n%s", out.String())
		}
		k := newTestKeeper(t, cfg.Data, bootOne)
		release, err := lockData(cfg.Data)
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		k.explain("NO SERVER CAN BE REACHED")
		time.Sleep(time.Second)
		synctest.Wait()
		if !strings.Contains(out.String(), "closed: NO SERVER CAN BE REACHED") {
			t.Errorf("it does not say what the agent says:\n%s", out.String())
		}
		if _, err := k.obey(gateOrder(t, bootOne, 1, 1, false)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		select {
		case err := <-done:
			t.Fatalf("it ended at a closed gate: %v", err)
		default:
		}
		if _, err := k.obey(gateOrder(t, bootOne, 1, 2, true)); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Errorf("an open gate: %v", err)
		}
	})
}

func TestWaitGateEndsWithItsContext(t *testing.T) {
	cfg := testConfig(t, bootOne)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := WaitGate(ctx, cfg, &strings.Builder{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestOpenByHand(t *testing.T) {
	cfg := testConfig(t, bootOne)
	if _, err := OpenByHand(cfg, "  "); err == nil || !strings.Contains(err.Error(), "reason") {
		t.Errorf("without a reason: %v", err)
	}
	k := newTestKeeper(t, cfg.Data, bootOne)
	if _, err := k.obey(gateOrder(t, bootOne, 1, 1, false, vmA)); err != nil {
		t.Fatal(err)
	}
	n, err := OpenByHand(cfg, "the cluster is being moved")
	if n != 1 || err != nil {
		t.Errorf("%d stay forbidden, %v; want 1", n, err)
	}
	k.refresh() // the agent sees it
	if g := k.current(); !g.Open || !g.ByHand || !strings.Contains(g.Reason, "the cluster is being moved") {
		t.Errorf("the agent sees %+v", g)
	}
	// A server's closing doesn't undo an operator's word; its list counts.
	if _, err := k.obey(gateOrder(t, bootOne, 1, 2, false, vmA, vmB)); err != nil {
		t.Fatal(err)
	}
	if g := k.current(); !g.Open || len(g.Forbidden) != 2 {
		t.Errorf("after a server's closing: %+v", g)
	}
}

func TestOneAgentADataDirectory(t *testing.T) {
	dir := t.TempDir()
	release, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockData(dir); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("a second agent: %v", err)
	}
	if !agentRuns(dir) {
		t.Error("it is not seen to run")
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if agentRuns(dir) {
		t.Error("it is seen to run after its end")
	}
}

func FuzzGateFile(f *testing.F) {
	good, err := json.Marshal(gateRecord{}.forBoot(bootOne).byHand("x", 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := parseGate(text)
		if err != nil {
			return
		}
		if g.refuses(bootTwo, vmA) == "" && g.Boot != bootTwo {
			t.Errorf("%q lets a VM start in another boot", text)
		}
		again, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseGate(again); err != nil || !equalGate(g, back) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
