package server

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// ServerCard is what a server tells the others of itself.
type ServerCard struct {
	Name    string   `json:"name"`
	Agents  []string `json:"agents,omitempty"` // its agents' port, as others reach it
	API     string   `json:"api,omitempty"`    // URL
	Version string   `json:"version,omitempty"`
	Format  int      `json:"format"` // of records: the newest it can read
	// Run names this run of the process: two of them at once are two servers with one identity.
	Run string `json:"run"`
	// Token is the SHA-256 of its admin token: every server takes every server's. (The token has 128 random bits and more.)
	Token string    `json:"token,omitempty"`
	At    time.Time `json:"at"`
}

// cardWithin bounds one announcement; it is tried again after cardAgain.
const (
	cardWithin = 5 * time.Second
	cardAgain  = 2 * time.Second
)

// cards are what the servers say of themselves. News only: nothing is decided on it alone.
type cards struct {
	s      *Server
	failed chan error // one error, when another process has this server's identity

	mu     sync.RWMutex
	as     int64 // the store's revision as of which they are
	of     map[string]ServerCard
	tokens map[string]bool
	mine   int64 // revision from which our own card counts; 0: not announced yet
}

func newCards(s *Server) *cards {
	return &cards{s: s, failed: make(chan error, 1), of: map[string]ServerCard{}, tokens: map[string]bool{}}
}

// run announces this server and takes in what the others say.
func (c *cards) run(ctx context.Context) {
	if c.s.listener == nil {
		return // one of a simulation, which has no ports to tell of
	}
	watch := c.s.store.Watch(ctx, store.ServersPrefix, 0)
	announce := time.NewTimer(0)
	defer announce.Stop()
	told := &agentv1.Servers{}
	for {
		select {
		case <-announce.C:
			if err := c.announce(ctx); err != nil {
				announce.Reset(cardAgain) // no quorum yet, most likely: status says so
			}
		case batch, open := <-watch:
			if !open {
				return
			}
			for _, ch := range batch {
				c.take(ch)
			}
			if now := c.addresses(); !slices.EqualFunc(now.GetServers(), told.GetServers(), func(a, b *agentv1.ServerAddress) bool { return proto.Equal(a, b) }) {
				told = now
				c.s.agents.broadcast(serversMessage(now))
			}
			if !c.there() {
				announce.Reset(cardAgain) // somebody forgot us: a restored backup, a name that was removed and joined again
			}
		}
	}
}

func (c *cards) card() ServerCard {
	s := c.s
	sum := sha256.Sum256([]byte(s.admin))
	return ServerCard{
		Name: s.cfg.Name, Agents: s.reachedAt(), API: s.apiURL(), Version: s.o.Version, Format: s.reads(), Run: (&backend{s: s}).life(),
		Token: hex.EncodeToString(sum[:]), At: time.Now().UTC(),
	}
}

func (c *cards) announce(ctx context.Context) error {
	value, err := store.Encode(1, c.card()) // its format never changes: whoever reads it may be older or newer
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cardWithin)
	defer cancel()
	if err := c.s.store.Announce(ctx, value); err != nil {
		return err
	}
	rec, err := c.s.store.Get(ctx, store.ServerKey(c.s.cfg.Name))
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mine = rec.Revision
	return nil
}

// take takes one change in.
func (c *cards) take(ch store.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.as = max(c.as, ch.Record.Revision)
	switch ch.Kind {
	case store.Reset:
		clear(c.of)
	case store.Deleted:
		delete(c.of, store.NameOf(ch.Record.Key))
	case store.Written:
		var card ServerCard
		if _, err := store.Decode(ch.Record, 1, &card); err != nil || card.Name != store.NameOf(ch.Record.Key) {
			c.s.log.Warn("a server's card can't be read", "key", ch.Record.Key, "error", err)
			return
		}
		c.of[card.Name] = card
		if card.Name == c.s.cfg.Name && c.mine != 0 && ch.Record.Revision >= c.mine && card.Run != (&backend{s: c.s}).life() {
			c.twin(card)
		}
	}
	clear(c.tokens)
	for _, card := range c.of {
		c.tokens[card.Token] = true
	}
}

// twin ends this server: the quorum would count two processes as one.
func (c *cards) twin(other ServerCard) {
	err := fmt.Errorf("another process runs as %s (agents at %s, API %s, since %s): was its data directory copied, or its machine cloned? Stop one of the two for good; what it has is worth nothing",
		other.Name, few(other.Agents), other.API, other.At.Format(time.RFC3339))
	c.s.log.Error("two servers have one identity", "error", err)
	select {
	case c.failed <- err:
	default:
	}
}

func (c *cards) there() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.of[c.s.cfg.Name]
	return ok
}

// addresses is what agents are told of how the servers are reached.
func (c *cards) addresses() *agentv1.Servers {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := &agentv1.Servers{Revision: uint64(c.as)}
	for _, name := range slices.Sorted(maps.Keys(c.of)) {
		if at := c.of[name].Agents; len(at) > 0 {
			out.Servers = append(out.Servers, &agentv1.ServerAddress{Name: name, Addresses: at})
		}
	}
	return out
}

func serversMessage(m *agentv1.Servers) *agentv1.FromServer {
	return &agentv1.FromServer{Kind: &agentv1.FromServer_Servers{Servers: m}}
}

// get is one server's card; the zero card if it has none.
func (c *cards) get(name string) ServerCard {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.of[name]
}

// all are the cards, by name.
func (c *cards) all() []ServerCard {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.SortedFunc(maps.Values(c.of), func(a, b ServerCard) int { return cmp.Compare(a.Name, b.Name) })
}

// trusts reports whether this is the hash of a server's admin token.
func (c *cards) trusts(hash string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return hash != "" && c.tokens[hash]
}

// reachedAt are this server's agents' ports as others reach them.
func (s *Server) reachedAt() []string {
	if at := s.agentServers(); len(at) > 0 {
		return at
	}
	_, port, err := net.SplitHostPort(s.listener.Addr().String())
	if host := s.ownAddress(); err == nil && host != "" {
		return []string{net.JoinHostPort(host, port)}
	}
	return nil
}

// ownAddress is the host by which the other servers know this one.
func (s *Server) ownAddress() string {
	host, _, err := net.SplitHostPort(s.cfg.Cluster.Initial[s.cfg.Name])
	if err != nil {
		return ""
	}
	return host
}

// apiURL is where this server's API answers, as others would write it; "" if it has none.
func (s *Server) apiURL() string {
	if s.api == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(s.api.Addr().String())
	if err != nil {
		return ""
	}
	if given, _, err := net.SplitHostPort(s.cfg.Listen.API); err == nil && given != "" && net.ParseIP(given) == nil {
		host = given // a name, which its certificate is for
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = either(s.ownAddress(), "127.0.0.1")
	}
	scheme := "http"
	if s.cfg.TLS.Cert != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
