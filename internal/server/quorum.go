package server

import (
	"net"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// quorumEvery is how often the leader looks how the servers stand.
const quorumEvery = 3 * time.Second

// watchQuorum tells the engine, while a reign lasts, how the servers stand and which hosts' machines carry them: none
// may be fenced whose server the quorum needs.
func (s *Server) watchQuorum(r *reign) {
	tick := time.NewTicker(quorumEvery)
	defer tick.Stop()
	var told engine.QuorumChanged
	for {
		st := s.store.Status(r.ctx)
		s.meet(st)
		now := s.standing(st)
		now.Ahead, _ = s.agents.ahead(uint64(r.epoch))
		if r.ctx.Err() != nil {
			return
		}
		s.promote(r)
		s.raiseFormat(r, st)
		if !reflect.DeepEqual(told, now) {
			r.in.put(now)
			told = now
		}
		s.lookAround(r, st)
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// assumed is what a new reign begins with, until the servers have been asked: as few healthy ones as a leader can have.
func (s *Server) assumed() engine.QuorumChanged {
	n := max(1, len(s.servers()))
	return engine.QuorumChanged{Self: s.ownHost(), Members: n, Healthy: n/2 + 1, On: s.carriers()}
}

func (s *Server) standing(st store.Status) engine.QuorumChanged {
	q := s.assumed()
	if len(st.Members) == 0 {
		return q
	}
	q.Members, q.Healthy, q.Lost = 0, 0, map[string]bool{}
	for _, m := range st.Members {
		if m.Learner {
			continue // no vote, no part of the quorum
		}
		if q.Members++; m.Healthy {
			q.Healthy++
		} else {
			q.Lost[m.Name] = true
		}
	}
	return q
}

// meet takes in who the servers are.
func (s *Server) meet(st store.Status) {
	now := map[string]string{}
	for _, m := range st.Members {
		if m.Address != "" {
			now[m.Name] = m.Address
		}
	}
	if len(now) > 0 {
		s.members.Store(&now)
	}
}

// servers are the cluster addresses by name: as last known, before that as the cluster began.
func (s *Server) servers() map[string]string {
	if now := s.members.Load(); now != nil {
		return *now
	}
	return s.cfg.Cluster.Initial
}

// carriers are the hosts whose machines carry servers: this server's own, and those that have a server's cluster
// address on one of their planes.
func (s *Server) carriers() map[string]string {
	on := map[string]string{}
	for name, addr := range s.servers() {
		host, _, err := net.SplitHostPort(addr)
		if ip := net.ParseIP(host); err != nil || ip != nil && (ip.IsLoopback() || ip.IsUnspecified()) {
			continue
		}
		for _, h := range s.agents.at(host) {
			on[h] = name
		}
	}
	if own := s.ownHost(); own != "" {
		on[own] = s.cfg.Name
	}
	return on
}

// ownHost is the compute host on whose machine this server runs: the configured one, else the one whose agent runs
// under the very kernel that this server runs under. Where several say so, nobody can tell, and the configuration must.
func (s *Server) ownHost() string {
	if s.cfg.Host != "" || s.boot == "" {
		return s.cfg.Host
	}
	if same := s.agents.running(s.boot); len(same) == 1 {
		return same[0]
	}
	return ""
}

// ownBoot is this machine's boot, "" if it can't be read.
func ownBoot() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}
