package transport

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

// door bounds the handshakes under way. When 10,000 agents come back at once, all of their handshakes side by side would
// each take longer than an agent waits: none would end, and the agents that are linked already would starve. In turn,
// they take as long as they take. Who has waited for maxWait is sent away, to come back when the agent's delay says:
// later on it would only find that the agent has given up.
type door chan struct{}

const (
	maxWait = 5 * time.Second
	maxStay = 250 * time.Millisecond // who is slower than this keeps nobody else out any longer
)

var errBusy = errors.New("too many agents connect at once")

// newDoor lets in what can be worked on: a handshake is a millisecond of computing and a round trip.
func newDoor() door { return make(door, 16*runtime.GOMAXPROCS(0)) }

// enter waits for a place, which leave gives back.
func (d door) enter() (leave func(), err error) {
	wait := time.NewTimer(maxWait)
	defer wait.Stop()
	select { // those who wait are served in the order they came
	case d <- struct{}{}:
	case <-wait.C:
		return nil, errBusy
	}
	free := sync.OnceFunc(func() { <-d })
	stay := time.AfterFunc(maxStay, free)
	return func() { stay.Stop(); free() }, nil
}

const (
	// strangersMost is how many connections nobody has been authenticated on: 10,000 agents that come back at once, and some.
	strangersMost = 16 << 10
	// strangersFrom is how many of them may come from one address: a host's agent opens one.
	strangersFrom = 128
	// strangersWithin is how long a connection may take, handshake and first call together.
	strangersWithin = 2 * helloWithin
	strangersSaid   = 10 * time.Second // the log says at most this often that some were sent away
)

// strangers are the connections on which nobody has been authenticated yet. Their number is bounded, in all and for each
// address, and their time: whoever can reach the port, without a certificate, must not be able to take its memory, or the
// places of those that have one.
type strangers struct {
	log *slog.Logger

	mu     sync.Mutex
	all    int
	from   map[netip.Prefix]int
	sent   int // away, since it was said last
	saidAt time.Time
}

func newStrangers(log *slog.Logger) *strangers {
	return &strangers{log: log, from: map[netip.Prefix]int{}}
}

// admit counts a connection until known is called. One that stays a stranger for too long is cut.
func (s *strangers) admit(c net.Conn) (known func(), err error) {
	from := origin(c.RemoteAddr())
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.all >= strangersMost:
		return nil, s.refuse(fmt.Errorf("%d connections that nobody was authenticated on", s.all))
	case from.IsValid() && s.from[from] >= strangersFrom:
		return nil, s.refuse(fmt.Errorf("%d connections from %s that nobody was authenticated on", s.from[from], from))
	}
	s.all++
	s.from[from]++
	var cut *time.Timer
	known = sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		cut.Stop()
		s.all--
		if s.from[from]--; s.from[from] == 0 {
			delete(s.from, from)
		}
	})
	cut = time.AfterFunc(strangersWithin, func() {
		c.Close() //nolint:errcheck // an end is all that is wanted
		known()
	})
	return known, nil
}

// refuse says it, but not each time. Call with s.mu held.
func (s *strangers) refuse(why error) error {
	s.sent++
	if now := time.Now(); now.Sub(s.saidAt) >= strangersSaid {
		s.log.Warn("connections to the agents' port were refused", "number", s.sent, "reason", why)
		s.sent, s.saidAt = 0, now
	}
	return why
}

// origin is where a connection comes from: an address, of IPv6 its network, since one machine has all of that; the zero
// Prefix if it is neither (a connection in memory).
func origin(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
