package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// cluster is what the contract needs of an implementation.
type cluster struct {
	stores  []Store
	raw     func(t *testing.T, key, value string) // writes past all checks
	compact func(t *testing.T)
}

// leader waits for the one that leads.
func (c *cluster) leader(t *testing.T) (Store, Epoch) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	type led struct {
		s Store
		e Epoch
	}
	found := make(chan led, len(c.stores))
	for _, s := range c.stores {
		sub := s.Lead(ctx)
		go func() {
			for l := range sub {
				if l.Leader {
					found <- led{s, l.Epoch}
					return
				}
			}
		}()
	}
	select {
	case l := <-found:
		return l.s, l.e
	case <-ctx.Done():
		t.Fatal("no server leads within 10 s")
		return nil, 0
	}
}

func (c *cluster) follower(leader Store) Store {
	for _, s := range c.stores {
		if s != leader {
			return s
		}
	}
	return nil
}

type thing struct {
	Word string `json:"word"`
}

func val(t *testing.T, word string) []byte {
	t.Helper()
	b, err := Encode(1, thing{word})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantErr(t *testing.T, err, want error, words ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, expected %v", err, want)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q doesn't say %q", err, w)
		}
	}
}

func commit(t *testing.T, s Store, e Epoch, ops ...Op) Permit {
	t.Helper()
	p, err := s.Commit(t.Context(), e, ops...)
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	return p
}

func words(t *testing.T, s Store, prefix string) map[string]string {
	t.Helper()
	records, _, err := s.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, r := range records {
		var v thing
		if _, err := Decode(r, 1, &v); err != nil {
			t.Fatal(err)
		}
		out[r.Key] = v.Word
	}
	return out
}

// next is the next batch, in 10 s at most.
func next(t *testing.T, w <-chan []Change) []Change {
	t.Helper()
	select {
	case batch, open := <-w:
		if !open {
			t.Fatal("the watch has ended")
		}
		return batch
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was seen within 10 s")
	}
	return nil
}

// story is a batch in words, without revisions.
func story(batch []Change) []string {
	var out []string
	for _, ch := range batch {
		out = append(out, strings.TrimSpace(string(ch.Kind)+" "+ch.Record.Key+" "+string(ch.Record.Value)))
	}
	return out
}

func diff(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("%s (- expected, + came):\n%s", what, d)
	}
}

// contract is what every Store does. Each part uses keys of its own.
func contract(t *testing.T, c *cluster) {
	for name, part := range map[string]func(*testing.T, *cluster){
		"records": contractRecords, "refused": contractRefused, "large": contractLarge,
		"epochs": contractEpochs, "watch": contractWatch, "compaction": contractCompaction,
		"slow": contractSlowWatch, "garbage": contractGarbage, "cancelled": contractCancelled,
		"lead": contractLead, "followers": contractFollowers, "prune": contractPrune,
		"status": contractStatus, "model": contractModel, "announce": contractAnnounce,
	} {
		t.Run(name, func(t *testing.T) { part(t, c) })
	}
}

func contractRecords(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	commit(t, s, e, Put("rec/b", val(t, "b1")), Put("rec/a", val(t, "a1")), Put("rec/a/x", val(t, "x1")))
	first, rev, err := s.List(t.Context(), "rec/")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, r := range first {
		keys = append(keys, r.Key)
		if r.Revision <= int64(e) || r.Revision > rev {
			t.Errorf("%s has revision %d, expected one in (%d, %d]", r.Key, r.Revision, e, rev)
		}
	}
	diff(t, "keys", []string{"rec/a", "rec/a/x", "rec/b"}, keys)

	commit(t, s, e, Put("rec/b", val(t, "b2")), Delete("rec/a"), Delete("rec/none"))
	diff(t, "after delete", map[string]string{"rec/a/x": "x1", "rec/b": "b2"}, words(t, s, "rec/"))
	b, err := s.Get(t.Context(), "rec/b")
	if err != nil || b.Revision <= rev || b.Key != "rec/b" {
		t.Errorf("rec/b is %+v, %v; expected a revision above %d", b, err, rev)
	}
	_, err = s.Get(t.Context(), "rec/a")
	wantErr(t, err, ErrNotFound, "rec/a")

	commit(t, s, e, DeletePrefix("rec/a/"), Put("rec/aa", val(t, "kept")))
	diff(t, "after delete of a prefix", map[string]string{"rec/b": "b2", "rec/aa": "kept"}, words(t, s, "rec/"))

	all, _, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Key == epochKey || strings.HasPrefix(r.Key, "/") {
			t.Errorf("the list of everything has %q", r.Key)
		}
	}
	_, err = s.Get(t.Context(), epochKey)
	wantErr(t, err, ErrNotFound)
}

