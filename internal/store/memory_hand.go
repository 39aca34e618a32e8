package store

// What a simulation does to a cluster in memory whose servers learn of each other by its hand (MemoryOptions.ByHand).

// Records are all there are, as they are, by key: the truth, whoever may read it.
func (c *MemoryCluster) Records(prefix string) []Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list(prefix)
}

// Leader is the leader elected last, "" for none, and its epoch. It need not know, nor any other server.
func (c *MemoryCluster) Leader() (string, Epoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leader, c.epoch
}

// SetDeaf keeps a server from hearing who leads, as one that is paused or cut off: it goes on in its belief. Hearing
// again, it is told what is.
func (c *MemoryCluster) SetDeaf(name string, deaf bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.servers[name]
	if s.deaf = deaf; !deaf && !s.closed {
		s.leads.announce(c.standing(s))
	}
}

// Depose tells a server that it doesn't lead and that nobody is known who does: it has heard of no majority for an
// election timeout.
func (c *MemoryCluster) Depose(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers[name].leads.announce(Leadership{})
}

// SetClock changes the clock that a server's permits are read from.
func (c *MemoryCluster) SetClock(name string, clock Clock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers[name].clock = clock
}

// standing is what a server that hears knows; the caller holds the lock.
func (c *MemoryCluster) standing(s *Memory) Leadership {
	switch {
	case s.down:
		return Leadership{}
	case s.name == c.leader:
		return Leadership{Leader: true, Epoch: c.epoch, LeaderName: s.name}
	}
	return Leadership{LeaderName: c.leader}
}
