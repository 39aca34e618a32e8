package server

import (
	"fmt"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

// ahead counts the hosts whose agents know a later epoch: they refuse every order of this one. Hosts that have fallen silent
// keep their last word, or those that still speak would be most of the hosts just when others fail.
// host is one that has heard of the latest.
func (g *agents) ahead(epoch uint64) (a engine.Ahead, host string) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	a.Of = len(g.heard)
	for name, heard := range g.heard {
		if heard > epoch {
			a.Hosts++
		}
		if heard > max(epoch, a.Epoch) {
			a.Epoch, host = heard, name
		}
	}
	return a, host
}

// hears takes in that an agent has heard of an epoch from another server.
func (g *agents) hears(host string, epoch uint64) {
	g.mu.Lock()
	g.heard[host] = epoch
	g.mu.Unlock()
	g.sayAhead(epoch)
}

// sayAhead says, once in a leadership, that an agent has heard of a later epoch than the leader's. news is the epoch that came.
func (g *agents) sayAhead(news uint64) {
	l := g.s.leadership()
	if !l.Leader || news <= uint64(l.Epoch) || g.toldAhead.Load() == int64(l.Epoch) {
		return
	}
	a, host := g.ahead(uint64(l.Epoch))
	if a.Hosts == 0 || g.toldAhead.Swap(int64(l.Epoch)) == int64(l.Epoch) {
		return
	}
	text := fmt.Sprintf("%s's agent has heard of epoch %d, this leader's is %d: it refuses orders. If another server leads, that one is obeyed; if the database was replaced by one without its records, remove cluster.json from the data directory of each agent and restart it", host, a.Epoch, l.Epoch)
	g.s.trail.note(engine.Note{Severity: engine.Critical, Host: host, Text: text})
}