func contractRefused(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	good := Put("refused/good", val(t, "x"))
	for name, op := range map[string]Op{
		"empty key": Put("", val(t, "x")), "slash first": Put("/a", val(t, "x")), "slash last": Put("a/", val(t, "x")),
		"empty part": Delete("a//b"), "control": Put("a\nb", val(t, "x")), "not text": Delete("a\xff"),
		"long": Delete(strings.Repeat("k", maxKey+1)), "epoch": Put("epoch", val(t, "x")), "no epoch": Delete("epoch"),
		"prefix without slash": DeletePrefix("refused"), "prefix of all": DeletePrefix("/"), "nothing": {},
		"no version": Put("refused/x", []byte(`{"word":"x"}`)), "no JSON": Put("refused/x", []byte(`{"v":1,`)), "no value": Put("refused/x", nil),
		"same key": Delete("refused/good"), "put under prefix": DeletePrefix("refused/"),
	} {
		_, err := s.Commit(t.Context(), e, good, op)
		if !errors.Is(err, ErrBadOp) {
			t.Errorf("%s: error is %v, expected %v", name, err, ErrBadOp)
		}
	}
	diff(t, "written all the same", map[string]string{}, words(t, s, "refused/"))
}

func contractLarge(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	var ops []Op
	for i := range MaxOps {
		ops = append(ops, Put(fmt.Sprintf("large/%04d", i), val(t, "x")))
	}
	commit(t, s, e, ops...)
	_, err := s.Commit(t.Context(), e, append(ops, Delete("large/one-more"))...)
	wantErr(t, err, ErrTooLarge, "2049", "2048")
	_, err = s.Commit(t.Context(), e, Put("large/big", val(t, strings.Repeat("x", MaxBytes))))
	wantErr(t, err, ErrTooLarge)
	commit(t, s, e, Put("large/big", val(t, strings.Repeat("x", MaxBytes-100))))
	commit(t, s, e, DeletePrefix("large/"))
	diff(t, "left over", map[string]string{}, words(t, s, "large/"))
}

func contractEpochs(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	for _, wrong := range []Epoch{0, e - 1, e + 1} {
		_, err := s.Commit(t.Context(), wrong, Put("epochs/x", val(t, "x")))
		wantErr(t, err, ErrDeposed)
	}
	permit := commit(t, s, e)
	if err := permit.Check(); err != nil {
		t.Fatalf("a fresh permit isn't good: %v", err)
	}
	if len(c.stores) == 1 {
		wantErr(t, s.Resign(t.Context()), ErrAlone)
		return
	}
	if err := s.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantErr(t, permit.Check(), ErrDeposed)
	next, e2 := c.leader(t)
	if e2 <= e {
		t.Fatalf("epoch %d follows %d", e2, e)
	}
	for _, st := range c.stores {
		_, err := st.Commit(t.Context(), e, Put("epochs/x", val(t, "old")))
		wantErr(t, err, ErrDeposed)
	}
	wantErr(t, c.follower(next).Resign(t.Context()), ErrDeposed)
	commit(t, next, e2, Put("epochs/x", val(t, "new")))
	diff(t, "records", map[string]string{"epochs/x": "new"}, words(t, s, "epochs/"))
}

func contractGarbage(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	c.raw(t, "garbage/bad", `{"v":1,"word":`)
	c.raw(t, "garbage/none", `"hello"`)
	c.raw(t, "garbage/unversioned", `{"word":"x"}`)
	c.raw(t, "garbage/newer", `{"v":7,"word":{"now":"an object"}}`)
	c.raw(t, "garbage/type", `{"v":1,"word":5}`)
	records, _, err := s.List(t.Context(), "garbage/")
	if err != nil || len(records) != 5 {
		t.Fatalf("%d records, %v; expected 5", len(records), err)
	}
	for _, r := range records {
		var v thing
		_, err := Decode(r, 1, &v)
		if r.Key == "garbage/newer" {
			wantErr(t, err, ErrNewer, r.Key, "format is 7", "up to 1", "upgrade")
		} else {
			wantErr(t, err, ErrFormat, r.Key)
		}
	}
	commit(t, s, e, DeletePrefix("garbage/"))
}

func contractCancelled(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Commit(ctx, e, Put("cancelled/x", val(t, "x")))
	wantErr(t, err, context.Canceled)
	_, _, err = s.List(ctx, "")
	wantErr(t, err, context.Canceled)
	_, err = s.Get(ctx, "cancelled/x")
	wantErr(t, err, context.Canceled)
	diff(t, "written", map[string]string{}, words(t, s, "cancelled/"))
}

func contractLead(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	ctx, cancel := context.WithCancel(t.Context())
	sub := s.Lead(ctx)
	diff(t, "leadership", Leadership{Leader: true, Epoch: e, LeaderName: s.Name()}, <-sub)
	cancel()
	if l, open := <-sub; open {
		t.Errorf("after its context ended, a subscription gave %+v", l)
	}
}

