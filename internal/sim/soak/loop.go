package soak

import (
	"cmp"
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"testing/synctest"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// loop owns a run's time, chance and world. All that happens outside of the servers happens in its goroutine, one thing
// after the other: before each it waits until every other goroutine of the bubble stands still.
type loop struct {
	w     *world.World
	rng   *rand.Rand
	began time.Time
	queue agenda
	seq   uint64
	steps uint64
	check func() // after each step

	mu     sync.Mutex
	posted []post
	nudge  chan struct{}

	sum   uint64   // of the trace
	lines []string // the trace, if it is kept
	keep  bool
}

// post is what a server wants done outside.
type post struct {
	key string // for an order that doesn't depend on who came first
	do  func()
}

// due is a thing to be done at a time.
type due struct {
	at  time.Time
	seq uint64
	do  func()
}

type agenda []due

func (q agenda) Len() int { return len(q) }
func (q agenda) Less(i, j int) bool {
	return cmp.Or(q[i].at.Compare(q[j].at), cmp.Compare(q[i].seq, q[j].seq)) < 0
}
func (q agenda) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *agenda) Push(x any)   { *q = append(*q, x.(due)) }
func (q *agenda) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = due{}
	*q = old[:len(old)-1]
	return last
}

func newLoop(seed uint64, w *world.World, keep bool) *loop {
	return &loop{
		w: w, rng: rand.New(rand.NewPCG(seed, 0x736f616b)), began: time.Now(), nudge: make(chan struct{}, 1), keep: keep,
		sum: 14695981039346656037, check: func() {}, // FNV's offset basis
	}
}

// post hands something over from any goroutine.
func (l *loop) post(key string, do func()) {
	l.mu.Lock()
	l.posted = append(l.posted, post{key, do})
	l.mu.Unlock()
	select {
	case l.nudge <- struct{}{}:
	default:
	}
}

// after plans something. Only for what runs in the loop's goroutine, as are all methods that follow.
func (l *loop) after(d time.Duration, do func()) {
	l.seq++
	heap.Push(&l.queue, due{at: time.Now().Add(max(d, 0)), seq: l.seq, do: do})
}

// run lets things happen until a moment, or until done says so.
func (l *loop) run(until time.Time, done func() bool) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		synctest.Wait()
		l.collect()
		now := time.Now()
		if l.step(now) {
			continue
		}
		if !now.Before(until) || done != nil && done() {
			return
		}
		timer.Reset(l.next(until).Sub(now))
		select {
		case <-timer.C:
		case <-l.nudge:
		}
	}
}

// collect takes what was posted, in an order of its own.
func (l *loop) collect() {
	l.mu.Lock()
	posted := l.posted
	l.posted = nil
	l.mu.Unlock()
	slices.SortStableFunc(posted, func(a, b post) int { return cmp.Compare(a.key, b.key) })
	for _, p := range posted {
		p.do()
	}
}

// step does the one next thing that is due.
func (l *loop) step(now time.Time) bool {
	if at, any := l.w.Next(); any && !at.After(now) || l.w.Now().Before(now) {
		l.w.Advance(now)
	}
	if len(l.queue) == 0 || l.queue[0].at.After(now) {
		l.check()
		return false
	}
	d := heap.Pop(&l.queue).(due)
	l.steps++
	replayMark(l.steps)
	d.do()
	l.check()
	return true
}

func (l *loop) next(until time.Time) time.Time {
	next := until
	if len(l.queue) > 0 && l.queue[0].at.Before(next) {
		next = l.queue[0].at
	}
	if at, any := l.w.Next(); any && at.Before(next) {
		next = at
	}
	return next
}

// span draws a time between two.
func (l *loop) span(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(l.rng.Int64N(int64(to-from)))
}

// note adds a line to the trace.
func (l *loop) note(format string, args ...any) {
	line := fmt.Sprintf("%9.4f ", time.Since(l.began).Seconds()) + fmt.Sprintf(format, args...)
	h := fnv.New64a()
	_, _ = h.Write([]byte(line)) // never fails
	l.sum = (l.sum ^ h.Sum64()) * 1099511628211
	if l.keep {
		l.lines = append(l.lines, line)
	}
}
