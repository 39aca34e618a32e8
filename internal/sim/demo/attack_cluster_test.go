//go:build attack

package demo

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

var attackFor = flag.Duration("for", 5*time.Minute, "how long TestAttackCluster goes on")

// leakMost is how many more open files or goroutines a server may have after an attack than before: idle connections,
// and the links of agents that went to another server.
const leakMost = 60

// siege is an attack on three servers and their network while hosts die.
type siege struct {
	*attack
	x    *playing
	gone map[string]bool // servers that are killed or stand still
}

// TestAttackCluster: for some minutes servers are killed, stopped, paused and cut off from each other at random, up to
// two of three at once, while hosts lose their power or freeze. In the end every VM runs once, every incident is
// closed or says why not, no living host was fenced, and the servers hold no more files and goroutines than before:
//
//	go test -tags attack -run AttackCluster -timeout 60m -v ./internal/sim/demo -seeds 2 -for 10m
func TestAttackCluster(t *testing.T) {
	for i := range *seeds {
		for _, apart := range []bool{false, true} {
			seed := *firstSeed + uint64(i)
			t.Run(fmt.Sprintf("seed-%d-apart-%t", seed, apart), func(t *testing.T) { besiege(t, seed, apart) })
		}
	}
}

func besiege(t *testing.T, seed uint64, apart bool) {
	o := Options{Hosts: 8, VMs: 48, Seed: seed, Redfish: 3}
	x := attackServers(t, o, cast{servers: 3, apart: apart, cuttable: !apart})
	s := &siege{x: x, gone: map[string]bool{}, attack: &attack{
		t: t, d: x.d, r: rand.New(rand.NewPCG(seed, 0x51e6e)), begun: time.Now(), doomed: map[string]string{}, mild: map[string]int{}, others: map[string]time.Time{},
	}}
	t.Cleanup(func() {
		if t.Failed() || testing.Verbose() {
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Logf("seed %d; the story:\n%s", seed, strings.Join(s.story, "\n"))
		}
	})
	s.world(func(w *world.World) { w.Subscribe(func(e world.Event) { s.see(w, e) }) })
	before := s.sizes()
	for end := time.Now().Add(*attackFor); time.Now().Before(end); pause(t.Context(), s.span(time.Second, 8*time.Second)) {
		if s.r.IntN(3) == 0 {
			s.host()
		} else {
			s.server()
		}
	}
	s.mend()
	s.judge()
	s.closes()
	after := s.sizes()
	t.Logf("open files and goroutines before %v, after %v", before, after)
	for name, was := range before {
		if now := after[name]; now[0] > was[0]+leakMost || now[1] > was[1]+leakMost {
			t.Errorf("%s had %d open files and %d goroutines before, and has %d and %d", name, was[0], was[1], now[0], now[1])
		}
	}
}

// host does something to a host; at most two are hurt at once, or the storm interlock holds.
func (s *siege) host() {
	host := s.d.o.names()[s.r.IntN(s.d.o.Hosts)]
	hurt := 0
	s.world(func(w *world.World) {
		for _, n := range w.HostNames() {
			if h := w.Host(n); !h.On || h.Frozen || !h.ComputeRuns {
				hurt++
			}
		}
	})
	switch n := s.r.IntN(4); {
	case hurt >= 2:
	case n < 2:
		s.doom(host, "cut")
		s.tell("** %s is cut", host)
		s.world(func(w *world.World) { w.PowerCut(host) })
	case n == 2:
		s.doom(host, "frozen")
		s.tell("** %s freezes", host)
		s.world(func(w *world.World) { w.Freeze(host) })
	default:
		s.hurt(host)
		s.tell("** %s freezes for 4 s", host)
		s.world(func(w *world.World) { w.Freeze(host) })
		s.later(4*time.Second, "thaw", func(w *world.World) { w.Thaw(host) })
	}
}

// server does something to a server, or to the network between them.
func (s *siege) server() {
	p := s.x.servers[s.r.IntN(len(s.x.servers))]
	name := p.o.Name
	if s.gone[name] || len(s.gone) == 2 {
		s.back()
		return
	}
	switch s.r.IntN(6) {
	case 0, 1:
		s.tell("** %s is killed", name)
		p.signal(syscall.SIGKILL)
		s.gone[name] = true
	case 2:
		s.tell("** %s is stopped", name)
		p.signal(syscall.SIGTERM)
		s.gone[name] = true
	case 3:
		s.tell("** %s stands still", name)
		p.signal(syscall.SIGSTOP)
		s.gone[name] = false
	case 4:
		s.tell("** %s is cut off", name)
		if s.x.net == nil {
			p.line.Cut()
		} else {
			s.x.net.isolate(name)
		}
	default:
		s.tell("** what is cut is mended")
		s.whole()
	}
}