func contractFollowers(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	f := c.follower(s)
	if f == nil {
		t.Skip("one server only")
	}
	_, err := f.Commit(t.Context(), e, Put("followers/x", val(t, "x")))
	wantErr(t, err, ErrDeposed)
	w := f.Watch(t.Context(), "followers/", 0)
	diff(t, "watch on a follower", []string{"reset"}, story(next(t, w)))
	commit(t, s, e, Put("followers/x", val(t, "y")))
	diff(t, "read on a follower, at once", map[string]string{"followers/x": "y"}, words(t, f, "followers/"))
	diff(t, "watch on a follower", []string{`written followers/x {"v":1,"word":"y"}`}, story(next(t, w)))
	if got := f.Status(t.Context()).Leader; got != s.Name() {
		t.Errorf("a follower says that %q leads, expected %q", got, s.Name())
	}
}

func contractPrune(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	now := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	var ops []Op
	for i := range 300 { // more than one batch
		id := fmt.Sprintf("old%03d", i)
		ops = append(ops, Put(IncidentKey(id), val(t, "closed")), Put(IncidentServerKey(id, "vm"), val(t, "x")))
	}
	commit(t, s, e, append(ops, Put(IncidentKey("old"), val(t, "open")), Put(IncidentServerKey("old", "vm"), val(t, "closed")),
		Put(AuditKey(now.Add(-time.Hour), 0), val(t, "old")), Put(AuditKey(now, 0), val(t, "new")), Put(AuditKey(now, 1), val(t, "new")))...)
	n, err := Prune(t.Context(), s, e, IncidentsPrefix, func(r Record) bool {
		var v thing
		_, err := Decode(r, 1, &v)
		return err == nil && v.Word == "closed"
	})
	if n != 300 || err != nil {
		t.Fatalf("pruned %d, %v; expected 300", n, err)
	}
	diff(t, "incidents", map[string]string{"incidents/old": "open", "incidents/old/servers/vm": "closed"}, words(t, s, IncidentsPrefix))
	if n, err := PruneAudit(t.Context(), s, e, now); n != 1 || err != nil {
		t.Fatalf("pruned %d audit entries, %v; expected 1", n, err)
	}
	diff(t, "audit", map[string]string{AuditKey(now, 0): "new", AuditKey(now, 1): "new"}, words(t, s, AuditPrefix))
	_, err = PruneAudit(t.Context(), s, e-1, now.Add(time.Hour))
	wantErr(t, err, ErrDeposed, "audit")
	commit(t, s, e, DeletePrefix("incidents/"), DeletePrefix("audit/"))
}

func contractStatus(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	st := s.Status(t.Context())
	if !st.Quorum || st.QuorumReason != "" || st.Leader != s.Name() || st.Epoch != e || len(st.Members) != len(c.stores) || len(st.Alarms) > 0 {
		t.Fatalf("status is %+v", st)
	}
	for i, m := range st.Members {
		if !m.Healthy || m.Problem != "" || m.Leader != (m.Name == s.Name()) || m.Name != fmt.Sprintf("server-%d", i+1) {
			t.Errorf("member is %+v", m)
		}
	}
}

// contractModel compares a random history with a map.
func contractModel(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	model := map[string]string{}
	w := s.Watch(t.Context(), "model/", 0)
	for step := range 60 {
		ops := map[string]Op{}
		for range 1 + rnd.IntN(5) {
			key := fmt.Sprintf("model/%d/%d", rnd.IntN(3), rnd.IntN(5))
			word := fmt.Sprint(step)
			if rnd.IntN(3) == 0 {
				ops[key] = Delete(key)
				delete(model, key)
			} else {
				ops[key] = Put(key, val(t, word))
				model[key] = word
			}
		}
		var list []Op
		for _, op := range ops {
			list = append(list, op)
		}
		commit(t, s, e, list...)
		diff(t, fmt.Sprintf("seed %d, step %d", seed, step), model, words(t, s, "model/"))
	}
	commit(t, s, e, Put("model/end", val(t, "end")))
	model["model/end"] = "end"
	seen := map[string]string{}
	for last := int64(0); seen["model/end"] == ""; {
		for _, ch := range next(t, w) {
			if ch.Record.Revision < last {
				t.Fatalf("revision %d was seen after %d", ch.Record.Revision, last)
			}
			var v thing
			switch ch.Kind {
			case Deleted:
				delete(seen, ch.Record.Key)
			case Written:
				if _, err := Decode(ch.Record, 1, &v); err != nil {
					t.Fatal(err)
				}
				seen[ch.Record.Key] = v.Word
			}
		}
	}
	diff(t, fmt.Sprintf("seed %d, watched", seed), model, seen)
}

func contractAnnounce(t *testing.T, c *cluster) {
	for _, s := range c.stores { // whoever leads
		if err := s.Announce(t.Context(), val(t, "I am "+s.Name())); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, c.stores[0].Announce(t.Context(), []byte("not encoded")), ErrBadOp)
	want := map[string]string{}
	for _, s := range c.stores {
		want[ServerKey(s.Name())] = "I am " + s.Name()
	}
	diff(t, "cards", want, words(t, c.stores[0], ServersPrefix))
	s, e := c.leader(t)
	commit(t, s, e, DeletePrefix(ServersPrefix))
}
