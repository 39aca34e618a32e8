package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
)

// ErrRefused: the servers aren't changed as asked, since the quorum would be lost or
// isn't known to survive it. Nothing was changed.
var ErrRefused = errors.New("the servers stay as they are")

// ErrNotYet is an ErrRefused whose reason may pass by itself.
var ErrNotYet = fmt.Errorf("%w for the moment", ErrRefused)

// followEvery is how often a server looks whether the servers have changed.
const followEvery = time.Second

// Servers are the cluster addresses of all servers, by name, as far as this one knows.
func (s *Embedded) Servers() map[string]string {
	out := map[string]string{}
	for _, m := range s.srv.Cluster().Members() {
		if len(m.PeerURLs) > 0 {
			out[s.nameOf(m.ID)] = hostPort(m.PeerURLs[0])
		}
	}
	return out
}

// AddServer lets a server with this name and cluster address join: it copies the
// records first, and gets its vote by Promote. The ticket is what its PrepareJoin
// needs. To ask again for the same server is fine. Errors: ErrRefused, ErrNoQuorum.
func (s *Embedded) AddServer(ctx context.Context, name, address string) (Ticket, error) {
	fail := func(err error) (Ticket, error) {
		return Ticket{}, fmt.Errorf("cannot let %s join: %w", name, err)
	}
	if s.o.lone {
		return fail(fmt.Errorf("%w: this server has no cluster address: name it under cluster.initial with one that others can reach, and start it again", ErrRefused))
	}
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" || port == "0" {
		return fail(fmt.Errorf("%w: its address %q must be host:port", ErrRefused, address))
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	expected := s.expected()
	for _, m := range s.members(ctx) {
		switch {
		case m.Learner && m.Address == address && (m.Name == name || expected != 0):
			s.expect(expected, name)
			return s.ticket(name, address), nil
		case m.Learner && m.Name == name:
			return fail(fmt.Errorf("%w: it was let in with the address %s, and asks with %s now; first, on a server that works: ninelives cluster remove %s --reason WHY", ErrRefused, m.Address, address, m.Name))
		case m.Learner:
			return fail(fmt.Errorf("%w: %s (%s) is joining, one at a time; if it never comes: ninelives cluster remove %s --reason WHY", ErrNotYet, m.Name, m.Address, m.Name))
		case m.Name == name:
			return fail(fmt.Errorf("%w: a server of this name is a member already (%s); one that is lost must be removed first", ErrRefused, m.Address))
		case m.Address == address:
			return fail(fmt.Errorf("%w: %s has the address %s", ErrRefused, m.Name, address))
		case !m.Healthy:
			return fail(fmt.Errorf("%w: %s %s; with one more server and that one missing, less could fail than now: repair or remove it first", ErrRefused, m.Name, m.Problem))
		}
	}
	urls, err := types.NewURLs([]string{s.o.scheme() + "://" + address})
	if err != nil {
		return fail(fmt.Errorf("%w: %v", ErrRefused, err))
	}
	now := time.Now()
	member := membership.NewMemberAsLearner("", urls, s.o.ClusterToken, &now)
	if _, err := s.srv.AddMember(ctx, *member); err != nil {
		return fail(s.changeProblem(ctx, err))
	}
	s.expect(member.ID, name)
	s.o.Logger.Info("a server joins", "server", name, "address", address)
	return s.ticket(name, address), nil
}

// newcomer is a server that this one has let in: until it has run, etcd doesn't know its name.
type newcomer struct {
	id   types.ID
	name string
}

func (s *Embedded) expect(id types.ID, name string) { s.newcomer.Store(&newcomer{id, name}) }

// expected is the member that was let in and has never run, 0 if there is none; etcd lets one in at a time.
func (s *Embedded) expected() types.ID {
	for _, m := range s.srv.Cluster().Members() {
		if m.IsLearner && m.Name == "" {
			return m.ID
		}
	}
	return 0
}

func (s *Embedded) ticket(name, address string) Ticket {
	servers := s.Servers()
	maps.DeleteFunc(servers, func(_, a string) bool { return a == address })
	servers[name] = address
	return Ticket{Token: s.o.ClusterToken, Servers: servers}
}

// Promote gives a vote to the server that has joined and has caught up, if there is
// one. Who hasn't caught up yet isn't an error.
func (s *Embedded) Promote(ctx context.Context) (name string, err error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	for _, m := range s.srv.Cluster().Members() {
		if !m.IsLearner || m.Name == "" { // never ran
			continue
		}
		_, err := s.srv.PromoteMember(ctx, uint64(m.ID))
		switch {
		case errors.Is(err, etcderrors.ErrLearnerNotReady), errors.Is(err, rpctypes.ErrMemberLearnerNotReady):
			return "", nil
		case err != nil:
			return "", fmt.Errorf("cannot give %s its vote: %w", m.Name, s.changeProblem(ctx, err))
		}
		s.o.Logger.Info("a server has its vote", "server", m.Name)
		return m.Name, nil
	}
	return "", nil
}

