package server

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
)

const twoHosts = `hosts:
  h1:
    levels:
      - - {driver: ipmi, address: b1, username: op, password_env: X}
  h2:
    levels:
      - - {driver: ipmi, address: b2, username: op, password_env: X}
`

// fenced is a server that leads, with two hosts and a controller each.
func fenced(t *testing.T) (*Server, *plugs) {
	t.Helper()
	w := newPlugs()
	w.world["b1"], w.world["b2"] = id(1), id(2)
	s := led(t, &quietCloud{}, Options{Drivers: w.drivers()})
	s.list("h1", "h2")
	s.knows("h1", id(1), nil)
	s.knows("h2", id(2), nil)
	if err := s.fencing.importDevices(t.Context(), devicesFile(t, twoHosts)); err != nil {
		t.Fatal(err)
	}
	return s, w
}

func (s *Server) state(host string) DeviceState {
	if all := s.fencing.statesOf(host); len(all) > 0 {
		return all[0]
	}
	return DeviceState{}
}

// A device counts while it shows the identity of its host's machine. When it shows another one's, it neither proves nor
// fences, whatever bound it; back at its machine it counts again.
func TestADeviceThatChangesItsMachine(t *testing.T) {
	t.Parallel()
	s, w := fenced(t)
	if st := s.state("h1"); !st.Bound || !st.Working {
		t.Fatalf("a device with its host's identity: %+v", st)
	}
	for _, c := range []struct {
		what  string
		shows fence.Identity
		bound bool
		why   string
	}{
		{"another, unknown machine's", id(7), false, "the host's agent"},
		{"its own again", id(1), true, "its identity is the host's"},
		{"none for a while", fence.Identity{}, true, "was the host's when it was last read"},
	} {
		w.at("b1").shows(c.shows)
		s.fencing.check(t.Context(), "h1")
		if st := s.state("h1"); st.Bound != c.bound || !strings.Contains(st.Why, c.why) {
			t.Errorf("it shows %s: %+v", c.what, st)
		}
		if got := len(s.fencing.levels("h1")) > 0; got != c.bound {
			t.Errorf("it shows %s: usable %v", c.what, got)
		}
	}
	// Right before it is used it is asked once more: cables are swapped without a word.
	w.at("b1").shows(id(7))
	ev := s.fencing.fence(t.Context(), engine.Action{ID: "1", Host: "h1"}, func() error { return nil }).(engine.FenceDone)
	if _, sent, _, _ := w.at("b1").is(); sent != 0 || ev.Sent || !strings.Contains(ev.Err, "another machine") {
		t.Errorf("a fence by a device of another machine: %+v, sent %d", ev, sent)
	}
}

// What was bound by hand stays the operator's word, but not when the device later says that it is another machine's.
func TestBoundByHand(t *testing.T) {
	t.Parallel()
	s, w := fenced(t)
	w.at("b1").shows(id(7))
	s.fencing.check(t.Context(), "h1")
	if err := s.fencing.bindByHand(t.Context(), "h1", "ana", ""); err == nil {
		t.Error("bound without a reason")
	}
	if err := s.fencing.bindByHand(t.Context(), "h1", "ana", "new board"); err != nil {
		t.Fatal(err)
	}
	s.fencing.check(t.Context(), "h1")
	if st := s.state("h1"); !st.Bound || !strings.Contains(st.Why, "new board") {
		t.Errorf("bound by hand: %+v", st)
	}
	w.at("b1").shows(id(8))
	s.fencing.check(t.Context(), "h1")
	if st := s.state("h1"); st.Bound || !strings.Contains(st.Why, "bound anew") {
		t.Errorf("it shows a third identity: %+v", st)
	}
}

// An import takes effect at once, but devices in use are closed only by their last user.
func TestImportReplacesDevicesInUse(t *testing.T) {
	t.Parallel()
	s, w := fenced(t)
	old := w.at("b1")
	m, release := s.fencing.hold("h1")
	alsoRelease := s.fencing.share(m)
	moved := strings.Replace(twoHosts, "b1", "b9", 1)
	w.world["b9"] = id(1)
	if err := s.fencing.importDevices(t.Context(), devicesFile(t, moved)); err != nil {
		t.Fatal(err)
	}
	if st := s.state("h1"); !strings.Contains(st.Device, "b9") || !st.Bound {
		t.Errorf("after the import: %+v", st)
	}
	if s.fencing.counts(m, old.ID()) {
		t.Error("a reading of the replaced device would count")
	}
	release()
	if _, _, closed, _ := old.is(); closed {
		t.Error("closed while somebody uses it")
	}
	alsoRelease()
	if _, _, closed, misuse := old.is(); !closed || misuse != nil {
		t.Errorf("after its last user: closed %v, %v", closed, misuse)
	}
	// The same device for two hosts is a mistake that would kill the wrong one: nothing is changed.
	if err := s.fencing.importDevices(t.Context(), devicesFile(t, strings.ReplaceAll(twoHosts, "b1", "b2"))); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("one device for two hosts: %v", err)
	}
	if st := s.state("h1"); !strings.Contains(st.Device, "b9") {
		t.Errorf("a refused import changed %+v", st)
	}
}

// The gauges say how things stand, with a row for what there is none of.
func TestGauges(t *testing.T) {
	t.Parallel()
	s, _ := fenced(t)
	waitFor(t, "the leader has looked at the servers", func() bool { return s.reign.Load().roster.Load() != nil })
	rows := gauges(t, s)
	for name, want := range map[string]float64{
		"ninelives_leader": 1, "ninelives_armed": 0, "ninelives_fence_devices yes": 2, "ninelives_fence_devices no": 0,
		"ninelives_incidents_open resurrecting": 0, "ninelives_recoveries held": 0, "ninelives_hosts dead": 0, "ninelives_agents_connected": 0,
		"ninelives_quorum": 1, "ninelives_servers healthy": 1, "ninelives_servers lost": 0, "ninelives_servers learner": 0,
	} {
		if got, there := rows[name]; !there || got != want {
			t.Errorf("%s is %v (there: %v), want %v", name, got, there, want)
		}
	}
	if len(verdicts()) != 11 || len(openPhases()) != 8 || len(recoveryStates()) != 9 {
		t.Error("not every verdict, phase and state has its row")
	}
}

// gauges are a server's, by name and labels.
func gauges(t *testing.T, s *Server) map[string]float64 {
	t.Helper()
	families, err := s.o.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			if m.GetGauge() != nil {
				rows[name] = m.GetGauge().GetValue()
			}
		}
	}
	return rows
}

func TestEverySentenceIsCounted(t *testing.T) {
	n := 0
	tr := newTrail(discard(), func(engine.Note) { n++ })
	for range 3 {
		tr.note(engine.Note{Text: "x"})
	}
	if n != 3 {
		t.Errorf("%d of 3", n)
	}
}

// What the operators' page says of metrics is there.
func TestMetricsOfThePage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := newMetrics(&Server{}, prometheus.NewRegistry())
	names := regexp.MustCompile(`ninelives_([a-z_]+)`).FindAllStringSubmatch(string(page), -1)
	for _, name := range names {
		if m.gauges[name[1]] == nil {
			t.Errorf("there is no gauge %s", name[0])
		}
	}
	if len(names) < 5 {
		t.Errorf("the page names %d gauges", len(names))
	}
}
