package quiet

import (
	"container/heap"
	"time"
)

// queue holds what is going to happen, in the order of time, then of entry.
type queue struct {
	events []*event
	seq    int
}

type event struct {
	at  time.Duration
	seq int
	do  func()
}

func (q *queue) add(at time.Duration, do func()) {
	q.seq++
	heap.Push(q, &event{at, q.seq, do})
}

// next is when the next event is due; false if there is none.
func (q *queue) next() (time.Duration, bool) {
	if len(q.events) == 0 {
		return 0, false
	}
	return q.events[0].at, true
}

func (q *queue) take() *event { return heap.Pop(q).(*event) }

// Len implements heap.Interface.
func (q *queue) Len() int { return len(q.events) }

// Less implements heap.Interface.
func (q *queue) Less(i, j int) bool {
	a, b := q.events[i], q.events[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

// Swap implements heap.Interface.
func (q *queue) Swap(i, j int) { q.events[i], q.events[j] = q.events[j], q.events[i] }

// Push implements heap.Interface.
func (q *queue) Push(x any) { q.events = append(q.events, x.(*event)) }

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(q.events) - 1
	e := q.events[last]
	q.events[last] = nil
	q.events = q.events[:last]
	return e
}
