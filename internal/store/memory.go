package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxHistory is how many commits a MemoryCluster remembers for watches that
// begin in the past.
const maxHistory = 4096

// MemoryOptions say what cluster NewMemory makes.
type MemoryOptions struct {
	Servers []string      // names; the first one leads. Default: "server-1" alone
	Permit  time.Duration // how long permits are good; default DefaultPermit
	Clock   Clock         // default SystemClock

	// ByHand: nobody is elected, deposed or told anything by himself when a server is cut off or comes back; Elect,
	// Depose and Tell do it. For simulations in which that takes time.
	ByHand bool
	// Travel is where a call of a server spends its time, on its way to the others (back is false) and with its answer
	// (back is true). An error is what became of the call; on the way back what it wrote is written all the same. Nil:
	// no time, no trouble. It is called without any lock.
	Travel func(ctx context.Context, server, call string, back bool) error
}

// MemoryCluster is a quorum of servers in memory. It has no time and no
// goroutines of its own: elections and failures happen when it is told so.
type MemoryCluster struct {
	permit time.Duration
	byHand bool
	travel func(ctx context.Context, server, call string, back bool) error

	mu      sync.Mutex
	rev     int64
	records map[string]Record
	history [][]Change // by commit, oldest first
	forgot  int64      // history up to this revision is gone
	epoch   Epoch
	leader  string
	servers map[string]*Memory
	mute    int // so many commits get no answer
}

// NewMemory makes a cluster in memory, all servers up.
func NewMemory(o MemoryOptions) *MemoryCluster {
	if len(o.Servers) == 0 {
		o.Servers = []string{"server-1"}
	}
	if o.Permit == 0 {
		o.Permit = DefaultPermit
	}
	if o.Clock == nil {
		o.Clock = SystemClock{}
	}
	if o.Travel == nil {
		o.Travel = func(context.Context, string, string, bool) error { return nil }
	}
	c := &MemoryCluster{permit: o.Permit, byHand: o.ByHand, travel: o.Travel, records: map[string]Record{}, servers: map[string]*Memory{}}
	for _, name := range o.Servers {
		c.servers[name] = &Memory{cluster: c, name: name, clock: o.Clock, watches: map[*feed]watch{}}
	}
	c.Elect(o.Servers[0])
	return c
}

// Server is the store as the named server sees it; nil if there is none.
func (c *MemoryCluster) Server(name string) *Memory { return c.servers[name] }

// Elect makes the named server the leader, with a new epoch, even if it leads
// already; "" leaves the cluster without a leader. A server that is down, or that
// has no majority, can't be elected: then nobody leads.
func (c *MemoryCluster) Elect(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.elect(name)
}

func (c *MemoryCluster) elect(name string) {
	s := c.servers[name]
	if s == nil || s.down || !c.quorum() {
		name = ""
	}
	c.leader = name
	if name != "" {
		c.rev++
		c.epoch = Epoch(c.rev)
	}
	for _, s := range c.servers {
		if s.deaf {
			continue
		}
		s.leads.announce(c.standing(s))
	}
}

// SetDown cuts a server off from the others, or brings it back. If the leader is
// lost and a majority remains, the first server up (by name) leads.
func (c *MemoryCluster) SetDown(name string, down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.servers[name]
	if s == nil || s.closed {
		return
	}
	c.setDown(s, down)
}

func (c *MemoryCluster) setDown(s *Memory, down bool) {
	s.down = down
	if c.byHand {
		if !down {
			s.catchUp()
		}
		return
	}
	next := c.leader
	switch l := c.servers[c.leader]; {
	case !c.quorum():
		next = ""
	case l == nil || l.down:
		next = c.names()[slices.IndexFunc(c.names(), func(n string) bool { return !c.servers[n].down })]
	}
	if next != c.leader {
		c.elect(next)
	} else if s.name != c.leader {
		known := c.leader
		if down {
			known = ""
		}
		s.leads.announce(Leadership{LeaderName: known})
	}
	if !down {
		s.catchUp()
	}
}

// LoseAnswers lets the next n commits be written but end with ErrUncertain.
func (c *MemoryCluster) LoseAnswers(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute = n
}

// Compact forgets the history: watches that begin before now start with a Reset.
func (c *MemoryCluster) Compact() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history, c.forgot = nil, c.rev
}

func (c *MemoryCluster) names() []string {
	names := make([]string, 0, len(c.servers))
	for name := range c.servers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (c *MemoryCluster) up() int {
	n := 0
	for _, s := range c.servers {
		if !s.down {
			n++
		}
	}
	return n
}

func (c *MemoryCluster) quorum() bool { return c.up() > len(c.servers)/2 }

// list is what List gives; the caller holds the lock.
func (c *MemoryCluster) list(prefix string) []Record {
	var out []Record
	for key, r := range c.records {
		if strings.HasPrefix(key, prefix) {
			r.Value = bytes.Clone(r.Value)
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// apply carries out checked operations as one revision and tells the watchers.
func (c *MemoryCluster) apply(ops []Op) {
	rev := c.rev + 1
	var changes []Change
	drop := func(key string) {
		if _, there := c.records[key]; there {
			delete(c.records, key)
			changes = append(changes, Change{Kind: Deleted, Record: Record{Key: key, Revision: rev}})
		}
	}
	for _, op := range ops {
		switch op.kind {
		case opPut:
			r := Record{Key: op.key, Value: bytes.Clone(op.value), Revision: rev}
			c.records[op.key] = r
			changes = append(changes, Change{Kind: Written, Record: r})
		case opDelete:
			drop(op.key)
		case opDeletePrefix:
			for _, r := range c.list(op.key) {
				drop(r.Key)
			}
		}
	}
	if len(changes) == 0 {
		return
	}
	c.rev = rev
	c.history = append(c.history, changes)
	if over := len(c.history) - maxHistory; over > 0 {
		c.forgot = c.history[over-1][0].Record.Revision
		c.history = slices.Delete(c.history, 0, over)
	}
	for _, s := range c.servers {
		s.catchUp()
	}
}

func (c *MemoryCluster) fail(s *Memory) error {
	switch {
	case s.closed:
		return ErrClosed
	case s.down:
		return fmt.Errorf("%w: %s is cut off from the others", ErrNoQuorum, s.name)
	case !c.quorum():
		return fmt.Errorf("%w: %d of %d servers are up", ErrNoQuorum, c.up(), len(c.servers))
	}
	return nil
}
