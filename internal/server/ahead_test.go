package server

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// Hosts that know a later epoch are counted among all that were ever heard.
func TestAhead(t *testing.T) {
	t.Parallel()
	g := newAgents(&Server{})
	g.s.lead.Store(&store.Leadership{})
	for i, epoch := range []uint64{0, 7, 9, 8} {
		g.hears(strconv.Itoa(i), epoch)
	}
	if a, host := g.ahead(7); a != (engine.Ahead{Hosts: 2, Of: 4, Epoch: 9}) || host != "2" {
		t.Errorf("%+v, %s", a, host)
	}
}

// TestAnAgentKnowsALaterEpoch: a database that lost its records begins with low epochs; the agents refuse its orders, and
// somebody says so.
func TestAnAgentKnowsALaterEpoch(t *testing.T) {
	t.Parallel()
	s := led(t, &quietCloud{}, Options{})
	for _, host := range []string{"compute-01", "compute-02"} {
		c, err := s.ca.IssueAgent(host, pki.Machine{UUID: uuid(1)}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		hello := helloFrom(host, uuid(1))
		u, err := transport.Dial(transport.AgentOptions{
			Servers: []string{s.AgentsAddr().String()}, Credentials: c, Hello: func() *agentv1.Hello { return hello }, Handler: quietHost{},
			Known: transport.Known{Epoch: 1 << 40},
		})
		if err != nil {
			t.Fatal(err)
		}
		u.Start()
		t.Cleanup(u.Close)
	}
	said := func() (n int) {
		s.trail.mu.Lock()
		defer s.trail.mu.Unlock()
		for _, m := range s.trail.recent {
			if strings.Contains(m.Text, "agent has heard of epoch 1099511627776") && strings.Contains(m.Text, "cluster.json") {
				n++
			}
		}
		return n
	}
	waitFor(t, "it is said", func() bool {
		return said() > 0 && s.agents.isConnected("compute-01") && s.agents.isConnected("compute-02")
	})
	if n := said(); n != 1 {
		t.Errorf("it is said %d times", n)
	}
	waitFor(t, "status says it", func() bool {
		st, err := (&backend{s: s}).Status(t.Context())
		return err == nil && slices.ContainsFunc(st.WaitingForYou, func(w string) bool {
			return strings.HasPrefix(w, "nothing is done: 2 of 2 hosts have heard of epoch")
		})
	})
	in := s.reign.Load().in
	in.put(engine.HostSeen{Host: engine.HostFacts{Name: "compute-09", Zone: "az1", Hypervisor: "QEMU"}})
	in.put(engine.Assessed{Host: "compute-09", Verdict: engine.Up, Boot: "b"})
	in.put(engine.Assessed{Host: "compute-09", Verdict: engine.Dead, Boot: "b", Reason: "silent"})
	waitFor(t, "no incident goes on", func() bool {
		st, err := (&backend{s: s}).Status(t.Context())
		return err == nil && slices.ContainsFunc(st.Interlocks, func(l api.HeldBy) bool { return l.Host == "compute-09" && l.Code == engine.LockSuperseded })
	})
}
