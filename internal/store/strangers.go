package store

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Strangers are the servers of another cluster that answer now at addresses that the configuration names and no member
// has. After Restore these are old servers that have started again with their old database: two clusters then, for the
// same hosts. All are asked at once, each for a second at most; who doesn't answer is none.
func (s *Embedded) Strangers(ctx context.Context) []Member {
	if s.o.lone || s.usable() != nil {
		return nil
	}
	members := slices.Collect(maps.Values(s.Servers()))
	var mu sync.Mutex
	var out []Member
	var asked sync.WaitGroup
	for name, address := range s.o.Initial {
		if name == s.o.Name || slices.Contains(members, address) {
			continue
		}
		asked.Go(func() {
			m := Member{Name: name, Address: address}
			if m.found(s.ask(ctx, s.o.scheme()+"://"+address)); !m.Foreign {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, m)
		})
	}
	asked.Wait()
	sortMembers(out)
	return out
}
