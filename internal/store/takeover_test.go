package store

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestTakeover kills the leader's process, as a power cut would.
func TestTakeover(t *testing.T) {
	t.Parallel()
	options, _ := threeOptions(t)
	kill := startProcess(t, options[0])
	servers := []*Embedded{open(t, options[1]), open(t, options[2])}
	c := embeddedCluster(servers...)
	e := makeLeader(t, c, "server-1")

	began := time.Now()
	kill()
	asked := watchElection(t, servers)
	next, e2 := c.leader(t)
	asked()
	commit(t, next, e2, Put("takeover/x", val(t, "2")))
	took := time.Since(began)
	t.Logf("server-1 was killed: %s led and wrote after %v", next.Name(), took)
	if took > 5*time.Second {
		t.Errorf("takeover took %v, expected 5 s at most", took)
	}
	if e2 <= e {
		t.Errorf("epoch %d follows %d", e2, e)
	}

	// The next one is cut off, not killed: it steps down by itself.
	cut := next.(*Embedded)
	other := c.follower(next).(*Embedded)
	permit := commit(t, cut, e2)
	sub := cut.Lead(t.Context())
	<-sub
	cut.srv.CutPeer(other.srv.MemberID())
	other.srv.CutPeer(cut.srv.MemberID())
	if l := <-sub; l.Leader {
		t.Fatalf("after it was cut off: %+v", l)
	}
	wantErr(t, permit.Check(), ErrDeposed)
	noQuorum(t, cut, e2)
	cut.srv.MendPeer(other.srv.MemberID())
	other.srv.MendPeer(cut.srv.MemberID())

	// The killed one comes back with what it had, and sees what it missed.
	back := open(t, options[0])
	last, e3 := embeddedCluster(append(servers, back)...).leader(t)
	commit(t, last, e3, Put("takeover/y", val(t, "3")))
	diff(t, "records", map[string]string{"takeover/x": "2", "takeover/y": "3"}, words(t, back, "takeover/"))
}

// watchElection asks how the quorum stands while none of these leads, without waiting for answers, until the function it
// gives is called: where a majority answers, what spans an election is never a lost quorum.
func watchElection(t *testing.T, servers []*Embedded) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	led := func(s *Embedded) bool {
		return slices.ContainsFunc(servers, func(o *Embedded) bool { return o.srv.MemberID() == s.srv.Leader() })
	}
	var asked sync.WaitGroup
	asked.Go(func() {
		for ; ctx.Err() == nil; pause(ctx, 250*time.Millisecond) {
			for _, s := range servers {
				if led(s) {
					continue
				}
				asked.Go(func() {
					st := s.Status(t.Context())
					silent := slices.ContainsFunc(st.Members, func(m Member) bool { return !m.Healthy && m.Name != "server-1" }) // a machine too busy
					if !st.Quorum && !st.Electing() && !silent {
						t.Errorf("in an election %s says that there is no quorum: %+v", s.Name(), st)
					}
				})
			}
		}
	})
	return func() { cancel(); asked.Wait() }
}

// makeLeader hands leadership to the server called name, which isn't in c; the
// epoch is that of its leadership.
func makeLeader(t *testing.T, c *cluster, name string) Epoch {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s := c.stores[0].(*Embedded)
	for st := range statuses(ctx, s) {
		if st.Leader == name && claimant(t, s) == name { // the claim comes after the election
			return st.Epoch
		}
		for _, other := range c.stores {
			if other.Name() == st.Leader { // hands over by name, so name's turn comes first
				t.Logf("%s resigns: %v", other.Name(), other.Resign(ctx))
			}
		}
	}
	t.Fatalf("%s doesn't lead within 10 s", name)
	return 0
}

// statuses asks again and again, until ctx ends.
func statuses(ctx context.Context, s *Embedded) iter.Seq[Status] {
	return func(yield func(Status) bool) {
		for ctx.Err() == nil && yield(s.Status(ctx)) {
			pause(ctx, 20*time.Millisecond)
		}
	}
}

func claimant(t *testing.T, s *Embedded) string {
	t.Helper()
	resp, err := s.cli.Get(t.Context(), root+epochKey)
	if err != nil || len(resp.Kvs) == 0 {
		return ""
	}
	var claim epochRecord
	if _, err := Decode(record(resp.Kvs[0]), 1, &claim); err != nil {
		t.Fatal(err)
	}
	return claim.Server
}

// childOptions is the variable by which this test program, started again, knows
// that it is to be a server.
const childOptions = "NINELIVES_STORE_TEST_OPTIONS"

// startProcess runs a server in a process of its own; it ends with the test, or
// when kill is called.
func startProcess(t *testing.T, o Options) (kill func()) {
	t.Helper()
	o.Logger = nil
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childOptions+"="+string(b))
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if _, err := cmd.StdinPipe(); err != nil { // its end tells the child that we are gone
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		cmd.Wait() // "signal: killed"
	})
	t.Cleanup(kill)
	return kill
}

func child(options string) {
	var o Options
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		panic(err)
	}
	if _, err := OpenEmbedded(o); err != nil {
		panic(err)
	}
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func noQuorum(t *testing.T, s *Embedded, e Epoch) {
	t.Helper()
	began := time.Now()
	_, err := s.Commit(t.Context(), e, Put("takeover/x", val(t, "lost")))
	wantErr(t, err, ErrDeposed)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = s.Get(ctx, "takeover/x")
	wantErr(t, err, ErrNoQuorum, "takeover/x")
	err = s.guarded(ctx, e, []Op{Put("takeover/x", val(t, "lost"))})
	wantErr(t, err, ErrNoQuorum, "no leader")
	wantErr(t, err, ErrUncertain)
	st := s.Status(t.Context())
	if st.Quorum || st.Leader != "" || !strings.Contains(st.QuorumReason, "2 of 3 servers answer, not server-1; yet nothing can be read: the servers have no leader") || strings.Count(fmt.Sprint(st), "connection refused") != 1 {
		t.Errorf("without quorum, status is %+v", st)
	}
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("calls without a quorum took %v", took)
	}
}
