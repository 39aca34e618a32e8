package store

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// pruneBatch is how many records one transaction of Prune removes: small enough
// that the commits of a running recovery don't wait behind it.
const pruneBatch = 256

// Prune deletes the records directly under prefix ("incidents/") that old says may
// go, each together with all records below it. old must say yes only to what
// nobody writes any more: a closed incident. It gives how many went; an error
// ends it, with what was deleted before staying deleted.
func Prune(ctx context.Context, s Store, epoch Epoch, prefix string, old func(Record) bool) (int, error) {
	records, _, err := s.List(ctx, prefix)
	if err != nil {
		return 0, fmt.Errorf("cannot prune %s: %w", prefix, err)
	}
	var keys []string
	for _, r := range records {
		if name := strings.TrimPrefix(r.Key, prefix); !strings.Contains(name, "/") && old(r) {
			keys = append(keys, r.Key)
		}
	}
	pruned := 0
	for len(keys) > 0 {
		n := min(pruneBatch, len(keys))
		var ops []Op
		for _, key := range keys[:n] {
			ops = append(ops, Delete(key), DeletePrefix(key+"/"))
		}
		if _, err := s.Commit(ctx, epoch, ops...); err != nil {
			return pruned, fmt.Errorf("cannot prune %s after %d records: %w", prefix, pruned, err)
		}
		pruned += n
		keys = keys[n:]
	}
	return pruned, nil
}

// PruneAudit deletes the audit entries from before a time. Keys that no AuditKey
// made stay.
func PruneAudit(ctx context.Context, s Store, epoch Epoch, before time.Time) (int, error) {
	return Prune(ctx, s, epoch, AuditPrefix, func(r Record) bool {
		t, err := AuditTime(r.Key)
		return err == nil && t.Before(before)
	})
}
