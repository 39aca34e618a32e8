package server

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// How much is decided before it is written: enough for a wave, little enough that no act waits for it.
const (
	batchRecords = 512
	batchFor     = 20 * time.Millisecond
)

// batch is what several steps of the engine ask for, in the order they asked.
type batch struct {
	written   map[string]any // by key: the last value of each, nil to delete
	actions   []engine.Action
	notes     []engine.Note
	replies   []engine.Reply
	withdrawn []engine.Withdrawn
	begun     time.Time
}

func (b *batch) add(eff engine.Effects) {
	if b.written == nil {
		b.written, b.begun = map[string]any{}, time.Now()
	}
	for _, r := range eff.Records {
		b.written[r.Key] = r.Value
	}
	b.actions = append(b.actions, eff.Actions...)
	b.notes = append(b.notes, eff.Notes...)
	b.replies = append(b.replies, eff.Replies...)
	b.withdrawn = append(b.withdrawn, eff.Withdrawn...)
}

// full: it is time to write and to begin. Steps that decided nothing cost nothing, however many.
func (b *batch) full() bool {
	if len(b.written) == 0 && len(b.actions) == 0 && len(b.replies) == 0 {
		return len(b.notes) > batchRecords
	}
	return len(b.written) >= batchRecords || len(b.replies) > 0 || time.Since(b.begun) > batchFor
}

func (b *batch) reset() { *b = batch{} }

// records are in the engine's order, which counts when they don't fit into one transaction: VMs before their incident,
// incidents before hosts. Whoever finds an incident planned must find all of its VMs.
func (b *batch) records() []engine.Record {
	out := make([]engine.Record, 0, len(b.written))
	for _, k := range slices.SortedFunc(maps.Keys(b.written), func(x, y string) int {
		return cmp.Or(rank(x)-rank(y), cmp.Compare(x, y))
	}) {
		out = append(out, engine.Record{Key: k, Value: b.written[k]})
	}
	return out
}

func rank(key string) int {
	switch {
	case strings.Contains(key, "/servers/"):
		return 0
	case strings.HasPrefix(key, store.IncidentsPrefix):
		return 1
	default:
		return 2
	}
}

// commit writes the records in their order, in as few transactions as the store allows. The permit counts from the
// beginning of the last one, which holds or follows every intent.
func (r *reign) commit(records []engine.Record) (store.Permit, error) {
	var permit store.Permit
	if len(records) == 0 {
		return permit, nil // an act without a record of its own proves the leadership when it is sent
	}
	txs, err := transactions(records)
	if err != nil {
		return permit, err
	}
	began := time.Now()
	for _, ops := range txs {
		if permit, err = r.s.store.Commit(r.ctx, r.epoch, ops...); err != nil {
			return store.Permit{}, err
		}
	}
	r.s.metrics.committed(time.Since(began))
	return permit, nil
}

// transactions splits records by what one transaction may carry, leaving a quarter of its bytes unused.
func transactions(records []engine.Record) (txs [][]store.Op, err error) {
	var ops []store.Op
	size := 0
	for _, rec := range records {
		op, bytes := store.Delete(rec.Key), len(rec.Key)
		if rec.Value != nil {
			value, err := store.Encode(format, rec.Value)
			if err != nil {
				return nil, err
			}
			op, bytes = store.Put(rec.Key, value), bytes+len(value)
		}
		if bytes > store.MaxBytes {
			return nil, fmt.Errorf("the record %s has %d bytes, more than the store takes at once", rec.Key, bytes)
		}
		if len(ops) == store.MaxOps || len(ops) > 0 && size+bytes > store.MaxBytes*3/4 {
			txs = append(txs, ops)
			ops, size = nil, 0
		}
		ops = append(ops, op)
		size += bytes
	}
	if len(ops) > 0 {
		txs = append(txs, ops)
	}
	return txs, nil
}
