package soak

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/store"
)

const (
	// election is the servers' election timeout, as internal/server sets it for etcd.
	election = 2 * time.Second
	// callWithin bounds a call of the store, as the embedded one does.
	callWithin = 5 * time.Second
)

// quorum is how the servers hear of each other: who can lead, who knows of it, and when.
type quorum struct {
	c       *cluster
	mem     *store.MemoryCluster
	cut     map[string]bool    // cut off from all other servers
	full    map[string]bool    // its disk is full
	lost    map[[2]string]bool // what the first sends doesn't reach the second
	changes int                // what was planned before the last one is void
}

// clock is a server's clocks, for its permits: virtual time and the jumps of its wall clock.
type clock struct {
	began time.Time
	jump  time.Duration
}

func (k *clock) Boot() (time.Duration, error) { return time.Since(k.began), nil }
func (k *clock) Wall() time.Time              { return time.Now().Round(0).Add(k.jump) }

// memory is the store as one process sees it; what a dead process asks reaches nobody.
type memory struct {
	store.Store
	l *life
}

func (m memory) Commit(ctx context.Context, epoch store.Epoch, ops ...store.Op) (store.Permit, error) {
	if m.l.killed() {
		return store.Permit{}, fmt.Errorf("%w: %w", store.ErrClosed, errKilled)
	}
	return m.Store.Commit(ctx, epoch, ops...)
}

func (m memory) Close() error { return nil }

// travel is where the calls of the store spend their time.
func (q *quorum) travel(ctx context.Context, name, call string, back bool) error {
	l := q.c.lives[name]
	if l == nil {
		return nil // before the servers run
	}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	t := &trip{what: call, there: [2]time.Duration{ms(1), ms(4)}}
	if t.point = call == "commit"; back {
		t.what += "ted"
	}
	t.do = func(t *trip) {
		switch {
		case q.stranded(name):
			t.lost = true
		case q.full[name] && call == "commit" && !back:
			t.err = fmt.Errorf("%w: %s", store.ErrNoSpace, name)
		}
	}
	err := l.travel(ctx, t)
	switch {
	case err == nil, errors.Is(err, store.ErrNoSpace):
		return err
	case errors.Is(err, errKilled):
		return fmt.Errorf("%w: %w", store.ErrClosed, err)
	}
	return fmt.Errorf("%w: %w: %w", store.ErrUncertain, store.ErrNoQuorum, err)
}

// able are the servers that take part with each other now.
func (q *quorum) able() []string {
	var out []string
	for _, name := range q.c.names {
		if l := q.c.lives[name]; l != nil && !l.killed() && !l.paused() && !q.cut[name] {
			out = append(out, name)
		}
	}
	return out
}

func (q *quorum) majority() bool { return len(q.able()) > len(q.c.names)/2 }

// reaches: the server and a majority hear each other, itself included.
func (q *quorum) reaches(name string) bool {
	n := 0
	for _, other := range q.able() {
		if !q.lost[[2]string{name, other}] && !q.lost[[2]string{other, name}] {
			n++
		}
	}
	return n > len(q.c.names)/2
}

// stranded: the server takes part with no majority, or its leader doesn't hear it or isn't heard by it.
func (q *quorum) stranded(name string) bool {
	if !slices.Contains(q.able(), name) || !q.majority() {
		return true
	}
	leader, _ := q.mem.Leader()
	return !q.reaches(name) || leader != "" && (q.lost[[2]string{name, leader}] || q.lost[[2]string{leader, name}])
}

// changed is to be called when a server was killed, started, paused, cut off, or the contrary. Who is in trouble hears
// nothing; who leads without a majority steps down after an election timeout; the others elect after another.
func (q *quorum) changed() {
	q.changes++
	able := q.able()
	leader, _ := q.mem.Leader()
	for _, name := range q.c.names {
		in := slices.Contains(able, name)
		q.mem.SetDown(name, !in)
		if !in || len(q.lost) > 0 && !q.hears(name, leader) {
			q.mem.SetDeaf(name, true)
			if l := q.c.lives[name]; l != nil && !l.killed() && !l.paused() {
				q.later(election, func() { q.mem.Depose(name) })
			}
			continue
		}
		q.c.after(q.c.span(ms(5), ms(60)), func() {
			if leader, _ := q.mem.Leader(); slices.Contains(q.able(), name) && q.hears(name, leader) {
				q.mem.SetDeaf(name, false)
			}
		})
	}
	if leader != "" && slices.Contains(able, leader) && q.majority() && q.reaches(leader) {
		return
	}
	q.later(q.c.span(election, 2*election), q.elect)
	if !q.majority() {
		for _, name := range able {
			q.later(election, func() { q.mem.Depose(name) })
		}
	}
}

// later does something unless things have changed meanwhile.
func (q *quorum) later(d time.Duration, do func()) {
	n := q.changes
	q.c.after(d, func() {
		if n == q.changes {
			do()
		}
	})
}

// hears: what the leader says reaches the server; one that reaches no majority leads nobody.
func (q *quorum) hears(name, leader string) bool {
	return name == leader && q.reaches(name) || name != leader && (leader == "" || !q.lost[[2]string{leader, name}])
}

func (q *quorum) elect() {
	able := slices.DeleteFunc(q.able(), func(name string) bool { return !q.reaches(name) })
	if len(able) == 0 || !q.majority() {
		q.mem.Elect("")
		return
	}
	name := able[q.c.rng.IntN(len(able))]
	for _, other := range q.able() {
		q.mem.SetDeaf(other, !q.hears(other, name))
	}
	q.mem.Elect(name)
	q.c.electedAt = time.Now()
	_, epoch := q.mem.Leader()
	q.c.note("%s is elected, epoch %d", name, epoch)
}
