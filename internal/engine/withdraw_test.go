package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// A fence that was decided waits for a slow BMC's login when the operator disarms, when its host pulses again, or when its
// incident ends: the shell is told not to send it.
func TestWithdrawn(t *testing.T) {
	for _, tc := range []struct {
		name string
		ev   Event
		why  string
	}{
		{"disarmed", Asked{ID: "1", Verb: Disarm, By: "admin", Reason: "works"}, "disarmed by admin: works"},
		{"maintenance", Asked{ID: "1", Verb: MaintenanceOn, Host: "h1", By: "admin", Reason: "disks"}, "h1 is in maintenance"},
		{"alive again", Assessed{Host: "h1", Verdict: Up, Boot: "b1", Reason: "pulses"}, "does not stand"},
		{"closed", Assessed{Host: "h2", Verdict: Up, Boot: "b1", Reason: "pulses"}, "is closed"},
		{"nothing", Tick{}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			e := armed(New(Config{Server: "s", Epoch: 1}, policy.Default()))
			fence := ""
			step := func(ev Event) Effects {
				now = now.Add(200 * time.Millisecond)
				eff := e.Step(now, ev)
				for _, a := range eff.Actions {
					if a.Do == Fence {
						fence = a.ID
					}
				}
				return eff
			}
			for _, h := range []string{"h1", "h2", "h3"} {
				step(HostSeen{Host: HostFacts{Name: h, Levels: []string{"bmc-" + h}, Hypervisor: "qemu"}})
				step(Assessed{Host: h, Verdict: Up, Boot: "b1", Reason: "pulses"})
			}
			step(Assessed{Host: "h1", Verdict: Off, Boot: "b1", Reason: "read off"})
			if fence == "" {
				t.Fatal("no fence was begun")
			}
			if tc.name == "closed" {
				e.closeIncident(e.incidentOf("h1"), "a test")
			}
			got := step(tc.ev).Withdrawn
			switch {
			case tc.why == "" && len(got) > 0:
				t.Errorf("withdrawn: %+v; expected nothing", got)
			case tc.why != "" && (len(got) != 1 || got[0].Action != fence || !strings.Contains(got[0].Why, tc.why)):
				t.Errorf("withdrawn: %+v; expected fence %s since %q", got, fence, tc.why)
			}
			if again := step(Tick{}).Withdrawn; len(again) > 0 {
				t.Errorf("said twice: %+v", again)
			}
		})
	}
}
