package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// Members implements api.Backend.
func (b *backend) Members(ctx context.Context) (api.Membership, error) {
	s := b.s
	is := s.store.Status(ctx)
	_, external := s.membership()
	out := api.Membership{Quorum: is.Quorum, Electing: is.Electing(), Reason: is.QuorumReason, Leader: is.Leader, Epoch: int64(is.Epoch), Format: s.written(), External: external != nil}
	for _, m := range is.Members {
		card := s.cards.get(m.Name)
		out.Servers = append(out.Servers, api.ClusterServer{
			Member: memberOf(m),
			Agents: card.Agents, API: card.API, Version: card.Version, Reads: card.Format, Since: card.At,
		})
	}
	return out, nil
}

// RemoveServer implements api.Backend.
func (b *backend) RemoveServer(ctx context.Context, by, name, reason string) (api.Reply, error) {
	text, err := b.act(ctx, by, "cluster remove "+name, reason, func(ctx context.Context, r *reign) (string, error) {
		m, ok := b.s.store.(remover)
		if !ok {
			return "", api.Conflict("", "this server's store has no servers to remove")
		}
		switch err := m.RemoveServer(ctx, name); {
		case errors.Is(err, store.ErrNotFound):
			return "", api.NotFound("`ninelives cluster list` shows the servers", "%v", err)
		case errors.Is(err, store.ErrRefused):
			return "", api.Conflict("", "%v", err)
		case err != nil:
			return "", err
		}
		text := name + " is no server of this cluster any more; stop it there if it still runs, what it has is worth nothing"
		// Its card names its admin token, which is good no longer.
		if _, err := b.s.store.Commit(ctx, r.epoch, store.Delete(store.ServerKey(name))); err != nil {
			text += fmt.Sprintf(" (its admin token is good until its card is gone, which failed: %v)", err)
		}
		if _, external := b.s.membership(); external == nil {
			text += spare(b.s.store.Status(ctx).Members)
		}
		return text, nil
	})
	return api.Reply{Text: text}, err
}

// spare says how many of the servers that are left may fail.
func spare(left []store.Member) string {
	voters, healthy := 0, 0
	for _, m := range left {
		switch {
		case m.Learner:
		case m.Healthy:
			voters, healthy = voters+1, healthy+1
		default:
			voters++
		}
	}
	more := max(0, healthy-voters/2-1)
	switch {
	case voters == 1:
		return ". One server is left: while it is down, nothing is decided or done (`ninelives server join` adds others)"
	case more == 0:
		return fmt.Sprintf(". Of the %d servers left, %d answer: from now on none of them may fail, or nothing is decided or done (`ninelives server join` adds one)", voters, healthy)
	}
	return fmt.Sprintf(". Of the %d servers left, %d answer: %d of them may fail", voters, healthy, more)
}

// backupWithin bounds one backup: 2 GiB at 10 MB/s.
const backupWithin = 4 * time.Minute

// Backup implements api.Backend.
func (b *backend) Backup(ctx context.Context, by string, w io.Writer) error {
	m, err := b.s.membership()
	if err != nil {
		return api.Conflict("", "%v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, backupWithin)
	defer cancel()
	if _, _, err := b.s.store.List(ctx, store.PolicyKey); err != nil { // linearizable: this server has all that was written until now
		return err
	}
	n, err := m.Backup(ctx, w)
	b.s.log.Info("a backup was taken", "by", by, "bytes", n, "error", err)
	return err
}
