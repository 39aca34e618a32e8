package engine

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

var stamp = regexp.MustCompile(`"2026-[0-9TZ:.-]+"`)

// The times on record are another machine's, or were written before the clock was set by an hour. An unanswered request
// is not repeated before it can't arrive any more, by the clock of the leader that counts, and nothing waits for an hour.
func TestATakeoverByAnotherClock(t *testing.T) {
	for name, jump := range map[string]time.Duration{"an hour ahead": time.Hour, "an hour behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			s, _, err := playScript("cloud hosts=3 vms=db-1@h1\n0.0s answer evacuate unanswered\n0.1s dies h1\n1.0s verdict h1 off \"read off\"\n4.0s show\n")
			if err != nil {
				t.Fatal(err)
			}
			for key, text := range s.records {
				s.records[key] = stamp.ReplaceAllFunc(text, func(old []byte) []byte {
					at, err := time.Parse(`"`+time.RFC3339Nano+`"`, string(old))
					if err != nil {
						t.Fatal(err)
					}
					return []byte(at.Add(-jump).Format(`"` + time.RFC3339Nano + `"`)) // what a clock that is ahead by jump finds
				})
			}
			s.out = nil
			if err := s.takeover(); err != nil {
				t.Fatal(err)
			}
			for _, line := range []string{"4.1s verdict h1 off \"read off\"", "30.0s answer evacuate", "90.0s show"} {
				if err := s.line(line); err != nil {
					t.Fatal(err)
				}
			}
			if said := strings.Join(s.out, "\n"); strings.Contains(said, "do   evacuate db-1") {
				t.Errorf("repeated while the first request may still arrive:\n%s", said)
			}
			s.wait(150 * time.Second)
			if said := strings.Join(s.out, "\n"); !strings.Contains(said, "say  db-1: recovered") || !strings.Contains(said, "do   power-on h1") {
				t.Errorf("it doesn't go on:\n%s", said)
			}
			if len(s.w.twice) > 0 {
				t.Errorf("S1: %v", s.w.twice)
			}
		})
	}
}
