package store

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// probeTimeout is how long another server may take to say that it is there.
	probeTimeout = time.Second
	// quorumTimeout is how long a read through the quorum may take before Status
	// calls it gone.
	quorumTimeout = 2 * time.Second
)

// Status implements Store.
func (s *Embedded) Status(ctx context.Context) Status {
	st := Status{QuotaBytes: s.o.QuotaBytes}
	if err := s.usable(); err != nil {
		st.QuorumReason = err.Error()
		return st
	}
	ctx, cancel := context.WithTimeout(ctx, quorumTimeout)
	defer cancel()
	var asked sync.WaitGroup
	asked.Go(func() { st.Members = s.members(ctx) })
	read, elected, err := s.readOver(ctx, root+epochKey)
	asked.Wait()

	st.Leader = s.nameOf(s.srv.Leader())
	for i := range st.Members {
		st.Members[i].Leader = st.Members[i].Name == st.Leader
	}
	st.Quorum, st.elected = err == nil, elected
	if err != nil {
		s.askLeader(st.Members)
		st.QuorumReason = quorumReason(st.Members, err)
	} else if len(read.Kvs) > 0 {
		st.Epoch = Epoch(read.Kvs[0].ModRevision)
	}
	st.DBBytes, st.DBInUseBytes = s.srv.Backend().Size(), s.srv.Backend().SizeInUse()
	for _, a := range s.srv.Alarms() {
		st.Alarms = append(st.Alarms, s.alarm(a))
	}
	return st
}

// readOver reads over an election: what was asked when another leader is elected gets no answer, mostly, so it is asked
// again, until ctx ends. elected: one was meanwhile.
func (s *Embedded) readOver(ctx context.Context, key string) (resp *clientv3.GetResponse, elected bool, err error) {
	for {
		changed := s.srv.LeaderChangedNotify() // before it is asked, or a change in between is missed
		one, cancel := context.WithCancel(ctx)
		go func() {
			select {
			case <-changed:
				cancel()
			case <-one.Done():
			}
		}()
		resp, err = s.read(one, key)
		cancel()
		again := false
		select {
		case <-changed:
			elected, again = true, err != nil && ctx.Err() == nil
		default:
		}
		if !again {
			return resp, elected, err
		}
	}
}

// askLeader asks the leader once more whether it is there: it may have vanished since it was asked.
func (s *Embedded) askLeader(members []Member) {
	lead := s.srv.Cluster().Member(s.srv.Leader())
	if lead == nil || lead.ID == s.srv.MemberID() || len(lead.PeerURLs) == 0 {
		return
	}
	if err := s.ask(s.life, lead.PeerURLs[0]); err != nil { // within probeTimeout
		for i, m := range members {
			if m.Name == s.nameOf(lead.ID) {
				members[i].found(err)
			}
		}
	}
}

// quorumReason says who is missing, or what else it is; why each of them is missing is said of each of them.
func quorumReason(members []Member, err error) string {
	var missing []string
	for _, m := range members {
		if !m.Healthy {
			missing = append(missing, m.Name)
		}
	}
	text := fmt.Sprintf("%d of %d servers answer", len(members)-len(missing), len(members))
	if len(missing) > 0 {
		text += ", not " + strings.Join(missing, ", ")
	}
	if 2*len(missing) < len(members) {
		text += "; yet nothing can be read: " + strings.TrimPrefix(err.Error(), ErrNoQuorum.Error()+": ")
	}
	return text
}

func (s *Embedded) alarm(a *etcdserverpb.AlarmMember) string {
	who := s.nameOf(types.ID(a.MemberID))
	switch a.Alarm {
	case etcdserverpb.AlarmType_NOSPACE:
		return fmt.Sprintf("NOSPACE: the database of %s has reached its quota of %d bytes, nothing can be written: shorten the history kept and reclaim space", who, s.o.QuotaBytes)
	case etcdserverpb.AlarmType_CORRUPT:
		return fmt.Sprintf("CORRUPT: the database of %s differs from the others': stop that server and replace it", who)
	}
	return fmt.Sprintf("%s on %s", a.Alarm, who)
}

// members asks all servers at once whether they are there.
func (s *Embedded) members(ctx context.Context) []Member {
	var out []Member
	var asked sync.WaitGroup
	known := s.srv.Cluster().Members()
	out = make([]Member, len(known))
	for i, m := range known {
		out[i] = Member{Name: s.nameOf(m.ID), Healthy: true}
		out[i].Learner = m.IsLearner
		if !s.o.lone && len(m.PeerURLs) > 0 {
			out[i].Address = hostPort(m.PeerURLs[0])
		}
		if m.ID == s.srv.MemberID() || len(m.PeerURLs) == 0 {
			continue
		}
		asked.Go(func() {
			out[i].found(s.ask(ctx, m.PeerURLs[0]))
		})
	}
	asked.Wait()
	sortMembers(out)
	return out
}

