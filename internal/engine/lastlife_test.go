package engine

import (
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// A host that an operator has fenced while it pulses lived until then, however long ago detection last told of it.
func TestFencedWhileItPulses(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	e := armed(New(Config{Server: "s", Epoch: 1}, policy.Default()))
	e.Step(now, HostSeen{Host: HostFacts{Name: "h1", Levels: []string{"bmc-h1"}, Hypervisor: "qemu"}})
	e.Step(now, Assessed{Host: "h1", Verdict: Up, Boot: "b1", LastLife: now})
	now = now.Add(time.Hour)
	e.Step(now, Asked{ID: "1", Verb: FenceHost, Host: "h1", By: "admin", Reason: "it smokes"})
	if ins := e.Incidents(); len(ins) != 1 || !ins[0].Stages.LastLife.Equal(now) {
		t.Errorf("incidents %+v; expected one, of a host that lived until %s", ins, now)
	}
}
