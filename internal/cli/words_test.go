package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// Readers of YAML 1.1 take no for false and 02:11 for a number; strings stay strings for them too.
func TestYAMLForOldReaders(t *testing.T) {
	var out bytes.Buffer
	document := []any{"no", "Y", "on", "02:11:45", "yes, and more", "10.0.0.1:7402x", false, "db-1"}
	if err := writeYAML(&out, document); err != nil {
		t.Fatal(err)
	}
	want := "- \"no\"\n- \"Y\"\n- \"on\"\n- \"02:11:45\"\n- yes, and more\n- 10.0.0.1:7402x\n- false\n- db-1\n"
	if out.String() != want {
		t.Errorf("got:\n%swant:\n%s", out.String(), want)
	}
}

// Hosts that are held are counted apart from those being recovered, and what holds several is said once.
func TestHeldHostsAreCountedApart(t *testing.T) {
	s := api.Status{Hosts: api.HostCounts{Total: 6, Up: 2, ByVerdict: map[string]int{"up": 2, "off": 4}}}
	for i, id := range []string{"a", "b", "c", "d"} {
		in := api.IncidentSummary{ID: id, Verdict: engine.Off, Phase: engine.PhaseOpen}
		if i == 0 {
			in.Phase = engine.PhaseResurrecting
		} else {
			s.Interlocks = append(s.Interlocks, api.HeldBy{Incident: id, Interlock: engine.Interlock{Code: engine.LockStorm, Reason: "too many at once"}})
		}
		s.Incidents = append(s.Incidents, in)
	}
	p := &page{}
	if got, want := p.hostsText(s), "2 hosts up, 4 down (1 being recovered, 3 held)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.interlocks(s.Interlocks)
	if got, want := p.text.String(), "b, c, d wait: too many at once\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Before a plan counts them, the VMs are those that the host had when they were last listed.
func TestVMsBeforeThePlan(t *testing.T) {
	for want, in := range map[string]api.Incident{
		"5 VMs, not planned yet": {Incident: engine.Incident{Phase: engine.PhaseFencing}, Unplanned: 5},
		"1 VM, left alone":       {Incident: engine.Incident{Phase: engine.PhaseAlert}, Unplanned: 1},
		"no VMs":                 {Incident: engine.Incident{Phase: engine.PhaseFencing}},
	} {
		if got := countsText(in); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if !strings.Contains(shownIncident(t), "not planned yet") {
		t.Error("incident show doesn't say so")
	}
}

func shownIncident(t *testing.T) string {
	t.Helper()
	p := &page{}
	p.incident(api.IncidentDetail{Incident: api.Incident{Incident: engine.Incident{ID: "7f3a", Host: "h", Phase: engine.PhaseFencing}, Unplanned: 5, Mode: "NL-101"}})
	return p.text.String()
}
