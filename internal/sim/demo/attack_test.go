//go:build attack

package demo

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// Random fault schedules on the whole product. Not part of the ordinary tests: a schedule takes some minutes.
//
//	go test -tags attack -run Attack -timeout 60m ./internal/sim/demo -seeds 20
var (
	seeds     = flag.Int("seeds", 4, "how many random schedules")
	firstSeed = flag.Uint64("seed", 1, "the first one's seed")
)

func TestAttack(t *testing.T) {
	for i := range *seeds {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprintf("seed-%d", seed), func(t *testing.T) {
			t.Parallel()
			a := newAttack(t, seed)
			a.play()
			a.heal()
			a.judge()
		})
	}
}

// attack is one schedule.
type attack struct {
	t       *testing.T
	d       *Demo
	p       *process
	r       *rand.Rand
	begun   time.Time
	victims []string // the hosts that faults come to

	mu     sync.Mutex
	story  []string
	doomed map[string]string // hosts that may be fenced, and why
	mild   map[string]int    // faults that alone are no reason to fence
	killed []string          // living hosts that were ordered off
	twice  []string          // evacuations that were asked twice
	others map[string]time.Time
	down   bool // the server's process is ended
}

func newAttack(t *testing.T, seed uint64) *attack {
	r := rand.New(rand.NewPCG(seed, 0xa77ac4))
	o := Options{Hosts: 6 + r.IntN(7), VMs: 30 + r.IntN(31), Seed: seed, Redfish: r.IntN(4)}
	a := &attack{t: t, r: r, doomed: map[string]string{}, mild: map[string]int{}, others: map[string]time.Time{}}
	a.d, a.p = attackStart(t, o)
	a.begun = time.Now()
	names := o.names()
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	a.victims = names[:1+r.IntN(3)]
	a.d.cloud.World(func(w *world.World) { w.Subscribe(func(e world.Event) { a.see(w, e) }) })
	t.Cleanup(func() {
		if t.Failed() || testing.Verbose() {
			a.mu.Lock()
			defer a.mu.Unlock()
			t.Logf("seed %d, %d hosts, %d VMs; the story:\n%s", seed, o.Hosts, o.VMs, strings.Join(a.story, "\n"))
		}
	})
	return a
}

func (a *attack) tell(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.note(format, args...)
}

func (a *attack) note(format string, args ...any) {
	a.story = append(a.story, fmt.Sprintf("%6.1f %s", time.Since(a.begun).Seconds(), fmt.Sprintf(format, args...)))
}

// see watches what happens in truth; it is called under the world's lock.
func (a *attack) see(w *world.World, e world.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch e.Kind {
	case "api-faults", "guests-denied", "copy-end", "cast-run", "cast-queued":
		return
	case "bmc-order":
		if strings.HasPrefix(e.Text, "on=false") && a.doomed[e.Host] == "" && a.mild[e.Host] < 2 {
			a.killed = append(a.killed, e.Host+": "+e.Text)
		}
	case "evacuate-accepted":
		page, _, _ := w.Migrations(world.MigrationQuery{VM: e.VM, Type: "evacuation"})
		for _, m := range page[1:] {
			if _, o := a.others[e.VM]; !o && m.Open() && (m.Dest == "" || w.Host(m.Dest).ComputeRuns) {
				a.twice = append(a.twice, fmt.Sprintf("%s: %s while migration %d to %q is %s", e.VM, e.Text, m.ID, m.Dest, m.Status))
			}
		}
	}
	name := e.VM
	if v := w.VM(e.VM); v != nil {
		name = v.Name
	}
	a.note("    %s %s %s %s", e.Kind, e.Host, name, e.Text)
}

func (a *attack) doom(host, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.doomed[host] = why
}

func (a *attack) hurt(host string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mild[host]++
}

func (a *attack) world(f func(*world.World)) { a.d.cloud.World(f) }

func (a *attack) later(d time.Duration, what string, f func(*world.World)) {
	a.world(func(w *world.World) { w.After(d, func() { f(w) }) })
	a.tell("  in %s: %s", d, what)
}

// do is one call to the API by an operator.
func (a *attack) do(what string, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(a.t.Context(), 5*time.Second)
	defer cancel()
	err := f(ctx)
	a.tell("operator: %s: %v", what, err)
}

func (a *attack) play() {
	pause(a.t.Context(), a.span(0, 25*time.Second))
	moves[0].do(a, a.victims[0]) // a power cut, so that the rest comes into a recovery
	pause(a.t.Context(), a.span(0, 6*time.Second))
	for range 5 + a.r.IntN(10) {
		weight := 0
		for _, m := range moves {
			weight += m.weight
		}
		at := a.r.IntN(weight)
		for _, m := range moves {
			if at -= m.weight; at < 0 {
				host := a.victims[a.r.IntN(len(a.victims))]
				a.tell("** %s %s", m.name, host)
				m.do(a, host)
				break
			}
		}
		pause(a.t.Context(), a.span(0, 4*time.Second))
	}
}

func (a *attack) span(from, to time.Duration) time.Duration {
	return from + time.Duration(a.r.Int64N(int64(to-from)))
}

// heal takes away the faults that would keep anything from ending, most of the time.
func (a *attack) heal() {
	pause(a.t.Context(), a.span(5*time.Second, 25*time.Second))
	a.tell("** heal")
	a.world(func(w *world.World) {
		w.SetAPIFaults(func(f *world.APIFaults) { *f = world.APIFaults{} })
		for _, n := range w.HostNames() {
			h := w.Host(n)
			for _, p := range world.Planes() {
				if h.IsCut(p) {
					w.HealPlane(n, p)
				}
			}
			if h.AgentKilled {
				w.StartAgent(n)
			}
			if h.Frozen && a.r.IntN(2) == 0 {
				w.Thaw(n)
			}
			if a.r.IntN(3) > 0 {
				w.SetBMC(n, func(b *world.BMC) { *b = world.BMC{Driver: b.Driver, User: b.User, Password: b.Password, Machine: n} })
			}
		}
	})
	a.p.signal(syscall.SIGCONT)
	if a.down {
		if err := a.p.start(); err != nil {
			a.t.Fatal(err)
		}
		a.down = false
	}
	for {
		if err := a.d.api.Ready(a.t.Context()); err == nil {
			break
		} else if a.t.Context().Err() != nil || len(a.p.ended) > 0 {
			a.t.Fatalf("the server does not come back: %v", err)
		}
		pause(a.t.Context(), 200*time.Millisecond)
	}
	for _, v := range a.victims {
		a.do("maintenance off "+v, func(ctx context.Context) error {
			_, err := a.d.api.HostMaintenance(ctx, v, false, "attack")
			return err
		})
	}
	a.do("arm", func(ctx context.Context) error { return a.rearm(ctx) })
}

// target is some other host.
func (a *attack) other(host string) string {
	names := slices.DeleteFunc(a.d.o.names(), func(n string) bool { return n == host })
	return names[a.r.IntN(len(names))]
}
