//go:build attack

package demo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// Three servers, each a process; the leader is killed, or paused for three election timeouts, or cut off from the
// operator's etcd for two leases, at the first sending off of a fence or at the third accepted evacuation. Nothing is
// doubled, nothing is lost, and the work goes on:
//
//	go test -tags attack -run AttackLeader -timeout 60m -v ./internal/sim/demo -seeds 10
func TestAttackLeader(t *testing.T) {
	var mu sync.Mutex
	gaps := map[string][]time.Duration{}
	t.Run("all", func(t *testing.T) {
		for i := range *seeds {
			for _, s := range []strike{
				{how: "kill", when: "evacuate-accepted", nth: 3}, {how: "pause", when: "evacuate-accepted", nth: 3},
				{how: "kill", when: "bmc-order", nth: 1}, {how: "pause", when: "bmc-order", nth: 1},
				{how: "kill", when: "evacuate-accepted", nth: 3, etcd: true}, {how: "cut", when: "evacuate-accepted", nth: 3, etcd: true},
				{how: "pause", when: "evacuate-accepted", nth: 3, etcd: true},
				{how: "kill", when: "bmc-order", nth: 1, etcd: true}, {how: "cut", when: "bmc-order", nth: 1, etcd: true},
			} {
				s.seed = *firstSeed + uint64(i)
				t.Run(fmt.Sprintf("%s-%d", strings.ReplaceAll(s.String(), " ", "-"), s.seed), func(t *testing.T) {
					t.Parallel()
					gap := attackLeader(t, s)
					mu.Lock()
					defer mu.Unlock()
					gaps[s.String()] = append(gaps[s.String()], gap)
				})
			}
		}
	})
	for _, name := range slices.Sorted(maps.Keys(gaps)) {
		list := gaps[name]
		slices.Sort(list)
		t.Logf("leader lost: %s: work went on after median %.1f s (%d runs, %.1f to %.1f)", name, list[len(list)/2].Seconds(), len(list), list[0].Seconds(), list[len(list)-1].Seconds())
	}
}

// strike says what happens to the leader, and when.
type strike struct {
	how, when string
	nth       int
	etcd      bool // an etcd of the operator's own
	seed      uint64
}

func (s strike) String() string {
	text := s.how + " at " + s.when
	if s.etcd {
		text += " on etcd apart"
	}
	return text
}

// hit does it.
func (s strike) hit(leader *process) {
	switch s.how {
	case "kill":
		_ = leader.cmd.Process.Signal(syscall.SIGKILL)
	case "pause":
		_ = leader.cmd.Process.Signal(syscall.SIGSTOP)
	case "cut":
		leader.line.Cut()
	}
}

// flight is how long after its loss something may still come from the leader.
func (s strike) flight() time.Duration {
	if s.how == "cut" {
		return 1200 * time.Millisecond // a permit, and the way
	}
	return 200 * time.Millisecond
}

// undo ends what ends by itself; false: nothing does.
func (s strike) undo(leader *process) bool {
	switch s.how {
	case "pause":
		_ = leader.cmd.Process.Signal(syscall.SIGCONT)
	case "cut":
		leader.line.Mend()
	}
	return s.how != "kill"
}

// attackLeader gives the time from the leader's loss until the next order or request reached the world.
func attackLeader(t *testing.T, s strike) time.Duration {
	o := Options{Hosts: 6, VMs: 120, Seed: s.seed, Redfish: 3}
	a := &attack{t: t, doomed: map[string]string{}, mild: map[string]int{}, others: map[string]time.Time{}}
	all := attackServers(t, o, cast{servers: 3, apart: s.etcd})
	servers := all.servers
	a.d = all.d
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
			case e.Kind == s.when && at.IsZero():
				if count++; count == s.nth {
					s.hit(leader)
					at = time.Now()
					lost <- at
				}
			case order && !at.IsZero() && time.Since(at) > s.flight(): // what was in flight has come
				select {
				case next <- time.Now():
				default:
				}
			}
		})
	})
	host := o.names()[int(s.seed)%o.Hosts]
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
	pause(t.Context(), time.Until(began.Add(8*time.Second)))
	if s.undo(leader) {
		a.tell("** %s goes on", leader.o.Name)
	}
	a.judge()
	if truth := a.d.truth.now(); len(truth.down) > 0 {
		t.Errorf("%d VMs are still down", len(truth.down))
	}
	return went.Sub(began)
}
