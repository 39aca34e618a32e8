package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

const (
	pulseDefault = time.Second
	pulseLeast   = 50 * time.Millisecond
	pulseMost    = 10 * time.Second
	// ackLimit is the silence after which an agent gives a server up: four acks missed, and found within 5 s.
	ackLimit = 4500 * time.Millisecond
	// lateLimit is the same for a server whose kernel confirms what is sent: its process is starved, or stopped.
	lateLimit = time.Minute
)

// Uplinks are an agent's links to all servers. Safe for concurrent use. Close and Goodbye wait for the handler's calls to
// return: they must not be called from within one.
type Uplinks struct {
	o      AgentOptions
	log    *slog.Logger
	boot   Boot
	epochs *EpochFence
	creds  atomic.Pointer[pki.Credentials]
	pulses pulseLog
	links  atomic.Pointer[[]*uplink] // replaced, with mu held, and never changed: those of the configuration, then those that were told

	mu      sync.Mutex
	known   Known              // its Epoch is the fence's
	learned chan struct{}      // something more is known
	ctx     context.Context    //nolint:containedctx // of all goroutines; nil before Start
	cancel  context.CancelFunc // ends it
	leaving atomic.Bool
	faster  chan struct{} // a Welcome changed the interval
	running sync.WaitGroup
}

// Dial prepares one stream to every server; Start begins to hold them. (Apart, so that the handler, which is called from
// Start on, can be told of the Uplinks first.)
func Dial(o AgentOptions) (*Uplinks, error) {
	switch {
	case len(o.Servers) == 0:
		return nil, errors.New("cannot reach servers: none are named")
	case o.Hello == nil || o.Handler == nil:
		return nil, errors.New("cannot reach servers: no hello or no handler was given")
	case o.Credentials == nil || o.Credentials.Identity.Role != pki.RoleAgent:
		return nil, errors.New("cannot reach servers: this host has no agent credentials, it has to join first")
	}
	boot, err := BootFromBytes(o.Hello().GetBoot())
	if err != nil {
		return nil, fmt.Errorf("cannot reach servers: hello: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Queue <= 0 {
		o.Queue = 64
	}
	u := &Uplinks{
		o: o, log: o.Logger, boot: boot, epochs: &EpochFence{}, faster: make(chan struct{}, 1), known: o.Known, learned: make(chan struct{}, 1),
	}
	u.creds.Store(o.Credentials)
	u.epochs.See(o.Known.Epoch)
	seen, links := map[string]bool{}, []*uplink(nil)
	for _, addr := range o.Servers {
		if !seen[addr] {
			seen[addr] = true
			links = append(links, newUplink(u, addr))
		}
	}
	u.links.Store(&links)
	u.adjust()
	return u, nil
}

// Start begins to connect and to pulse, and returns at once. A second call, or one after Close, does nothing.
func (u *Uplinks) Start() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.cancel != nil || u.leaving.Load() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	u.ctx, u.cancel = ctx, cancel
	u.runNew()
	if u.o.SaveKnown != nil {
		u.running.Go(func() { u.remember(ctx) })
	}
	u.running.Go(func() { u.pulse(ctx) })
	if u.o.SaveRenewed != nil {
		u.running.Go(func() { u.renew(ctx) })
	}
}

func (u *Uplinks) all() []*uplink { return *u.links.Load() }

// pulse sends a pulse to every server at each interval. One that can't be sent at once isn't sent later: a pulse says
// "now".
func (u *Uplinks) pulse(ctx context.Context) {
	interval := u.interval()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-u.faster:
			if next := u.interval(); next != interval {
				interval = next
				ticker.Reset(interval)
			}
			continue
		case now := <-ticker.C:
			seq := u.pulses.next(now)
			for _, l := range u.all() {
				l.beat(seq, interval)
			}
		}
	}
}

// interval is the shortest that a connected server asked for.
func (u *Uplinks) interval() time.Duration {
	shortest := time.Duration(0)
	for _, l := range u.all() {
		if d := l.asked(); d > 0 && (shortest == 0 || d < shortest) {
			shortest = d
		}
	}
	if shortest == 0 {
		return pulseDefault
	}
	return min(max(shortest, pulseLeast), pulseMost)
}

// Send queues a message for every connected server, never blocks, and returns for how many it was queued. m must not be
// changed afterwards.
func (u *Uplinks) Send(m *agentv1.FromAgent) int {
	n := 0
	for _, l := range u.all() {
		if l.send(outbound{msg: m}) == nil {
			n++
		}
	}
	return n
}

// SendTo queues a message for one server, named by its address. ErrClosed: it isn't connected.
// ErrSlow: its queue was full, the stream is being dropped and will be opened anew.
func (u *Uplinks) SendTo(addr string, m *agentv1.FromAgent) error {
	for _, l := range u.all() {
		if l.addr == addr {
			return l.send(outbound{msg: m})
		}
	}
	return fmt.Errorf("there is no server %s", addr)
}

// States tells how every server stands: those of AgentOptions.Servers in their order, then further ones that servers told.
func (u *Uplinks) States() []ServerState {
	var states []ServerState
	for _, l := range u.all() {
		if !l.told || !u.reached(l) {
			states = append(states, l.current())
		}
	}
	return states
}

// Connected is how many servers have welcomed this agent and still hear it.
func (u *Uplinks) Connected() int {
	n := 0
	for _, l := range u.all() {
		if l.current().Connected {
			n++
		}
	}
	return n
}

// Seq is the last pulse sent, 0 for none: for at_seq of what was read just after.
func (u *Uplinks) Seq() uint64 { return u.pulses.last() }

// Epoch is the highest epoch that a server mentioned.
func (u *Uplinks) Epoch() uint64 { return u.epochs.Highest() }

// Goodbye tells all connected servers, waits until they have heard it or ctx ends, and closes. The error names the
// servers that may not have heard it.
func (u *Uplinks) Goodbye(ctx context.Context, leaving agentv1.Leaving, reason string) error {
	defer u.Close()
	u.leaving.Store(true)
	last := &agentv1.FromAgent{Kind: &agentv1.FromAgent_Goodbye{Goodbye: &agentv1.Goodbye{
		Boot: u.boot.Bytes(), Reason: reason, Leaving: leaving,
	}}}
	var told []*uplink
	var errs []error
	for _, l := range u.all() {
		switch err := l.send(outbound{msg: last, last: true}); {
		case err == nil:
			told = append(told, l)
		case !errors.Is(err, ErrClosed): // one that isn't connected hears nothing anyway
			errs = append(errs, fmt.Errorf("cannot say goodbye to server %s: %w", l.addr, err))
		}
	}
	for _, l := range told {
		select {
		case <-l.done:
			if !errors.Is(l.final, errEnded) {
				errs = append(errs, fmt.Errorf("server %s may not have heard the goodbye: %w", l.addr, l.final))
			}
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("server %s may not have heard the goodbye: %w", l.addr, ctx.Err()))
		}
	}
	return errors.Join(errs...)
}

// Close ends all links without a goodbye. It may be called more than once.
func (u *Uplinks) Close() {
	u.mu.Lock()
	u.leaving.Store(true)
	if u.cancel != nil {
		u.cancel()
	}
	u.mu.Unlock()
	u.running.Wait()
}
