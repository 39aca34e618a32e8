package transport

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/test/bufconn"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// city is servers of one cluster in memory, by address; an address that isn't there doesn't answer.
type city struct {
	t  *testing.T
	ca *pki.CA

	mu    sync.Mutex
	ways  map[string]*bufconn.Listener
	tries map[string]int
}

func newCity(t *testing.T) *city {
	ca, err := pki.NewInMemory("mycloud", time.Now())
	must(t, err)
	return &city{t: t, ca: ca, ways: map[string]*bufconn.Listener{}, tries: map[string]int{}}
}

// server starts one that is reached at these addresses.
func (c *city) server(name string, addresses ...string) (*Server, *serverSide) {
	creds, err := c.ca.IssueServer(name, nil, time.Now())
	must(c.t, err)
	l, h := bufconn.Listen(256<<10), newServerSide()
	s, err := Listen(ServerOptions{Name: name, Listener: l, Credentials: creds, CA: c.ca, Handler: h})
	must(c.t, err)
	s.Start()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range addresses {
		c.ways[a] = l
	}
	return s, h
}

func (c *city) dial(ctx context.Context, addr string) (net.Conn, error) {
	c.mu.Lock()
	c.tries[addr]++
	l := c.ways[addr]
	c.mu.Unlock()
	if l == nil {
		return nil, errors.New("no route to host")
	}
	return l.DialContext(ctx)
}

// agent starts one that begins with these servers and what it knows.
func (c *city) agent(known Known, save func(Known) error, servers ...string) *Uplinks {
	creds, err := c.ca.IssueAgent("h1", m1, time.Now())
	must(c.t, err)
	u, err := Dial(AgentOptions{
		Servers: servers, Credentials: creds, Hello: helloOf("h1", bootA), Handler: newAgentSide(), DialContext: c.dial, Known: known, SaveKnown: save,
	})
	must(c.t, err)
	u.Start()
	return u
}

// reaches are the addresses at which the agent is connected.
func reaches(u *Uplinks) []string {
	var out []string
	for _, s := range u.States() {
		if s.Connected {
			out = append(out, s.Addr)
		}
	}
	return out
}

func tell(t *testing.T, h *serverSide, revision uint64, servers map[string][]string) {
	t.Helper()
	m := &agentv1.Servers{Revision: revision}
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		m.Servers = append(m.Servers, &agentv1.ServerAddress{Name: name, Addresses: servers[name]})
	}
	must(t, (<-h.links).Send(&agentv1.FromServer{Kind: &agentv1.FromServer_Servers{Servers: m}}))
}

// TestAgentsLearnServers: an agent that is configured with one server is told of two more, goes to them, remembers them
// over its restart, and leaves one that is gone; older lists and nonsense change nothing.
func TestAgentsLearnServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCity(t)
		s1, h1 := c.server("s1", "s1:7401")
		s2, _ := c.server("s2", "s2:7401")
		s3, h3 := c.server("s3", "s3:7401")
		var d disk
		u := c.agent(Known{}, d.save, "s1:7401")
		all := map[string][]string{"s1": {"s1:7401"}, "s2": {"s2:7401"}, "s3": {"s3:7401"}}
		tell(t, h1, 10, all)
		time.Sleep(20 * time.Second) // virtual
		if d := cmp.Diff([]string{"s1:7401", "s2:7401", "s3:7401"}, reaches(u)); d != "" {
			t.Error("it reaches:", d)
		}
		synctest.Wait()
		saved := d.load()
		if d := cmp.Diff(Known{Epoch: 7, Revision: 10, Servers: all}, saved); d != "" {
			t.Error("it remembers:", d)
		}
		u.Close()

		u = c.agent(saved, nil, "gone:7401") // what it was configured with is no more
		time.Sleep(10 * time.Second)         // virtual
		if d := cmp.Diff([]string{"s1:7401", "s2:7401", "s3:7401"}, reaches(u)); d != "" {
			t.Error("after its restart it reaches:", d)
		}
		<-h3.links // of the first run
		without3 := map[string][]string{"s1": {"s1:7401"}, "s2": {"s2:7401", "nonsense", ":7401", "s2:0"}, "bad name!": {"x:1"}}
		tell(t, h3, 9, without3)     // it is older
		time.Sleep(20 * time.Second) // virtual
		if len(reaches(u)) != 3 {
			t.Errorf("after an older list it reaches %v", reaches(u))
		}
		tell(t, h1, 11, without3)
		time.Sleep(20 * time.Second) // virtual
		if d := cmp.Diff([]string{"s1:7401", "s2:7401"}, reaches(u)); d != "" {
			t.Error("after the newer list it reaches:", d)
		}
		u.Close()
		for _, s := range []*Server{s1, s2, s3} {
			must(t, s.Stop(t.Context()))
		}
	})
}