// found takes in what came of asking a member.
func (m *Member) found(err error) {
	if m.Healthy = err == nil; err != nil {
		m.Problem, m.Foreign = err.Error(), errors.Is(err, errForeign)
	}
}

func sortMembers(list []Member) {
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
}

// errForeign: what answers is a server, but none of this cluster.
var errForeign = errors.New("belongs to another cluster")

// ask is nil if a member of our cluster answers at this address.
func (s *Embedded) ask(ctx context.Context, peer string) error {
	id, err := runsAt(ctx, s.probe, peer)
	if unknownCA(err) {
		return fmt.Errorf("doesn't answer: %w (%s)", err, anotherCA)
	}
	if why, ok := errors.AsType[*url.Error](err); ok {
		if why.Timeout() {
			return errors.New("doesn't answer in time")
		}
		err = why.Err // its address is known
	}
	if why, ok := errors.AsType[*net.OpError](err); ok {
		err = why.Err
	}
	switch {
	case err != nil:
		return fmt.Errorf("doesn't answer: %w", err)
	case id == "":
		return errors.New("doesn't answer: what answers there is no server")
	case id != s.srv.Cluster().ID().String():
		return fmt.Errorf("%w (%s)", errForeign, id)
	}
	return nil
}

// anotherCA is what a certificate of an unknown authority mostly means.
const anotherCA = "another CA: did it get the right bundle?"

func unknownCA(err error) bool {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	return unknown
}

// runsAt is the cluster of the server that answers at a peer URL; "" if what answers is none.
func runsAt(ctx context.Context, probe *http.Client, peer string) (cluster string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, peer+"/members", nil)
	if err != nil {
		return "", err
	}
	resp, err := probe.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	return resp.Header.Get("X-Etcd-Cluster-ID"), nil
}

// nameOf is a server's name; of one that has never run, only who let it in knows that,
// and it bears its address as its name elsewhere, unless the cluster began with it.
func (s *Embedded) nameOf(id types.ID) string {
	m := s.srv.Cluster().Member(id)
	if m == nil {
		return ""
	}
	if m.Name != "" {
		return m.Name
	}
	if n := s.newcomer.Load(); n != nil && n.id == id {
		return n.name
	}
	for _, u := range m.PeerURLs {
		for name, addr := range s.dir.id.Servers {
			if hostPort(u) == addr {
				return name
			}
		}
	}
	if len(m.PeerURLs) > 0 {
		return hostPort(m.PeerURLs[0])
	}
	return id.String()
}

func (s *Embedded) idOf(name string) types.ID {
	for _, m := range s.srv.Cluster().Members() {
		if s.nameOf(m.ID) == name {
			return m.ID
		}
	}
	return types.ID(0)
}

func hostPort(peerURL string) string {
	u, err := url.Parse(peerURL)
	if err != nil {
		return peerURL
	}
	return u.Host
}

// Reclaim gives this server's unused space back to the disk and ends its NOSPACE
// alarm: history up to now is forgotten, the database rewritten. Writes wait
// meanwhile (about a second per 100 MB); to be called on each server, after
// something was deleted. Errors: ErrNoQuorum, ErrClosed; only ctx bounds it.
func (s *Embedded) Reclaim(ctx context.Context) error {
	_, rev, err := s.List(ctx, epochKey)
	if err != nil {
		return fmt.Errorf("cannot reclaim space: %w", err)
	}
	// Compacting twice at one revision is refused: that is as good as done.
	if _, err := s.cli.Compact(ctx, rev, clientv3.WithCompactPhysical()); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("cannot reclaim space: %w", s.problem(ctx, err))
	}
	if err := s.srv.Backend().Defrag(); err != nil {
		return fmt.Errorf("cannot reclaim space: %w", err)
	}
	for _, a := range s.srv.Alarms() {
		if a.Alarm != etcdserverpb.AlarmType_NOSPACE || types.ID(a.MemberID) != s.srv.MemberID() {
			continue
		}
		if _, err := s.cli.AlarmDisarm(ctx, (*clientv3.AlarmMember)(a)); err != nil {
			return fmt.Errorf("cannot end the alarm: %w", s.problem(ctx, err))
		}
	}
	return nil
}
