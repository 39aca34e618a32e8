//go:build attack

package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

const (
	settlesIn = 5 * time.Minute  // longer than request_ttl and a reboot's wait together with the hosts' boots
	staysFor  = 12 * time.Second // nothing may come after that
)

// judge waits until all is accounted for and compares with the truth.
func (a *attack) judge() {
	t, end := a.t, time.Now().Add(settlesIn)
	var since time.Time
	var open []string
	for time.Now().Before(end) {
		if open = a.open(); len(open) > 0 {
			since = time.Time{}
		} else if since.IsZero() {
			since = time.Now()
		} else if time.Since(since) > staysFor {
			break
		}
		pause(t.Context(), 500*time.Millisecond)
	}
	for _, o := range open {
		t.Errorf("not accounted for: %s", o)
	}
	truth := a.d.truth.now()
	for _, dr := range truth.doubles {
		a.mu.Lock()
		_, other := a.others[dr.VM]
		a.mu.Unlock()
		if other {
			t.Logf("somebody else evacuated it: %s", dr)
			continue
		}
		t.Errorf("TWICE: %s\n%s", dr, a.history(dr.VM))
	}
	for _, l := range truth.lost {
		t.Errorf("LOST: %+v", l)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.killed {
		t.Errorf("KILLED a living host: %s", k)
	}
	for _, k := range a.twice {
		t.Errorf("DOUBLED: %s", k)
	}
}

func (a *attack) history(id string) string {
	var text strings.Builder
	a.world(func(w *world.World) {
		for _, e := range w.History(id) {
			fmt.Fprintf(&text, "      %6.1f %s\n", e.At.Sub(a.begun).Seconds(), e.Text)
		}
	})
	return text.String()
}

// open lists what is neither well nor explained.
func (a *attack) open() (open []string) {
	ctx, cancel := context.WithTimeout(a.t.Context(), 10*time.Second)
	defer cancel()
	incidents, err := a.d.incidents(ctx)
	if err != nil {
		return []string{"the API: " + err.Error()}
	}
	status, err := a.d.api.Status(ctx)
	if err != nil {
		return []string{"the API: " + err.Error()}
	}
	now := map[string]string{}
	for _, in := range status.Incidents {
		now[in.ID] = in.Now
	}
	known := map[string]string{}   // VM → what the API says of it
	waiting := map[string]string{} // host → why its incident waits
	for _, in := range incidents {
		why := now[in.ID]
		for _, l := range in.Interlocks {
			why += "; " + l.Reason
		}
		switch in.Phase {
		case engine.PhaseClosed:
		case engine.PhaseAlert:
			waiting[in.Host] = why + " alert: " + in.Reason
		case engine.PhaseRecovered:
			waiting[in.Host] = why
			if why == "" {
				open = append(open, fmt.Sprintf("incident %s of %s is recovered, and doesn't say what it waits for", in.ID, in.Host))
			}
		default:
			if len(in.Interlocks) == 0 {
				open = append(open, fmt.Sprintf("incident %s of %s is %s: %s %s", in.ID, in.Host, in.Phase, now[in.ID], counts(in)))
			}
			waiting[in.Host] = why
		}
		for _, g := range in.Guests {
			switch g.State {
			case engine.Held, engine.Failed, engine.Skipped, engine.Unaccounted:
				if g.Reason != "" {
					known[g.VM.ID] = fmt.Sprintf("%s: %s (%s)", g.State, g.Reason, in.ID)
				}
			case engine.Recovered:
				known[g.VM.ID] = ""
			default:
				if in.Phase != engine.PhaseClosed && len(in.Interlocks) == 0 {
					open = append(open, fmt.Sprintf("%s of %s is %s: %s", g.VM.Name, in.Host, g.State, g.Reason))
				}
			}
		}
	}
	a.world(func(w *world.World) {
		for _, id := range w.VMsDown() {
			v := w.VM(id)
			if known[id] == "" && waiting[v.Host] == "" {
				h := w.Host(v.Host)
				open = append(open, fmt.Sprintf("%s on %s is down (%s %s; on=%t boot=%s frozen=%t compute=%t), and nobody says why", v.Name, v.Host,
					v.VMState, v.TaskState, h.On, h.Boot, h.Frozen, h.ComputeRuns))
			}
		}
	})
	return open
}

func counts(in api.IncidentDetail) string { return fmt.Sprint(in.Counts) }