// TestOneStreamToAServer: a server that is reached by two addresses, one of them configured, gets one stream, and keeps
// it; when that way ends the other one is taken.
func TestOneStreamToAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCity(t)
		s1, h1 := c.server("s1", "10.0.0.1:7401", "s1:7401", "10.1.0.1:7401")
		u := c.agent(Known{}, nil, "10.0.0.1:7401", "s1:7401") // twice, by an operator's mistake
		time.Sleep(time.Minute)                                // virtual
		if n := len(reaches(u)); n != 1 || s1.Links() != 1 {
			t.Errorf("it holds %d streams to one server, which has %d", n, s1.Links())
		}
		for len(h1.links) > 1 {
			<-h1.links
		}
		tell(t, h1, 1, map[string][]string{"s1": {"10.1.0.1:7401"}})
		time.Sleep(20 * time.Second) // virtual
		came := len(h1.links)
		time.Sleep(time.Hour) // virtual
		if len(h1.links) != came || s1.Links() != 1 || c.tries["10.1.0.1:7401"] != 0 {
			t.Errorf("%d more streams came in an hour, %d are open, %d over the address that was told", len(h1.links)-came, s1.Links(), c.tries["10.1.0.1:7401"])
		}
		c.mu.Lock() // the configured ways end
		delete(c.ways, "10.0.0.1:7401")
		delete(c.ways, "s1:7401")
		c.mu.Unlock()
		for _, l := range u.all() {
			l.mu.Lock()
			if l.session != nil {
				l.session.cancel(errNo)
			}
			l.mu.Unlock()
		}
		time.Sleep(20 * time.Second) // virtual
		if d := cmp.Diff([]string{"10.1.0.1:7401"}, reaches(u)); d != "" {
			t.Error("it reaches:", d)
		}
		u.Close()
		must(t, s1.Stop(t.Context()))
	})
}

// TestALaterEpochIsTold: a server whose acks carry an older epoch than another server's is told of it, once.
func TestALaterEpochIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCity(t)
		s1, h1 := c.server("s1", "s1:7401")
		s2, h2 := c.server("s2", "s2:7401")
		u := c.agent(Known{}, func(Known) error { return nil }, "s1:7401", "s2:7401")
		<-h1.links
		l := <-h2.links
		time.Sleep(5 * time.Second) // virtual
		must(t, l.Send(killOrder(1, 1<<30, 10*time.Second)))
		time.Sleep(10 * time.Second) // virtual
		u.Close()
		must(t, s1.Stop(t.Context()))
		must(t, s2.Stop(t.Context()))
		close(h1.msgs)
		var told []uint64
		for m := range h1.msgs {
			if m.GetHeard() != nil {
				told = append(told, m.GetHeard().GetEpoch())
			}
		}
		if !slices.Equal(told, []uint64{7, 1 << 30}) { // 7 is in every Welcome here, and in no ack
			t.Errorf("the first server was told of the epochs %d", told)
		}
	})
}

// disk keeps what is saved, unless it is full.
type disk struct {
	full atomic.Bool
	has  atomic.Pointer[Known]
}

func (d *disk) save(k Known) error {
	if d.full.Load() {
		return errNo
	}
	d.has.Store(&k)
	return nil
}

func (d *disk) load() Known {
	if k := d.has.Load(); k != nil {
		return *k
	}
	return Known{}
}

// TestEpochIsRemembered: an agent that has heard of epoch 9 is started anew and meets the leader of epoch 7 first: its
// order is refused. What can't be saved is saved later.
func TestEpochIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCity(t)
		s1, h1 := c.server("s1", "s1:7401")
		var d disk
		d.full.Store(true)
		u := c.agent(Known{}, d.save, "s1:7401")
		l := <-h1.links
		must(t, l.Send(killOrder(1, 9, 10*time.Second)))
		time.Sleep(time.Second) // virtual
		if d.load().Epoch != 0 {
			t.Error("it was saved on a full disk")
		}
		d.full.Store(false)
		time.Sleep(knownAgain) // virtual
		u.Close()
		saved := d.load()
		if saved.Epoch != 9 {
			t.Fatalf("epoch %d was saved, expected that of the order", saved.Epoch)
		}

		h := newAgentSide()
		creds, err := c.ca.IssueAgent("h1", m1, time.Now())
		must(t, err)
		u, err = Dial(AgentOptions{Servers: []string{"s1:7401"}, Credentials: creds, Hello: helloOf("h1", bootA), Handler: h, DialContext: c.dial, Known: saved})
		must(t, err)
		u.Start()
		l = <-h1.links
		must(t, l.Send(killOrder(2, 7, 10*time.Second)))
		for m := range h1.msgs {
			if r := m.GetResult(); r.GetOrderId() == 2 {
				if r.GetOk() || r.GetError() != "refused: the order is of epoch 7, but epoch 9 has begun" {
					t.Errorf("the older leader's order: %v", r)
				}
				break
			}
		}
		if len(h.orders) != 0 {
			t.Error("the older leader's order was handed on")
		}
		u.Close()
		must(t, s1.Stop(t.Context()))
	})
}
