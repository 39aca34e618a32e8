package demo

import (
	"strings"
	"sync"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// One line of keys strikes all hosts that it names, and none when it holds a mistake.
func TestKeys(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var said strings.Builder
	d, err := Start(t.Context(), Options{Hosts: 4, VMs: 4, Seed: 1, Tell: func(line string) {
		mu.Lock()
		defer mu.Unlock()
		said.WriteString(line + "\n")
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range []struct{ line, struck, says string }{
		{"", "", ""},
		{"x", "", `"x" is not understood.`},
		{"n 30s", "", `"n 30s" is not understood.`},
		{"q host-01", "", "is not understood."},
		{"b host-01 host-99", "", `There is no host "host-99"; there are host-01, `},
		{"b host-01 host-02 host-01", "host-01 host-02", "host-02's BMC is dead."},
		{"B", "host-01 host-02 host-03", "host-03's BMC is dead."},
		{"c host-04", "host-01 host-02 host-03 host-04", "host-04 loses the management network."},
		{"b", "host-01 host-02 host-03 host-04", "No healthy host that runs VMs is left"},
	} {
		mu.Lock()
		said.Reset()
		mu.Unlock()
		if !d.obey(t.Context(), c.line) {
			t.Errorf("%q ended the demo", c.line)
		}
		var struck []string
		d.cloud.World(func(w *world.World) {
			for _, n := range w.HostNames() {
				if h := w.Host(n); h.BMC.Dead || h.IsCut(world.Management) {
					struck = append(struck, n)
				}
			}
		})
		mu.Lock()
		if got := strings.Join(struck, " "); got != c.struck || !strings.Contains(said.String(), c.says) {
			t.Errorf("%q struck %q and said %q; want %q and %q", c.line, got, said.String(), c.struck, c.says)
		}
		mu.Unlock()
	}
	if d.obey(t.Context(), "q") {
		t.Error("q does not end the demo")
	}
}
