package server

import (
	"context"
	"fmt"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// outlook is a store that can look for servers of another cluster at addresses that the configuration names.
type outlook interface {
	Strangers(ctx context.Context) []store.Member
}

func (s *Server) strangers(ctx context.Context) []api.Member {
	if o, ok := s.store.(outlook); ok {
		return membersOf(o.Strangers(ctx))
	}
	return nil
}

// roster is how the servers stand at one time.
type roster struct {
	members, strangers []api.Member
	quorum             bool
}

// lookAround keeps what was seen of the servers, and tells of another cluster once, when it is first seen. It comes after
// the engine was told: the strangers may let us wait for a second.
func (s *Server) lookAround(r *reign, st store.Status) {
	now := &roster{members: membersOf(st.Members), strangers: s.strangers(r.ctx), quorum: st.Quorum}
	if r.ctx.Err() != nil {
		return
	}
	before := r.roster.Swap(now)
	if before != nil && len(otherClusters(before.members, before.strangers)) > 0 {
		return
	}
	for _, c := range otherClusters(now.members, now.strangers) {
		s.trail.note(engine.Note{Severity: engine.Critical, Text: c.text()})
	}
}

// otherCluster is what is to be said of another cluster's servers.
type otherCluster struct{ what, do string }

func (c otherCluster) text() string {
	return "two clusters for the same hosts: " + c.what + "; " + c.do
}

// otherClusters: after a restore on one server, old ones that start again with their old database are a second cluster. Both
// would fence the same hosts, and each bring their VMs back. The old side sees a member that is none of it, the restored one
// sees strangers.
func otherClusters(members, strangers []api.Member) []otherCluster {
	var out []otherCluster
	if who := foreignOf(members); who != "" {
		out = append(out, otherCluster{
			what: "another cluster's server answers at the address of " + who + ", a server of this one",
			do: "if that one was restored from a backup, it goes on: stop the servers of this cluster, move etcd out of their data directories, `ninelives server join` there; " +
				"else stop that server, `ninelives cluster replace` it, move its etcd away, `ninelives server join` there",
		})
	}
	if who := foreignOf(strangers); who != "" {
		out = append(out, otherCluster{
			what: "another cluster's servers answer at addresses that this server's cluster.initial names: " + who,
			do:   "stop them, move etcd out of their data directories, `ninelives server join` there; if they are none of yours, correct cluster.initial",
		})
	}
	return out
}

// foreignOf names the servers of another cluster among these.
func foreignOf(list []api.Member) string {
	var out []string
	for _, m := range list {
		if m.Foreign {
			out = append(out, fmt.Sprintf("%s (%s)", m.Name, m.Address))
		}
	}
	return strings.Join(out, ", ")
}
