package server

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/proto/peerv1"
)

// membership is a store whose servers can be changed; external etcd's can't from here.
type membership interface {
	AddServer(ctx context.Context, name, address string) (store.Ticket, error)
	Promote(ctx context.Context) (string, error)
	RemoveServer(ctx context.Context, name string) error
	Backup(ctx context.Context, w io.Writer) (int64, error)
}

// remover is a store that a server can be taken out of.
type remover interface {
	RemoveServer(ctx context.Context, name string) error
}

var errExternal = errors.New("the database is an etcd of your own: its members are changed and backed up with etcdctl; a ninelives server of it needs no joining, and leaves by being stopped (ninelives cluster remove then forgets it)")

func (s *Server) membership() (membership, error) {
	m, ok := s.store.(membership)
	if !ok {
		return nil, errExternal
	}
	return m, nil
}

// Join implements transport.PeerHandler: the leader lets a new server in. Another server says whom to ask.
func (p *peers) Join(ctx context.Context, from string, j *peerv1.JoinRequest) (*peerv1.JoinTicket, error) {
	s := p.s
	r := s.reign.Load()
	if r == nil {
		l := s.leadership()
		if l.LeaderName == "" || l.Leader {
			return &peerv1.JoinTicket{Wait: "no server leads now (see ninelives status)"}, nil
		}
		ticket := &peerv1.JoinTicket{Leader: l.LeaderName}
		if at := s.cards.get(l.LeaderName).Agents; len(at) > 0 {
			ticket.LeaderAddress = at[0]
		}
		return ticket, nil
	}
	m, err := s.membership()
	if err != nil {
		return nil, err
	}
	ticket, err := m.AddServer(ctx, from, j.GetAddress())
	if errors.Is(err, store.ErrNotYet) || errors.Is(err, store.ErrNoQuorum) {
		return &peerv1.JoinTicket{Wait: err.Error()}, nil
	}
	text := fmt.Sprintf("server %s (%s) may join", from, j.GetAddress())
	entry := api.AuditEntry{Who: "server " + from, What: "server join " + from, OK: err == nil, Reply: text}
	if err != nil {
		entry.Reply = err.Error()
	}
	_ = (&backend{s: s}).audit(ctx, r, entry) // logged there; the newcomer can't do anything about it
	if err != nil {
		return nil, err
	}
	return &peerv1.JoinTicket{Token: ticket.Token, Servers: ticket.Servers}, nil
}

// promote gives a server that has joined and has caught up its vote.
func (s *Server) promote(r *reign) {
	m, err := s.membership()
	if err != nil {
		return
	}
	if _, err := m.Promote(r.ctx); err != nil && r.ctx.Err() == nil {
		s.log.Warn("a server that has joined has no vote yet", "error", err)
	}
}
