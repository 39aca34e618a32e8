package server

import (
	"fmt"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

// ahead is what agents have heard of later epochs than one.
type ahead struct {
	hosts, linked int
	epoch         uint64 // the latest
	host          string // one that has heard of it
}

// ahead counts the linked hosts whose agents know a later epoch: they refuse every order of this one.
func (g *agents) ahead(epoch uint64) ahead {
	g.mu.RLock()
	defer g.mu.RUnlock()
	a := ahead{linked: len(g.obeyed)}
	for host, heard := range g.obeyed {
		if heard > epoch {
			a.hosts++
		}
		if heard > max(epoch, a.epoch) {
			a.epoch, a.host = heard, host
		}
	}
	return a
}

// superseded says that most hosts obey somebody else: a cluster that was restored from a backup while this one was away, and
// that works with the same hosts now. Two of them at once would each bring a host's VMs back. A single agent that says so
// stops nothing: it may be wrong, or lie.
func (g *agents) superseded(epoch uint64) string {
	a := g.ahead(epoch)
	if 2*a.hosts <= a.linked {
		return ""
	}
	return fmt.Sprintf("%d of %d linked hosts have heard of epoch %d, this leader's is %d: another cluster has taken them over. If one was restored from a backup, stop this server, move its etcd directory away and join that one; if this one's database began with nothing, remove cluster.json from the data directory of each agent and restart it", a.hosts, a.linked, a.epoch, epoch)
}

// sayAhead says, once in a leadership, that an agent has heard of a later epoch than the leader's.
func (g *agents) sayAhead() {
	l := g.s.leadership()
	if !l.Leader || g.toldAhead.Load() == int64(l.Epoch) {
		return
	}
	a := g.ahead(uint64(l.Epoch))
	if a.hosts == 0 || g.toldAhead.Swap(int64(l.Epoch)) == int64(l.Epoch) {
		return
	}
	text := fmt.Sprintf("%s's agent has heard of epoch %d, this leader's is %d: it refuses orders. If another server leads, that one is obeyed; if the database was replaced by one without its records, remove cluster.json from the data directory of each agent and restart it", a.host, a.epoch, l.Epoch)
	g.s.trail.note(engine.Note{Severity: engine.Critical, Host: a.host, Text: text})
}
