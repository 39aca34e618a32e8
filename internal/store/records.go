package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
)

// bound gives a call its deadline and ends it with the store.
func (s *db) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, s.callTimeout)
	stop := context.AfterFunc(s.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// Commit implements Store.
func (s *Embedded) Commit(ctx context.Context, epoch Epoch, ops ...Op) (Permit, error) {
	permit, err := begin(s.o.Clock, s.o.Permit, func() error { return s.holds(epoch) })
	if err != nil {
		return Permit{}, err
	}
	if err := checkOps(ops); err != nil {
		return Permit{}, err
	}
	if err := ctx.Err(); err != nil {
		return Permit{}, fmt.Errorf("cannot commit: %w", err)
	}
	if err := s.holds(epoch); err != nil {
		return Permit{}, fmt.Errorf("cannot commit: %w", err)
	}
	if err := s.guarded(ctx, epoch, ops); err != nil {
		return Permit{}, fmt.Errorf("cannot commit: %w", err)
	}
	return permit, nil
}

// guarded writes under the epoch's guard, the one thing that a deposed leader
// can't get past, whatever it believes.
func (s *db) guarded(ctx context.Context, epoch Epoch, ops []Op) error {
	then := make([]clientv3.Op, 0, len(ops))
	for _, op := range ops {
		switch op.kind {
		case opPut:
			then = append(then, clientv3.OpPut(root+op.key, string(op.value)))
		case opDelete:
			then = append(then, clientv3.OpDelete(root+op.key))
		case opDeletePrefix:
			then = append(then, clientv3.OpDelete(root+op.key, clientv3.WithPrefix()))
		}
	}
	bounded, cancel := s.bound(ctx)
	defer cancel()
	resp, err := s.cli.Txn(bounded).
		If(s.guards(epoch)...).
		Then(then...).
		Commit()
	if err != nil {
		if err = s.problem(ctx, err); errors.Is(err, ErrNoSpace) || errors.Is(err, ErrTooLarge) {
			return err
		}
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	if !resp.Succeeded {
		s.kick()
		return fmt.Errorf("%w: epoch %d isn't current", ErrDeposed, epoch)
	}
	return nil
}

// Get implements Store.
func (s *db) Get(ctx context.Context, key string) (Record, error) {
	resp, err := s.read(ctx, root+key)
	if err != nil {
		return Record{}, fmt.Errorf("cannot read %s: %w", key, err)
	}
	if len(resp.Kvs) == 0 || key == epochKey {
		return Record{}, fmt.Errorf("%s: %w", key, ErrNotFound)
	}
	return record(resp.Kvs[0]), nil
}

// List implements Store.
func (s *db) List(ctx context.Context, prefix string) ([]Record, int64, error) {
	resp, err := s.read(ctx, root+prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, 0, fmt.Errorf("cannot list %q: %w", prefix, err)
	}
	var records []Record
	for _, kv := range resp.Kvs {
		if string(kv.Key) != root+epochKey {
			records = append(records, record(kv))
		}
	}
	return records, resp.Header.Revision, nil
}

func (s *db) read(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if err := s.alive(); err != nil {
		return nil, err
	}
	bounded, cancel := s.bound(ctx)
	defer cancel()
	resp, err := s.cli.Get(bounded, key, opts...)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return resp, nil
}

func record(kv *mvccpb.KeyValue) Record {
	return Record{Key: strings.TrimPrefix(string(kv.Key), root), Value: kv.Value, Revision: kv.ModRevision}
}

// problem tells a caller's own end of a call from one of ours.
func (s *db) problem(ctx context.Context, err error) error {
	if ctx.Err() == context.Canceled {
		return fmt.Errorf("%w (%v)", ctx.Err(), err)
	}
	return s.words(err)
}

// inWords is etcd's error as one of ours.
func (s *Embedded) inWords(err error) error {
	if closed := s.usable(); closed != nil {
		return closed
	}
	switch {
	case errors.Is(err, etcderrors.ErrNoSpace), errors.Is(err, rpctypes.ErrNoSpace), errors.Is(err, rpctypes.ErrGRPCNoSpace):
		return fmt.Errorf("%w: its quota of %d bytes is used up", ErrNoSpace, s.o.QuotaBytes)
	case errors.Is(err, etcderrors.ErrStopped), errors.Is(err, rpctypes.ErrGRPCStopped):
		return fmt.Errorf("%w: etcd has stopped", ErrClosed)
	case s.srv.Leader() == types.ID(0):
		return fmt.Errorf("%w: the servers have no leader (%v)", ErrNoQuorum, err)
	}
	// Whatever else etcd says, it gave no answer that counts.
	return fmt.Errorf("%w: %v", ErrNoQuorum, err)
}

// Backup writes a snapshot of the whole database to w, in the format that
// etcdutl restores, and gives its size in bytes. Only ctx bounds it.
func (s *Embedded) Backup(ctx context.Context, w io.Writer) (int64, error) {
	if err := s.usable(); err != nil {
		return 0, fmt.Errorf("cannot back up: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	snapshot, err := s.cli.Snapshot(ctx)
	if err != nil {
		return 0, fmt.Errorf("cannot back up: %w", s.problem(ctx, err))
	}
	defer snapshot.Close()
	n, err := io.Copy(w, snapshot)
	if err != nil {
		return n, fmt.Errorf("cannot back up: %w", err)
	}
	return n, nil
}
