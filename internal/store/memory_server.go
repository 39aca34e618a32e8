package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
)

// Memory is one server's store in a MemoryCluster.
type Memory struct {
	cluster *MemoryCluster
	name    string
	clock   Clock
	leads   announcer

	// Guarded by the cluster's lock.
	down, closed, deaf bool
	watches            map[*feed]watch
}

var _ Store = (*Memory)(nil)

// watch is what one watcher is to see next.
type watch struct {
	prefix string
	rev    int64 // seen up to here; 0: nothing
	stop   func() bool
}

// Name is this server's name.
func (m *Memory) Name() string { return m.name }

// Commit implements Store.
func (m *Memory) Commit(ctx context.Context, epoch Epoch, ops ...Op) (Permit, error) {
	c := m.cluster
	permit, err := begin(m.clock, c.permit, func() error { return m.holds(epoch) })
	if err != nil {
		return Permit{}, err
	}
	if err := checkOps(ops); err != nil {
		return Permit{}, err
	}
	if err := ctx.Err(); err != nil {
		return Permit{}, fmt.Errorf("cannot commit: %w", err)
	}
	if err := m.holds(epoch); err != nil {
		return Permit{}, fmt.Errorf("cannot commit: %w", err)
	}
	if err := c.travel(ctx, m.name, "commit", false); err != nil {
		return Permit{}, fmt.Errorf("cannot commit: %w", err)
	}
	if err := m.write(epoch, ops); err != nil {
		return Permit{}, fmt.Errorf("cannot commit: %w", err)
	}
	if err := c.travel(ctx, m.name, "commit", true); err != nil {
		return Permit{}, fmt.Errorf("cannot commit: %w: %w", ErrUncertain, err)
	}
	return permit, nil
}

// write carries operations out, if this server may.
func (m *Memory) write(epoch Epoch, ops []Op) error {
	c := m.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if err := m.holds(epoch); err != nil {
		return err
	}
	if err := c.fail(m); err != nil {
		return err
	}
	if epoch != c.epoch {
		return fmt.Errorf("%w: epoch %d isn't current", ErrDeposed, epoch)
	}
	c.apply(ops)
	if c.mute > 0 {
		c.mute--
		return fmt.Errorf("%w: %w: the answer was lost", ErrUncertain, ErrNoQuorum)
	}
	return nil
}

func (m *Memory) holds(epoch Epoch) error {
	if l := m.leads.current(); !l.Leader || l.Epoch != epoch {
		return notLeading(epoch, l)
	}
	return nil
}

// notLeading is ErrDeposed in words.
func notLeading(epoch Epoch, l Leadership) error {
	switch {
	case l.Leader:
		return fmt.Errorf("%w with epoch %d: it leads anew with epoch %d", ErrDeposed, epoch, l.Epoch)
	case l.LeaderName != "":
		return fmt.Errorf("%w with epoch %d: %s leads", ErrDeposed, epoch, l.LeaderName)
	}
	return fmt.Errorf("%w with epoch %d: no leader is known", ErrDeposed, epoch)
}

// Get implements Store.
func (m *Memory) Get(ctx context.Context, key string) (Record, error) {
	c := m.cluster
	if err := c.travel(ctx, m.name, "get", false); err != nil {
		return Record{}, fmt.Errorf("cannot read %s: %w", key, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := m.readable(ctx); err != nil {
		return Record{}, fmt.Errorf("cannot read %s: %w", key, err)
	}
	r, ok := c.records[key]
	if !ok {
		return Record{}, fmt.Errorf("%s: %w", key, ErrNotFound)
	}
	r.Value = bytes.Clone(r.Value)
	return r, nil
}

// List implements Store.
func (m *Memory) List(ctx context.Context, prefix string) ([]Record, int64, error) {
	c := m.cluster
	if err := c.travel(ctx, m.name, "list", false); err != nil {
		return nil, 0, fmt.Errorf("cannot list %q: %w", prefix, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := m.readable(ctx); err != nil {
		return nil, 0, fmt.Errorf("cannot list %q: %w", prefix, err)
	}
	return c.list(prefix), c.rev, nil
}

func (m *Memory) readable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return m.cluster.fail(m)
}

// Watch implements Store.
func (m *Memory) Watch(ctx context.Context, prefix string, fromRev int64) <-chan []Change {
	c := m.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	f := newFeed()
	if m.closed {
		f.close()
		return f.ch
	}
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(m.watches, f)
		f.close()
	})
	m.watches[f] = watch{prefix: prefix, rev: fromRev, stop: stop}
	m.catchUp()
	return f.ch
}

// catchUp gives every watcher of this server what it hasn't seen; the caller holds
// the cluster's lock. A server that is cut off sees nothing.
func (m *Memory) catchUp() {
	c := m.cluster
	if m.down {
		return
	}
	for f, w := range m.watches {
		if w.rev == 0 || w.rev < c.forgot || !m.replay(f, w) {
			f.push(resetBatch(c.list(w.prefix), c.rev))
		}
		// A watch may begin in the future: it stays there.
		w.rev = max(w.rev, c.rev)
		m.watches[f] = w
	}
}

func (m *Memory) replay(f *feed, w watch) bool {
	for _, commit := range m.cluster.history {
		if commit[0].Record.Revision <= w.rev {
			continue
		}
		var batch []Change
		for _, ch := range commit {
			if strings.HasPrefix(ch.Record.Key, w.prefix) {
				ch.Record.Value = bytes.Clone(ch.Record.Value)
				batch = append(batch, ch)
			}
		}
		if !f.push(batch) {
			return false
		}
	}
	return true
}

// Lead implements Store.
func (m *Memory) Lead(ctx context.Context) <-chan Leadership { return m.leads.subscribe(ctx) }

// Resign implements Store: the next server up, by name, leads.
func (m *Memory) Resign(ctx context.Context, to ...string) error {
	c := m.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := m.readable(ctx); err != nil {
		return fmt.Errorf("cannot hand leadership over: %w", err)
	}
	if c.leader != m.name {
		return fmt.Errorf("cannot hand leadership over: %w", notLeading(0, m.leads.current()))
	}
	for _, name := range c.names() {
		if name != m.name && !c.servers[name].down && (len(to) == 0 || slices.Contains(to, name)) {
			c.elect(name)
			return nil
		}
	}
	return fmt.Errorf("cannot hand leadership over: %w", ErrAlone)
}

// Status implements Store.
func (m *Memory) Status(context.Context) Status {
	c := m.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	st := Status{Quorum: true}
	if err := c.fail(m); err != nil {
		st.Quorum, st.QuorumReason = false, err.Error()
	} else {
		st.Epoch, st.Leader = c.epoch, c.leader
	}
	for _, name := range c.names() {
		mem := Member{Name: name, Healthy: !c.servers[name].down, Leader: name == st.Leader}
		if m.down && name != m.name {
			mem.Healthy = false
		}
		if !mem.Healthy {
			mem.Problem = "doesn't answer"
		}
		st.Members = append(st.Members, mem)
	}
	return st
}

// Close implements Store.
func (m *Memory) Close() error {
	c := m.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	m.leads.close()
	for f, w := range m.watches {
		w.stop()
		f.close()
	}
	clear(m.watches)
	c.setDown(m, true)
	return nil
}

// Announce implements Store.
func (m *Memory) Announce(ctx context.Context, card []byte) error {
	return announce(ctx, m.name, card, func(key, value string) error {
		c := m.cluster
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := c.fail(m); err != nil {
			return err
		}
		c.apply([]Op{Put(strings.TrimPrefix(key, root), []byte(value))})
		return nil
	})
}
