//go:build attack

package demo

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// Three servers, each a process; the leader is killed, or paused for three election timeouts, at the first sending off of
// a fence or at the third accepted evacuation. Nothing is doubled, nothing is lost, and the work goes on:
//
//	go test -tags attack -run AttackLeader -timeout 60m -v ./internal/sim/demo -seeds 10
func TestAttackLeader(t *testing.T) {
	var mu sync.Mutex
	gaps := map[string][]time.Duration{}
	t.Run("all", func(t *testing.T) {
		for i := range *seeds {
			seed := *firstSeed + uint64(i)
			for _, c := range []struct {
				how, when string
				nth       int
			}{{"kill", "evacuate-accepted", 3}, {"pause", "evacuate-accepted", 3}, {"kill", "bmc-order", 1}, {"pause", "bmc-order", 1}} {
				name := fmt.Sprintf("%s at %s", c.how, c.when)
				t.Run(fmt.Sprintf("%s-%s-%d", c.how, c.when, seed), func(t *testing.T) {
					t.Parallel()
					gap := attackLeader(t, seed, c.how, c.when, c.nth)
					mu.Lock()
					defer mu.Unlock()
					gaps[name] = append(gaps[name], gap)
				})
			}
		}
	})
	for name, list := range gaps {
		slices.Sort(list)
		t.Logf("leader %s: work went on after median %.1f s (%d runs, %.1f to %.1f)", name, list[len(list)/2].Seconds(), len(list), list[0].Seconds(), list[len(list)-1].Seconds())
	}
}

// attackLeader gives the time from the leader's loss until the next order or request reached the world.
func attackLeader(t *testing.T, seed uint64, how, when string, nth int) time.Duration {
	o := Options{Hosts: 6, VMs: 120, Seed: seed, Redfish: 3}
	a := &attack{t: t, doomed: map[string]string{}, mild: map[string]int{}, others: map[string]time.Time{}}
	var servers []*process
	a.d, servers = attackServers(t, o, 3)
	a.begun = time.Now()
	t.Cleanup(func() {
		if t.Failed() {
			a.mu.Lock()
			defer a.mu.Unlock()
			t.Logf("the story:\n%s", strings.Join(a.story, "\n"))
		}
	})
	st, err := a.d.api.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leader := servers[slices.IndexFunc(servers, func(p *process) bool { return p.o.Name == st.Leader })]
	lost, next := make(chan time.Time, 1), make(chan time.Time, 1)
	count := 0
	a.world(func(w *world.World) {
		var at time.Time
		w.Subscribe(func(e world.Event) { // under the world's lock: the request that is answered now finds nobody any more
			a.see(w, e)
			order := e.Kind == "evacuate-accepted" || e.Kind == "bmc-order"
			switch {
			case e.Kind == when && at.IsZero():
				if count++; count == nth {
					sig := syscall.SIGKILL
					if how == "pause" {
						sig = syscall.SIGSTOP
					}
					_ = leader.cmd.Process.Signal(sig)
					at = time.Now()
					lost <- at
				}
			case order && !at.IsZero() && time.Since(at) > 200*time.Millisecond: // what was in flight has come
				select {
				case next <- time.Now():
				default:
				}
			}
		})
	})
	host := o.names()[int(seed)%o.Hosts]
	a.doom(host, "cut")
	a.tell("** %s leads; %s is cut", leader.o.Name, host)
	a.world(func(w *world.World) { w.PowerCut(host) })
	var began, went time.Time
	for _, wait := range []struct {
		ch   chan time.Time
		at   *time.Time
		what string
	}{{lost, &began, "the moment"}, {next, &went, "the next act"}} {
		select {
		case *wait.at = <-wait.ch:
			a.tell("** %s", wait.what)
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s never came", wait.what)
		}
	}
	if how == "pause" {
		pause(t.Context(), time.Until(began.Add(6*time.Second)))
		_ = leader.cmd.Process.Signal(syscall.SIGCONT)
		a.tell("** %s goes on", leader.o.Name)
	}
	a.judge()
	if truth := a.d.truth.now(); len(truth.down) > 0 {
		t.Errorf("%d VMs are still down", len(truth.down))
	}
	return went.Sub(began)
}
