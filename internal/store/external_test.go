package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ninelives-ha/ninelives/internal/store/etcdtest"
)

// startEtcd is a real etcd that takes transactions as large as ours.
func startEtcd(t *testing.T) (endpoint string) {
	t.Helper()
	e := etcdtest.Start(t, etcdtest.Options{TxnOps: MaxOps, MaxRequestBytes: 2 * MaxBytes})
	return e.URL(e.Address)
}

func openExternal(t *testing.T, o ExternalOptions) *External {
	t.Helper()
	o.Logger = quiet(t)
	s, err := OpenExternal(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func externalCluster(t *testing.T, endpoint string, n int) *cluster {
	var servers []*External
	for i := range n {
		servers = append(servers, openExternal(t, ExternalOptions{Name: fmt.Sprintf("server-%d", i+1), Endpoints: []string{endpoint}}))
	}
	c := &cluster{
		raw: func(t *testing.T, key, value string) {
			if _, err := servers[0].cli.Put(t.Context(), root+key, value); err != nil {
				t.Fatal(err)
			}
		},
		compact: func(t *testing.T) {
			_, rev, err := servers[0].List(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := servers[0].cli.Compact(t.Context(), rev, clientv3.WithCompactPhysical()); err != nil {
				t.Fatal(err)
			}
		},
	}
	for _, s := range servers {
		eventually(t, s.Name()+" shows that it runs", func() bool { return s.lease.Load() != nil })
		c.stores = append(c.stores, s)
	}
	return c
}

func TestExternalContract(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			contract(t, externalCluster(t, startEtcd(t), n))
		})
	}
}

// pausable is a clock that a test moves on, as a pause of the process does.
type pausable struct {
	mu   sync.Mutex
	more time.Duration
}

func (c *pausable) pause(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.more += d }

func (c *pausable) Boot() (time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := SystemClock{}.Boot()
	return b + c.more, err
}

func (c *pausable) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return SystemClock{}.Wall().Add(c.more)
}

// TestExternalLease: a leader whose lease may have ended has no permit left, whatever it believes; one whose lease was
// taken can't write; another one leads; a leader that resigns leads no more.
func TestExternalLease(t *testing.T) {
	t.Parallel()
	endpoint := startEtcd(t)
	clock := &pausable{}
	a := openExternal(t, ExternalOptions{Name: "a", Endpoints: []string{endpoint}, Clock: clock, Lease: 4 * time.Second})
	c := &cluster{stores: []Store{a}}
	_, e := c.leader(t)
	permit := commit(t, a, e, Put("lease/x", val(t, "1")))
	if err := permit.Check(); err != nil {
		t.Fatal(err)
	}
	a.turn.Lock() // it renews nothing any more, like a paused process
	fresh := commit(t, a, e)
	_, good := LeasePermit(a.o.Lease)
	clock.pause(good)
	for what, p := range map[string]Permit{"of before": permit, "a fresh one": fresh} {
		if err := p.Check(); err == nil {
			t.Errorf("the permit %s is good although the lease may have ended", what)
		}
	}
	if _, err := a.Commit(t.Context(), e, Put("lease/x", val(t, "late"))); err == nil {
		t.Error("it writes although its lease may have ended")
	}

	b := openExternal(t, ExternalOptions{Name: "b", Endpoints: []string{endpoint}})
	_, e2 := (&cluster{stores: []Store{b}}).leader(t) // when the lease has ended in etcd, too
	if e2 <= e {
		t.Errorf("epoch %d follows %d", e2, e)
	}
	wantErr(t, a.guarded(t.Context(), e, []Op{Put("lease/x", val(t, "late"))}), ErrDeposed) // etcd itself refuses, past all checks
	commit(t, b, e2, Put("lease/y", val(t, "2")))
	a.turn.Unlock()
	eventually(t, "the one that was paused finds that it doesn't lead", func() bool { return a.leads.current().LeaderName == "b" })
	diff(t, "records", map[string]string{"lease/x": "1", "lease/y": "2"}, words(t, a, "lease/"))
}

// TestExternalRemove: a server that runs isn't forgotten, one that has ended is; nobody else is known.
func TestExternalRemove(t *testing.T) {
	t.Parallel()
	endpoint := startEtcd(t)
	a, b := openExternal(t, ExternalOptions{Name: "a", Endpoints: []string{endpoint}}), openExternal(t, ExternalOptions{Name: "b", Endpoints: []string{endpoint}})
	eventually(t, "both run", func() bool { return a.lease.Load() != nil && b.lease.Load() != nil })
	if err := b.Announce(t.Context(), []byte(val(t, "card"))); err != nil {
		t.Fatal(err)
	}
	wantErr(t, a.RemoveServer(t.Context(), "b"), ErrRefused)
	wantErr(t, a.RemoveServer(t.Context(), "c"), ErrNotFound)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := a.RemoveServer(t.Context(), "b"); err != nil {
		t.Error(err)
	}
}

func TestExternalRefused(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]ExternalOptions{
		"name is missing":   {},
		"no endpoint":       {Name: "a"},
		"whole seconds":     {Name: "a", Endpoints: []string{"x"}, Lease: 1500 * time.Millisecond},
		"another leader":    {Name: "a", Endpoints: []string{"x"}, Permit: 3 * time.Second},
		"cannot use etcd's": {Name: "a", Endpoints: []string{"x"}, TLS: ClientTLS{CAFile: "/nothing"}},
	} {
		_, err := OpenExternal(o)
		wantWords(t, err, "cannot open store: ", want)
	}
	s := openExternal(t, ExternalOptions{Name: "a", Endpoints: []string{"http://" + freePorts(t, 1)[0]}, CallTimeout: 300 * time.Millisecond})
	if st := s.Status(t.Context()); st.Quorum || st.QuorumReason == "" {
		t.Errorf("without etcd, status is %+v", st)
	}
	_, err := s.Get(t.Context(), "x")
	wantErr(t, err, ErrNoQuorum)
}
