package server

import (
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

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
}
