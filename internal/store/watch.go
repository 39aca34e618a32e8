package store

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// retryAfter is the pause before a watch that broke is begun anew.
const retryAfter = 200 * time.Millisecond

// Watch implements Store.
func (s *db) Watch(ctx context.Context, prefix string, fromRev int64) <-chan []Change {
	f := newFeed()
	started := s.task(func() {
		defer f.close()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.life, cancel)()
		for rev := fromRev; ctx.Err() == nil; {
			if rev == 0 {
				if records, at, err := s.List(ctx, prefix); err == nil {
					f.push(resetBatch(records, at))
					rev = at
				}
			}
			if rev != 0 {
				rev = s.follow(ctx, f, prefix, rev)
			}
			pause(ctx, retryAfter)
		}
	})
	if !started {
		f.close()
	}
	return f.ch
}

// follow pushes what happens after rev until that ends, and gives where to go on;
// 0: with a list.
func (s *db) follow(ctx context.Context, f *feed, prefix string, rev int64) int64 {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range s.cli.Watch(ctx, root+prefix, clientv3.WithPrefix(), clientv3.WithRev(rev+1)) {
		if resp.CompactRevision != 0 {
			return 0
		}
		if resp.Err() != nil {
			return rev
		}
		var batch []Change
		for _, ev := range resp.Events {
			rev = ev.Kv.ModRevision
			switch {
			case string(ev.Kv.Key) == root+epochKey:
			case ev.Type == clientv3.EventTypeDelete:
				batch = append(batch, Change{Kind: Deleted, Record: record(ev.Kv)})
			default:
				batch = append(batch, Change{Kind: Written, Record: record(ev.Kv)})
			}
		}
		if !f.push(batch) {
			return 0
		}
	}
	return rev
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
