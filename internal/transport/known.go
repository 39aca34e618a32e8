package transport

import (
	"context"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

const (
	// knownMost bounds what an agent takes in of one list: more servers than any quorum has, more addresses than any has.
	knownMost = 16
	// learnedWithin is how long an agent waits, at most, before it goes to an address that it was told: those of its
	// configuration come first, and 10,000 agents don't come to a new server in one instant.
	learnedWithin = 5 * time.Second
	// spareLook is how often the way to a server that is reached on another one is looked at.
	spareLook = 2 * time.Second
	// knownAgain is how long after a failure what is known is saved again.
	knownAgain = 5 * time.Second
)

// Known is what an agent has heard of its cluster, remembered from one run of it to the next.
type Known struct {
	// Epoch is the highest that a server has mentioned: orders of an older one are of a leader that has a successor.
	Epoch uint64
	// Revision is that of Servers: a list with a lower one is older.
	Revision uint64
	// Servers are the agents' ports of all servers, HOST:PORT, by the server's name.
	Servers map[string][]string
}

func (k Known) equal(o Known) bool {
	return k.Epoch == o.Epoch && k.Revision == o.Revision && sameServers(k.Servers, o.Servers)
}

func sameServers(a, b map[string][]string) bool { return maps.EqualFunc(a, b, slices.Equal) }

// Known is what this agent knows now.
func (u *Uplinks) Known() Known {
	u.mu.Lock()
	defer u.mu.Unlock()
	k := u.known
	k.Epoch = u.epochs.Highest()
	return k
}

// learn takes in how the servers are reached, unless something newer is known. What can't be an address is left out.
func (u *Uplinks) learn(m *agentv1.Servers) {
	servers := serversOf(m)
	u.mu.Lock()
	defer u.mu.Unlock()
	if m.GetRevision() < u.known.Revision || len(servers) == 0 {
		return
	}
	changed := !sameServers(servers, u.known.Servers)
	if u.known.Revision, u.known.Servers = m.GetRevision(), servers; changed {
		u.log.Info("how the servers are reached has changed", "revision", m.GetRevision(), "servers", servers)
		u.adjust()
	}
	u.note()
}

// serversOf bounds and checks a list.
func serversOf(m *agentv1.Servers) map[string][]string {
	out := map[string][]string{}
	for _, s := range m.GetServers() {
		if pki.ValidName(s.GetName()) != nil || len(out) == knownMost {
			continue
		}
		for _, a := range s.GetAddresses() {
			host, port, err := net.SplitHostPort(a)
			n, perr := strconv.ParseUint(port, 10, 16)
			if err == nil && perr == nil && host != "" && n != 0 && len(a) < 300 && len(out[s.GetName()]) < knownMost {
				out[s.GetName()] = append(out[s.GetName()], a)
			}
		}
	}
	return out
}

// note has what is known saved.
func (u *Uplinks) note() {
	select {
	case u.learned <- struct{}{}:
	default:
	}
}

// heardEpoch takes note of an epoch that a server mentions.
func (u *Uplinks) heardEpoch(epoch uint64) {
	before := u.epochs.Highest()
	u.epochs.See(epoch)
	if epoch > before {
		u.note()
	}
}

// remember saves what is known whenever that has changed, and once more at the end.
func (u *Uplinks) remember(ctx context.Context) {
	saved, again := u.o.Known, true
	for again {
		select {
		case <-ctx.Done():
			again = false
		case <-u.learned:
		}
		now := u.Known()
		if now.equal(saved) {
			continue
		}
		if err := u.o.SaveKnown(now); err != nil {
			u.log.Error("what the servers said of themselves can't be saved", "error", err)
			if again = wait(ctx, knownAgain); again {
				u.note()
			}
			continue
		}
		saved = now
	}
}

// adjust makes the links be those to the configured addresses and to those that servers told. Call with u.mu held.
func (u *Uplinks) adjust() {
	told := map[string]string{} // address → server
	for name, addresses := range u.known.Servers {
		for _, a := range addresses {
			told[a] = name
		}
	}
	var links []*uplink
	for _, l := range u.all() {
		name, there := told[l.addr]
		switch {
		case there:
			l.belongs(name)
		case l.told:
			if l.cancel != nil {
				l.cancel()
			}
			continue
		}
		delete(told, l.addr)
		links = append(links, l)
	}
	for _, a := range slices.Sorted(maps.Keys(told)) {
		l := newUplink(u, a)
		l.told, l.state.Name = true, told[a]
		links = append(links, l)
	}
	u.links.Store(&links)
	if u.ctx != nil && !u.leaving.Load() {
		u.runNew()
	}
}

// runNew starts the links that don't run yet. Call with u.mu held.
func (u *Uplinks) runNew() {
	for _, l := range u.all() {
		if l.cancel == nil {
			ctx, cancel := context.WithCancel(u.ctx)
			l.cancel = cancel
			u.running.Go(func() { l.run(ctx) })
		}
	}
}

// belongs notes whose address this is, unless the server there says so itself just now.
func (l *uplink) belongs(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == nil {
		l.state.Name = name
	}
}

// reached reports whether this server is reached on another link than l.
func (u *Uplinks) reached(l *uplink) bool {
	name := l.current().Name
	if name == "" {
		return false
	}
	return slices.ContainsFunc(u.all(), func(o *uplink) bool {
		s := o.current()
		return o != l && s.Connected && s.Name == name
	})
}

// spare waits while l leads to a server that is reached on another link: a server takes one stream of a host, a second
// one replaces the first. False: the end has come.
func (l *uplink) spare(ctx context.Context) bool {
	for l.u.reached(l) {
		if !wait(ctx, spareLook) {
			return false
		}
	}
	return ctx.Err() == nil
}

// begin is how long a link waits before its first attempt.
func (l *uplink) begin() time.Duration {
	if !l.told {
		return 0
	}
	return learnedWithin/2 + rand.N(learnedWithin/2)
}
