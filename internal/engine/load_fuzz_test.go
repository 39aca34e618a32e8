package engine

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// FuzzLoad gives a new leader damaged records, or such of another version: it refuses them, or it can work with what they
// say and writes them down so that they can be read again. What it must never do is to end the process.
func FuzzLoad(f *testing.F) {
	for _, r := range recordsOf(f, "power-cut.txt", "rebooted.txt", "destination-dies.txt", "takeover-lost-answer.txt") {
		f.Add("incidents/7f", []byte(r), "incidents/7f/servers/a", []byte(`{"incident":"7f","vm":{"id":"a"},"state":"resurrecting","attempts":[{"id":"1"}]}`))
	}
	incident := `{"id":"7f","host":"h1","phase":"%","verdict":"dead","planned":true,"proof":{"kind":"power-off"},"out":{"done":true}}`
	for _, p := range []string{"alert", "open", "fencing", "taking-out", "resurrecting", "in-place", "recovered", "retrying", "closed", "", "drained"} {
		f.Add("incidents/7f", []byte(strings.Replace(incident, "%", p, 1)), "incidents/7f/servers/a", []byte(`{"incident":"7f","vm":{"id":"a","host":"h1"},"state":"held"}`))
	}
	f.Add("hosts/h1", []byte(`{"host":"h2","boot":"b"}`), "switches/maintenance", []byte(`null`))
	f.Add("switches/armed", []byte(`{"armed":false}`), "switches/maintenance", []byte(`{"z":{"reason":"r"}}`))
	f.Add("incidents/7f", []byte(`{"id":"8e"}`), "incidents/7f/servers/a", []byte(`{"incident":"8e","vm":{"id":"b"},"state":"lost"}`))
	f.Fuzz(func(t *testing.T, key1 string, body1 []byte, key2 string, body2 []byte) {
		now := time.Unix(1_800_000_000, 0)
		e := New(Config{Epoch: 2, Takeover: now}, policy.Default())
		if key1 == key2 || e.Load(key1, body1) != nil || e.Load(key2, body2) != nil {
			return
		}
		kept := map[string]any{}
		step := func(ev Event) Effects {
			now = now.Add(3 * time.Second)
			eff := e.Step(now, ev)
			for _, r := range eff.Records {
				kept[r.Key] = r.Value
			}
			return eff
		}
		step(Asked{Verb: Arm, By: "op"})
		step(HostSeen{HostFacts{Name: "h1", Levels: []string{"ipmi a"}, Service: Service{ID: "s"}}})
		step(Assessed{Host: "h1", Verdict: Dead})
		step(AgentReported{Host: "h1", Report: AgentReport{Boot: "b", Guests: []string{"a"}, GuestsSeen: true, GateClosed: true}})
		for range 4 {
			for _, a := range step(Tick{}).Actions {
				step(answerTo(a))
			}
		}
		step(Assessed{Host: "h1", Verdict: Up, Boot: "c"})
		step(Tick{})
		again := New(Config{Epoch: 3, Takeover: now}, policy.Default())
		for key, value := range kept {
			if value == nil {
				continue
			}
			text, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			if err := again.Load(key, text); err != nil {
				t.Errorf("what was written can't be read: %v", err)
			}
		}
	})
}

// answerTo is a good answer to an action.
func answerTo(a Action) Event {
	vm := VM{ID: "a", Host: "h1", Status: "ACTIVE", Launched: true}
	m := Migration{UUID: "m", VM: "a", Type: "evacuation", Status: "done", Source: "h1", Dest: "h2"}
	switch a.Do {
	case Fence:
		return FenceDone{Action: a.ID, Proven: true, Device: "ipmi a", Devices: []string{"ipmi a"}, Sent: true}
	case ReadPower:
		return PowerRead{Action: a.ID, Readings: []Reading{{Device: "ipmi a", State: "off"}}}
	case ListServers:
		return Listed{Action: a.ID, VMs: []VM{vm}, Service: Service{ID: "s"}, Migrations: []Migration{m}}
	case Inspect:
		return Inspected{Action: a.ID, Evacuations: 1}
	case Track:
		return Tracked{Action: a.ID, Migrations: []Migration{m}}
	case Look:
		return Looked{Action: a.ID, Found: true, VM: vm}
	case ReadService:
		return ServiceRead{Action: a.ID, Host: a.Host, Service: Service{ID: "s", ForcedDown: true}}
	default:
		return Answered{Action: a.ID, Answer: Accepted}
	}
}

// recordsOf are the incidents that scenarios leave behind, as they are stored.
func recordsOf(f *testing.F, scenarios ...string) (out []string) {
	for _, name := range scenarios {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		s, _, err := playScript(string(text))
		if err != nil {
			f.Fatal(err)
		}
		for key, r := range s.records {
			if strings.HasPrefix(key, "incidents/") && !strings.Contains(key, "/servers/") {
				out = append(out, string(r))
			}
		}
	}
	return out
}
