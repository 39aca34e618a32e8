package server

import (
	"fmt"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

// fewestAhead hosts must know of a later epoch before it counts: one agent alone may be wrong, or lie.
const fewestAhead = 2

// ahead is what agents have heard of later epochs than one.
type ahead struct {
	hosts, of int
	epoch     uint64 // the latest
	host      string // one that has heard of it
}

// ahead counts the hosts whose agents know a later epoch: they refuse every order of this one. Hosts that have fallen silent
// keep their last word, or those that still speak would be most of the hosts just when others fail.
func (g *agents) ahead(epoch uint64) ahead {
	g.mu.RLock()
	defer g.mu.RUnlock()
	a := ahead{of: len(g.heard)}
	for host, heard := range g.heard {
		if heard > epoch {
			a.hosts++
		}
		if heard > max(epoch, a.epoch) {
			a.epoch, a.host = heard, host
		}
	}
	return a
}

// hears takes in that an agent has heard of an epoch from another server.
func (g *agents) hears(host string, epoch uint64) {
	g.mu.Lock()
	g.heard[host] = epoch
	g.mu.Unlock()
	g.sayAhead(epoch)
}

// superseded says that most hosts obey somebody else: a cluster that was restored from a backup while this one was away, and
// that works with the same hosts now. Two of them at once would each bring a host's VMs back.
func (g *agents) superseded(epoch uint64) string {
	a := g.ahead(epoch)
	if a.hosts < fewestAhead || 2*a.hosts <= a.of {
		return ""
	}
	return fmt.Sprintf("%d of %d hosts have heard of epoch %d, this leader's is %d: another cluster has taken them over. If one was restored from a backup, stop this server, move its etcd directory away and join that one; if this one's database began with nothing, remove cluster.json from the data directory of each agent and restart it", a.hosts, a.of, a.epoch, epoch)
}

// sayAhead says, once in a leadership, that an agent has heard of a later epoch than the leader's. news is the epoch that came.
func (g *agents) sayAhead(news uint64) {
	l := g.s.leadership()
	if !l.Leader || news <= uint64(l.Epoch) || g.toldAhead.Load() == int64(l.Epoch) {
		return
	}
	a := g.ahead(uint64(l.Epoch))
	if a.hosts == 0 || g.toldAhead.Swap(int64(l.Epoch)) == int64(l.Epoch) {
		return
	}
	text := fmt.Sprintf("%s's agent has heard of epoch %d, this leader's is %d: it refuses orders. If another server leads, that one is obeyed; if the database was replaced by one without its records, remove cluster.json from the data directory of each agent and restart it", a.host, a.epoch, l.Epoch)
	g.s.trail.note(engine.Note{Severity: engine.Critical, Host: a.host, Text: text})
}