// RemoveServer takes a server out for good: what it has is worth nothing after. One
// that was let in through another server and has never run is named by its address.
// Errors: ErrNotFound, ErrRefused (also for this server itself), ErrNoQuorum.
func (s *Embedded) RemoveServer(ctx context.Context, name string) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	fail := func(err error) error { return fmt.Errorf("cannot remove %s: %w", name, err) }
	members := s.members(ctx)
	at := slices.IndexFunc(members, func(m Member) bool { return m.Name == name })
	if at < 0 {
		at = slices.IndexFunc(members, func(m Member) bool { return m.Learner && m.Address == name })
	}
	if at < 0 {
		return fail(fmt.Errorf("%w: no server has this name; there are %s", ErrNotFound, namesOf(members)))
	}
	name = members[at].Name
	if why := missed(members, at); why != "" {
		return fail(fmt.Errorf("%w: %s", ErrRefused, why))
	}
	if name == s.o.Name {
		return fail(fmt.Errorf("%w: %s was asked (the leader is), and a server doesn't remove itself: stop it, then ask another one", ErrRefused, name))
	}
	if _, err := s.srv.RemoveMember(ctx, uint64(s.idOf(name))); err != nil {
		return fail(s.changeProblem(ctx, err))
	}
	s.o.Logger.Info("a server was removed", "server", name)
	return nil
}

// namesOf lists servers for people.
func namesOf(members []Member) string {
	var out []string
	for _, m := range members {
		name := m.Name
		if m.Learner {
			name += " (joining)"
		}
		out = append(out, name)
	}
	return strings.Join(out, ", ")
}

// missed says why the quorum would be lost without the one at this place: of those
// that stay, a majority must be healthy now. "" if it goes on.
func missed(members []Member, at int) string {
	var lost []string
	stay, healthy := 0, 0
	for i, m := range members {
		switch {
		case i == at || m.Learner:
		case m.Healthy:
			stay, healthy = stay+1, healthy+1
		default:
			stay, lost = stay+1, append(lost, m.Name+" "+m.Problem)
		}
	}
	if members[at].Learner || healthy > stay/2 {
		return ""
	}
	if stay == 0 {
		return "it is the only server, and nothing would be left; to use Ninelives no longer, disarm and stop it"
	}
	return fmt.Sprintf("only %d of the %d servers that would be left can be reached (%s): nothing could be decided any more", healthy, stay, strings.Join(lost, "; "))
}

// changeProblem is etcd's refusal of a change in our words.
func (s *Embedded) changeProblem(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, etcderrors.ErrUnhealthy), errors.Is(err, etcderrors.ErrNotEnoughStartedMembers), errors.Is(err, membership.ErrTooManyLearners):
		return fmt.Errorf("%w: not all servers have been connected for the last 5 s, or too few have started: try again, or see which one is missing (%v)", ErrNotYet, err)
	case errors.Is(err, membership.ErrIDRemoved), errors.Is(err, membership.ErrIDNotFound):
		return fmt.Errorf("%w: %v", ErrNotFound, err)
	}
	return s.problem(ctx, err)
}

// followServers keeps in mind who the servers are, for the next start.
func (s *Embedded) followServers() {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.life.Done():
			return
		case <-tick.C:
		}
		if err := s.settleAddress(); err != nil {
			s.o.Logger.Warn("this server's own address isn't known to the cluster yet", "error", err)
		}
		if err := s.dir.note(s.Servers()); err != nil {
			s.o.Logger.Warn("cannot note who the servers are", "error", err)
		}
	}
}

// settleAddress tells the cluster the address of a server that began without one.
func (s *Embedded) settleAddress() error {
	own := s.srv.Cluster().Member(s.srv.MemberID())
	want := s.o.scheme() + "://" + s.o.Initial[s.o.Name]
	if own == nil || s.o.lone || slices.Contains(own.PeerURLs, want) || !s.raftLeads() {
		return nil
	}
	ctx, cancel := s.bound(s.life)
	defer cancel()
	_, err := s.cli.MemberUpdate(ctx, uint64(own.ID), []string{want})
	return err
}

// nobodyElse refuses to start beside another server that answers at this one's
// address: both would speak with one voice, and the quorum would count it twice.
func (s *Embedded) nobodyElse() error {
	if s.o.lone {
		return nil
	}
	own := s.o.Initial[s.o.Name]
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	if id, err := runsAt(ctx, s.probe, s.o.scheme()+"://"+own); err != nil || id == "" {
		return nil // as it should be; who else has the port is told when it is bound
	}
	return fmt.Errorf("another server answers at %s, which is this server's own cluster address: do two servers have the name %q, is it still running elsewhere, or was the data directory %s copied?", own, s.o.Name, s.o.DataDir)
}

// Announce implements Store.
func (s *db) Announce(ctx context.Context, card []byte) error {
	if err := s.alive(); err != nil {
		return fmt.Errorf("cannot announce this server: %w", err)
	}
	return announce(ctx, s.name, card, func(key, value string) error {
		bounded, cancel := s.bound(ctx)
		defer cancel()
		if _, err := s.cli.Put(bounded, key, value); err != nil {
			return s.problem(ctx, err)
		}
		return nil
	})
}

func announce(ctx context.Context, name string, card []byte, put func(key, value string) error) error {
	err := ctx.Err()
	if err == nil {
		if bad := checkOp(Put(ServerKey(name), card)); bad != nil {
			err = fmt.Errorf("%w: %v", ErrBadOp, bad)
		}
	}
	if err == nil {
		err = put(root+ServerKey(name), string(card))
	}
	if err != nil {
		return fmt.Errorf("cannot announce this server: %w", err)
	}
	return nil
}
