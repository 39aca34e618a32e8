package engine

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// crash says at which step that writes records the leader ends, and how far it comes in that step.
type crash struct {
	at    int // 0: never
	seen  int
	how   string
	wrote string // what it was about to write, for people
}

// How far a leader comes in its last step.
const (
	crashHalf = "half of its records" // and none of its acts
	crashLost = "all records, no act"
	crashDone = "all records and acts, no answer"
)

// crashes ends the leader in this step, if it is its last one, and has another one take over.
func (s *script) crashes(eff *Effects) bool {
	if s.crash == nil || len(eff.Records) == 0 {
		return false
	}
	if s.crash.seen++; s.crash.seen != s.crash.at {
		return false
	}
	for _, r := range eff.Records {
		s.crash.wrote += r.Key + " "
	}
	records := eff.Records
	if s.crash.how == crashHalf {
		records = records[:len(records)/2]
	}
	s.record(records)
	if s.crash.how == crashDone {
		for _, a := range eff.Actions {
			if a.Do.Dangerous() {
				s.w.write(a)
			}
		}
	}
	if err := s.takeover(); err != nil {
		panic(err)
	}
	return true
}

// The failures of h1 that are lived through.
var failures = map[string][]string{
	"off":     {"0.1s dies h1", `1.0s verdict h1 off "read off"`},
	"reboots": {"0.1s dies h1", "1.0s boots h1"},
}

// recovery drives a host's failure from its beginning to its readmission, and returns how it ended.
func recovery(failure string, c *crash) (ended map[string]string, log []string) {
	s := &script{
		records: map[string][]byte{}, gates: map[string]string{}, cfg: Config{Epoch: 1, User: "ninelives"}, policy: policy.Default(), w: newWorld(epochStart),
	}
	s.e = armed(New(s.cfg, s.policy))
	for _, line := range append([]string{
		"cloud hosts=3 vms=db-1@h1,web-1@h1,rests@h1(status=PAUSED;power=paused),sleeps@h1(status=SUSPENDED),off@h1(status=SHUTOFF),other@h2",
	}, failures[failure]...) {
		if err := s.line(line); err != nil {
			panic(err)
		}
		s.crash = c
	}
	h1, told, epoch, silent := s.w.machines["h1"], "", s.cfg.Epoch, time.Duration(0)
	for s.now < 20*time.Minute && (len(s.e.incidents) == 0 || len(s.e.open) > 0) {
		s.wait(s.now + time.Second)
		if s.cfg.Epoch != epoch {
			epoch, told, silent = s.cfg.Epoch, "", s.now
		}
		switch {
		case h1.on && told != h1.bootID():
			told = h1.bootID()
			s.assess("up", []string{"h1"}, h1, "pulses")
		case !h1.on && told == "" && epoch > 1 && s.now-silent > 3*time.Second:
			told = "off"
			s.assess("verdict", []string{"h1", "off"}, h1, "read off")
		}
	}
	s.wait(s.now + 5*time.Second) // the gate's last order
	return s.standing(), s.out
}

// standing says how the world stands, by the truth, and by the records.
func (s *script) standing() map[string]string {
	out := map[string]string{"S1": strings.Join(s.w.twice, "; ")}
	for id, v := range s.w.vms {
		runs := 0
		for _, m := range s.w.machines {
			if m.guests[id] {
				runs++
			}
		}
		out["vm "+id] = fmt.Sprintf("%s, runs %d times", v.Status, runs)
	}
	for _, m := range s.w.machines {
		out["host "+m.name] = fmt.Sprintf("on=%v gate=%v forbidden=%v forced=%v disabled=%v", m.on, m.gate, m.forbidden, m.service.ForcedDown, m.service.Disabled)
	}
	for _, in := range s.e.incidents {
		out["incident "+in.Host] = string(in.Phase)
		for _, r := range s.e.recoveries(in) {
			out["recovery "+r.VM.ID] = string(r.State)
		}
	}
	return out
}

// TestTakeoverAtEveryRecord ends the leader at each step of a recovery that writes records, in three ways. Whoever takes
// over ends where an undisturbed leader does (promise S5).
func TestTakeoverAtEveryRecord(t *testing.T) {
	for _, failure := range slices.Sorted(maps.Keys(failures)) {
		t.Run(failure, func(t *testing.T) {
			undisturbed := &crash{}
			want, _ := recovery(failure, undisturbed)
			if want["incident h1"] != string(PhaseClosed) || want["recovery db-1"] != string(Recovered) {
				t.Fatalf("undisturbed: %v", want)
			}
			for at := 1; at <= undisturbed.seen; at++ {
				for _, how := range []string{crashHalf, crashLost, crashDone} {
					c := &crash{at: at, how: how}
					got, log := recovery(failure, c)
					if d := gocmp.Diff(want, got); d != "" {
						t.Fatalf("the leader ended at step %d of %d, %s (%s) (- undisturbed, + came):\n%s\n%s", at, undisturbed.seen, how, c.wrote, d, strings.Join(log, "\n"))
					}
				}
			}
			t.Logf("%d steps that wrote records", undisturbed.seen)
		})
	}
}
