package store

import (
	"testing"
)

func memoryCluster(c *MemoryCluster, names ...string) *cluster {
	out := &cluster{
		raw: func(_ *testing.T, key, value string) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.rev++
			c.records[key] = Record{Key: key, Value: []byte(value), Revision: c.rev}
		},
		compact: func(*testing.T) { c.Compact() },
	}
	for _, n := range names {
		out.stores = append(out.stores, c.Server(n))
	}
	return out
}

func TestMemoryContract(t *testing.T) {
	t.Run("one", func(t *testing.T) {
		contract(t, memoryCluster(NewMemory(MemoryOptions{}), "server-1"))
	})
	t.Run("three", func(t *testing.T) {
		names := []string{"server-1", "server-2", "server-3"}
		contract(t, memoryCluster(NewMemory(MemoryOptions{Servers: names}), names...))
	})
}

func TestMemoryFailover(t *testing.T) {
	c := NewMemory(MemoryOptions{Servers: []string{"a", "b", "c"}})
	a, b := c.Server("a"), c.Server("b")
	l := <-a.Lead(t.Context())
	permit := commit(t, a, l.Epoch, Put("x", val(t, "1")))
	watch := a.Watch(t.Context(), "", 0)
	next(t, watch)

	c.SetDown("a", true)
	wantErr(t, permit.Check(), ErrDeposed)
	_, err := a.Commit(t.Context(), l.Epoch, Put("x", val(t, "2")))
	wantErr(t, err, ErrDeposed)
	_, err = a.Get(t.Context(), "x")
	wantErr(t, err, ErrNoQuorum, "a is cut off")
	l2 := <-b.Lead(t.Context())
	if !l2.Leader || l2.Epoch <= l.Epoch {
		t.Fatalf("after a was lost b knows %+v", l2)
	}
	commit(t, b, l2.Epoch, Put("x", val(t, "3")))
	if len(watch) != 0 {
		t.Errorf("a server that is cut off saw %v", story(<-watch))
	}

	c.SetDown("c", true)
	wantErr(t, b.Resign(t.Context()), ErrNoQuorum, "1 of 3")
	if st := b.Status(t.Context()); st.Quorum || st.QuorumReason == "" || st.Leader != "" {
		t.Errorf("with one of three up, status is %+v", st)
	}
	c.SetDown("a", false)
	diff(t, "back again", []string{`written x {"v":1,"word":"3"}`}, story(next(t, watch)))
	if l := <-a.Lead(t.Context()); !l.Leader || l.Epoch <= l2.Epoch {
		t.Errorf("with two of three up again, a knows %+v", l)
	}

	sub := a.Lead(t.Context())
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for range watch {
	}
	for range sub {
	}
	_, _, err = a.List(t.Context(), "")
	wantErr(t, err, ErrClosed)
}

func TestMemoryLosesAnswers(t *testing.T) {
	c := NewMemory(MemoryOptions{})
	s := c.Server("server-1")
	e := (<-s.Lead(t.Context())).Epoch
	c.LoseAnswers(1)
	p, err := s.Commit(t.Context(), e, Put("x", val(t, "written")))
	wantErr(t, err, ErrUncertain)
	wantErr(t, p.Check(), ErrExpired)
	diff(t, "records", map[string]string{"x": "written"}, words(t, s, ""))
	commit(t, s, e, Delete("x"))
}

// A watcher that never reads costs at most maxPending changes or one list.
func TestFeedIsBounded(t *testing.T) {
	f := newFeed()
	one := []Change{{Kind: Written, Record: Record{Key: "k", Revision: 5}}}
	for i := range maxPending {
		if !f.push(one) {
			t.Fatalf("dropped after %d changes, expected after %d", i, maxPending)
		}
	}
	if f.push(one) {
		t.Fatalf("%d changes wait, expected at most %d", len(<-f.ch), maxPending)
	}
	if len(f.ch) != 0 {
		t.Fatal("what had to be dropped still waits")
	}
	list := resetBatch(make([]Record, 2*maxPending), 9) // larger than the bound: it must still get through
	f.push(list)
	if !f.push([]Change{{Kind: Written, Record: Record{Key: "k", Revision: 10}}}) {
		t.Fatal("a change after a long list was dropped")
	}
	if got := len(<-f.ch); got != len(list)+1 {
		t.Fatalf("%d changes came, expected %d", got, len(list)+1)
	}
}
