package store

import (
	"context"
	"fmt"
	"testing"
)

func contractWatch(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	commit(t, s, e, Put("watch/a", val(t, "1")), Put("watch/b", val(t, "1")))
	_, rev, err := s.List(t.Context(), "watch/")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	commit(t, s, e, Put("watch/c", val(t, "2")), Delete("watch/a"), Put("elsewhere", val(t, "2")))
	w := s.Watch(ctx, "watch/", rev)
	got := next(t, w)
	diff(t, "changes since", map[string]bool{`written watch/c {"v":1,"word":"2"}`: true, "deleted watch/a": true}, set(story(got)))
	for _, ch := range got {
		if ch.Record.Revision <= rev {
			t.Errorf("%s has revision %d, expected one above %d", ch.Record.Key, ch.Record.Revision, rev)
		}
	}
	commit(t, s, e, DeletePrefix("watch/"))
	diff(t, "later change", map[string]bool{"deleted watch/b": true, "deleted watch/c": true}, set(story(next(t, w))))

	commit(t, s, e, Put("watch/d", val(t, "3")))
	fresh := next(t, s.Watch(ctx, "watch/", 0))
	diff(t, "watch from nothing", []string{"reset", `written watch/d {"v":1,"word":"3"}`}, story(fresh))
	if fresh[0].Record.Revision <= rev {
		t.Errorf("the reset has revision %d, expected one above %d", fresh[0].Record.Revision, rev)
	}
	cancel()
	for range w { // ends, or the test times out
	}
}

func set(in []string) map[string]bool {
	out := map[string]bool{}
	for _, s := range in {
		out[s] = true
	}
	return out
}

func contractCompaction(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	commit(t, s, e, Put("compaction/a", val(t, "1")))
	_, rev, err := s.List(t.Context(), "compaction/")
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, e, Put("compaction/a", val(t, "2")))
	commit(t, s, e, Put("compaction/b", val(t, "2")))
	c.compact(t)
	w := s.Watch(t.Context(), "compaction/", rev)
	diff(t, "first batch", []string{"reset", `written compaction/a {"v":1,"word":"2"}`, `written compaction/b {"v":1,"word":"2"}`}, story(next(t, w)))
	commit(t, s, e, Delete("compaction/a"))
	diff(t, "then", []string{"deleted compaction/a"}, story(next(t, w)))
}

// contractSlowWatch: who reads late still ends up with the truth, and never gets
// a batch without bounds.
func contractSlowWatch(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	w := s.Watch(t.Context(), "slow/", 0)
	for round := range 3 {
		var ops []Op
		for i := range MaxOps {
			ops = append(ops, Put(fmt.Sprintf("slow/%04d", i), val(t, fmt.Sprint(round))))
		}
		commit(t, s, e, ops...)
	}
	commit(t, s, e, Put("slow/last", val(t, "x")))
	seen := map[string]string{}
	for seen["slow/last"] == "" {
		batch := next(t, w)
		if len(batch) > 2*maxPending {
			t.Errorf("a batch has %d changes", len(batch))
		}
		for _, ch := range batch {
			var v thing
			switch ch.Kind {
			case Reset:
				clear(seen)
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
	diff(t, "seen", words(t, s, "slow/"), seen)
	commit(t, s, e, DeletePrefix("slow/"))
}