// whole mends the network.
func (s *siege) whole() {
	if s.x.net != nil {
		s.x.net.heal()
		return
	}
	for _, p := range s.x.servers {
		p.line.Mend()
	}
}

// back lets all servers that are gone come back.
func (s *siege) back() {
	for _, p := range s.x.servers {
		killed, ok := s.gone[p.o.Name]
		switch {
		case !ok:
			continue
		case !killed:
			p.signal(syscall.SIGCONT)
		default:
			if err := p.start(); err != nil {
				s.t.Fatal(err)
			}
		}
		s.tell("** %s is back", p.o.Name)
	}
	clear(s.gone)
}

func (s *siege) mend() {
	s.tell("** all is mended")
	s.whole()
	s.back()
	s.world(func(w *world.World) {
		for _, n := range w.HostNames() {
			if w.Host(n).AgentKilled {
				w.StartAgent(n)
			}
		}
	})
	s.x.until(s.t, "a server leads", func() string {
		for _, p := range s.x.servers {
			if len(p.ended) > 0 {
				s.t.Fatalf("%s ended by itself", p.o.Name)
			}
		}
		if err := s.d.api.Ready(s.t.Context()); err != nil {
			return err.Error()
		}
		return ""
	})
}

// closes waits until no incident is open: all that was cut has come back by itself.
func (s *siege) closes() {
	for end := time.Now().Add(3 * time.Minute); ; pause(s.t.Context(), time.Second) {
		open := ""
		st, err := s.d.api.Status(s.t.Context())
		if err != nil {
			open = err.Error()
		}
		for _, in := range st.Incidents {
			open += fmt.Sprintf("\n%s of %s: %s, %s %s", in.ID, in.Host, in.Phase, in.Now, in.Text)
		}
		if open == "" || s.t.Context().Err() != nil {
			return
		}
		if time.Now().After(end) {
			s.t.Errorf("still open: %s", open)
			return
		}
	}
}

// sizes are the open files and goroutines of each server.
func (s *siege) sizes() map[string][2]int {
	pause(s.t.Context(), 15*time.Second) // idle connections end
	out := map[string][2]int{}
	for _, p := range s.x.servers {
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
		if err != nil {
			s.t.Error(err)
		}
		out[p.o.Name] = [2]int{len(files), s.goroutines(p)}
	}
	return out
}

func (s *siege) goroutines(p *process) int {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+p.o.API+"/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(p.o.Data, "admin.token"))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	n, lines := 0, bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			n, _ = strconv.Atoi(text)
		}
	}
	if n == 0 {
		s.t.Errorf("%s doesn't say how many goroutines it has (%s)", p.o.Name, resp.Status)
	}
	return n
}

// TestAttackUpgrade: three servers of one version are replaced by ones of the next, one by one, while a host is being
// recovered. Nothing is doubled or lost, and once all read it the records have the newer format.
func TestAttackUpgrade(t *testing.T) {
	o := Options{Hosts: 6, VMs: 60, Seed: *firstSeed, Redfish: 3}
	x := attackServers(t, o, cast{servers: 3})
	a := &attack{t: t, d: x.d, doomed: map[string]string{}, mild: map[string]int{}, others: map[string]time.Time{}, begun: time.Now()}
	a.world(func(w *world.World) { w.Subscribe(func(e world.Event) { a.see(w, e) }) })
	formatIs := func(want int) {
		t.Helper()
		x.until(t, fmt.Sprintf("format %d is written", want), func() string {
			m, err := a.d.api.Members(t.Context())
			if err != nil || m.Format != want {
				return fmt.Sprintf("%d %v", m.Format, err)
			}
			return ""
		})
	}
	formatIs(1)
	for i, p := range x.servers {
		if host := o.names()[i]; i < 2 {
			a.doom(host, "cut")
			a.world(func(w *world.World) { w.PowerCut(host) })
			pause(t.Context(), 4*time.Second) // its recovery has begun
		}
		p.signal(syscall.SIGTERM)
		p.o.Knows = 2
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
		x.until(t, p.o.Name+" is back", func() string {
			st, err := a.d.api.Status(t.Context())
			if err != nil || st.Servers.Healthy != 3 {
				return fmt.Sprintf("%+v %v", st.Servers, err)
			}
			return ""
		})
		if i < 2 {
			formatIs(1)
		}
	}
	formatIs(2)
	a.judge()
	if truth := x.d.truth.now(); len(truth.down) > 0 {
		t.Errorf("%d VMs stay down", len(truth.down))
	}
	p := x.servers[0] // the way back is closed: it doesn't lead, and says so
	p.signal(syscall.SIGTERM)
	p.o.Knows = 1
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	var st api.Status
	x.until(t, "another one leads", func() string {
		var err error
		if st, err = a.d.api.Status(t.Context()); err != nil || !st.Leads || st.Server == p.o.Name {
			return fmt.Sprintf("%s leads: %t %v", st.Server, st.Leads, err)
		}
		return ""
	})
}
