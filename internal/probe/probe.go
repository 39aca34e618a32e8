// Package probe asks one address for life, and answers those who ask.
//
// Life is an answer that carries the question's fresh nonce: an ICMP echo (the kernel lives) or an answer of the
// agent's probe port (the agent lives). ARP is never life, since switches and neighbours answer for the dead; a reset
// or an "unreachable" only explains a silence. The package knows nothing of verdicts.
package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Answer is who answered. The words are those of detection.
type Answer string

// Answers, from weak to strong.
const (
	None   Answer = ""       // nobody in time
	Kernel Answer = "kernel" // an ICMP echo with the nonce
	Agent  Answer = "agent"  // the agent's probe port, with the nonce
)

// Target is what to ask.
type Target struct {
	Plane   string // network that the address is on
	Address string // IP address
	Port    uint32 // UDP port of the agent there; 0: ICMP only
	// Nonce must be in the answer, besides 16 random bytes of the prober's own: so that an answer can be neither
	// older than the question of the one who asked for the probe nor than the probe. May be empty; at most NonceMost
	// bytes.
	Nonce []byte
}

// NonceMost is the largest nonce, in bytes.
const NonceMost = 32

// Options are a Prober's.
type Options struct {
	// Sources are this host's own addresses, plane → address: a probe of a plane leaves from that address, so that a
	// detour over another plane isn't taken for the plane itself. A plane without one is probed as the routes say.
	Sources map[string]string
	// Attempt is the time between repeats of one question, for lost packets; 0: 250 ms.
	Attempt time.Duration
	Logger  *slog.Logger // nil: none
}

// Prober asks addresses for life. It holds no socket between probes and is safe for concurrent use.
type Prober struct {
	sources map[string]netip.Addr
	attempt time.Duration
	icmp    icmpKind
}

// New finds out which kind of ICMP socket this process may open: an unprivileged one, else a raw one. When neither can
// be had the Prober works with the agents' probe port alone, and says so once.
func New(o Options) (*Prober, error) {
	p := &Prober{sources: map[string]netip.Addr{}, attempt: o.Attempt}
	if p.attempt <= 0 {
		p.attempt = 250 * time.Millisecond
	}
	for plane, address := range o.Sources {
		a, err := netip.ParseAddr(address)
		if err != nil {
			return nil, fmt.Errorf("cannot probe plane %s from %q: it is no IP address", plane, address)
		}
		p.sources[plane] = a.Unmap()
	}
	kind, err := openable()
	if err != nil && o.Logger != nil {
		o.Logger.Warn("ICMP echo can't be sent: a host whose agent is silent will not be seen, whatever its kernel does", "error", err)
	}
	p.icmp = kind
	return p, nil
}

// ICMP reports whether this process may send ICMP echo.
func (p *Prober) ICMP() bool { return p.icmp != icmpNone }

// Probe asks until the agent answers or ctx ends, whichever is first; ctx must have a deadline. When the agent's port
// is known to be closed it ends with the kernel's answer. The error explains a silence ("connection refused"); it is
// nil when somebody answered, and never more than an explanation.
func (p *Prober) Probe(ctx context.Context, t Target) (Answer, error) {
	addr, err := netip.ParseAddr(t.Address)
	if err != nil {
		return None, fmt.Errorf("cannot probe %q: it is no IP address", t.Address)
	}
	if _, ok := ctx.Deadline(); !ok {
		return None, errors.New("cannot probe without a deadline")
	}
	if len(t.Nonce) > NonceMost || t.Port > 65535 {
		return None, fmt.Errorf("cannot probe %s: nonce of %d bytes, port %d", t.Address, len(t.Nonce), t.Port)
	}
	ask := question{addr: addr.Unmap(), port: uint16(t.Port), source: p.sources[t.Plane], attempt: p.attempt}
	if ask.source.IsValid() && ask.source.Is4() != ask.addr.Is4() {
		ask.source = netip.Addr{}
	}
	_, _ = rand.Read(ask.nonce[:ownNonce]) // never fails (Go 1.24 on)
	copy(ask.nonce[ownNonce:], t.Nonce)
	return ask.both(ctx, p.icmp)
}

// ownNonce are the random bytes that each probe adds.
const ownNonce = 16

// nonce is what an answer must carry.
type nonce [ownNonce + NonceMost]byte

// question is one probe under way.
type question struct {
	addr    netip.Addr
	port    uint16
	source  netip.Addr // invalid: any
	nonce   nonce
	attempt time.Duration
}

// outcome is what one way of asking came to.
type outcome struct {
	answer Answer
	err    error
}

// both asks kernel and agent at the same time and returns when both ways have ended, or the agent has answered.
func (q *question) both(ctx context.Context, kind icmpKind) (Answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ways := make(chan outcome, 2)
	n := 0
	if kind != icmpNone {
		n++
		go func() { ways <- q.askKernel(ctx, kind) }()
	}
	if q.port != 0 {
		n++
		go func() { ways <- q.askAgent(ctx) }()
	}
	if n == 0 {
		return None, errors.New("cannot probe: no ICMP socket, and the agent's port is not known")
	}
	best := None
	var errs []error
	for range n {
		switch o := <-ways; o.answer {
		case Agent:
			best = Agent
			cancel() // the other way has nothing to add, but it is waited for
		case Kernel:
			if best == None {
				best = Kernel
			}
		default:
			errs = append(errs, o.err)
		}
	}
	if best != None {
		return best, nil
	}
	return None, errors.Join(errs...)
}
