package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

const tokensPrefix = "tokens/"

// tokens keeps join tokens in the store. Only the leader reads and writes them, under one epoch: what another leader
// redeemed in between makes the write fail.
type tokens struct {
	s  *Server
	mu sync.Mutex
}

// Create stores a new token's record.
func (t *tokens) Create(ctx context.Context, r pki.TokenRecord) error {
	reign := t.s.reign.Load()
	if reign == nil {
		return errNotLeading
	}
	return t.write(ctx, reign.epoch, r)
}

// Redeem lets use decide about the record and stores what it returns.
func (t *tokens) Redeem(ctx context.Context, id string, use func(pki.TokenRecord) (pki.TokenRecord, error)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	reign := t.s.reign.Load() // before the record is read: a later epoch could be blind for what happened in between
	if reign == nil {
		return errNotLeading
	}
	rec, err := t.s.store.Get(ctx, tokensPrefix+id)
	if errors.Is(err, store.ErrNotFound) {
		return pki.ErrNoToken
	} else if err != nil {
		return err
	}
	var token pki.TokenRecord
	if _, err := store.Decode(rec, format, &token); err != nil {
		return err
	}
	used, err := use(token)
	if err != nil {
		return err
	}
	return t.write(ctx, reign.epoch, used)
}

func (t *tokens) write(ctx context.Context, epoch store.Epoch, r pki.TokenRecord) error {
	value, err := store.Encode(format, r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err = t.s.store.Commit(ctx, epoch, store.Put(tokensPrefix+r.ID, value))
	return err
}
