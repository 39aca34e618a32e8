package store

import (
	"context"
	"sync"
)

// feed hands batches of changes to one watcher and never blocks the one who
// pushes: what wasn't fetched yet grows into one batch, up to a limit.
type feed struct {
	mu     sync.Mutex
	ch     chan []Change // holds the one waiting batch; only push and close send or close
	closed bool
}

func newFeed() *feed { return &feed{ch: make(chan []Change, 1)} }

// push adds a batch. False: the watcher is too far behind, what waited was
// dropped; the next batch must begin with a Reset.
func (f *feed) push(batch []Change) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || len(batch) == 0 {
		return true
	}
	var waiting []Change
	select {
	case waiting = <-f.ch:
	default:
	}
	switch {
	case batch[0].Kind == Reset:
		waiting = batch
	case len(waiting) > 0 && len(waiting)+len(batch) > maxPending && !freshList(waiting, batch):
		return false
	default:
		waiting = append(waiting, batch...)
	}
	f.ch <- waiting
	return true
}

// freshList: a list longer than the limit may still wait, else it would be
// dropped at each change and made anew for ever.
func freshList(waiting, batch []Change) bool {
	if waiting[0].Kind != Reset {
		return false
	}
	rev := waiting[0].Record.Revision
	later := len(batch)
	for i := len(waiting) - 1; i > 0 && waiting[i].Record.Revision > rev; i-- {
		later++
	}
	return later <= maxPending
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.ch)
	}
}

// resetBatch is a list as a batch for a watcher.
func resetBatch(records []Record, rev int64) []Change {
	batch := make([]Change, 0, len(records)+1)
	batch = append(batch, Change{Kind: Reset, Record: Record{Revision: rev}})
	for _, r := range records {
		batch = append(batch, Change{Kind: Written, Record: r})
	}
	return batch
}

// announcer tells its subscribers who leads.
type announcer struct {
	mu     sync.Mutex
	now    Leadership
	subs   map[chan Leadership]func() bool // value: no more waiting for the context's end
	closed bool
}

func (a *announcer) current() Leadership {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now
}

// announce tells everybody, unless nothing changed; true if something did.
func (a *announcer) announce(l Leadership) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.now == l {
		return false
	}
	a.now = l
	for ch := range a.subs {
		offer(ch, l)
	}
	return true
}

// offer replaces what ch holds; only its announcer sends, under its lock.
func offer(ch chan Leadership, l Leadership) {
	select {
	case <-ch:
	default:
	}
	ch <- l
}

func (a *announcer) subscribe(ctx context.Context) <-chan Leadership {
	ch := make(chan Leadership, 1)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		close(ch)
		return ch
	}
	ch <- a.now
	if a.subs == nil {
		a.subs = map[chan Leadership]func() bool{}
	}
	a.subs[ch] = context.AfterFunc(ctx, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if _, ours := a.subs[ch]; ours {
			delete(a.subs, ch)
			close(ch)
		}
	})
	return ch
}

// close tells that leadership is over, if it was ours, and ends all subscriptions.
func (a *announcer) close() {
	a.announce(Leadership{})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for ch, stop := range a.subs {
		stop()
		delete(a.subs, ch)
		close(ch)
	}
}
