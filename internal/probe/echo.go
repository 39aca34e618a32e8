package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/time/rate"
)

// The wire: a question is its mark, the nonce, and zeros up to questionSize; an answer is its mark and the nonce. The
// answer is shorter than the question, so that nobody gains by sending questions in another's name.
const (
	questionSize = 64
	answerSize   = 4 + len(nonce{})
)

var (
	questionMark = [4]byte{'9', 'L', 'Q', 1}
	answerMark   = [4]byte{'9', 'L', 'A', 1}
)

func ask(n nonce) []byte {
	b := make([]byte, questionSize)
	copy(b, questionMark[:])
	copy(b[4:], n[:])
	return b
}

func isAnswer(b []byte, n nonce) bool {
	return len(b) == answerSize && bytes.Equal(b[:4], answerMark[:]) && bytes.Equal(b[4:], n[:])
}

// reply turns a question into its answer, in place; false if it is no question.
func reply(b []byte) ([]byte, bool) {
	if len(b) != questionSize || !bytes.Equal(b[:4], questionMark[:]) || bytes.Count(b[answerSize:], []byte{0}) != questionSize-answerSize {
		return nil, false
	}
	copy(b, answerMark[:])
	return b[:answerSize], true
}

const (
	// answersMost a second: a host may be the control of hundreds of witnesses at once, each asking a few times. One
	// answer costs some 10 µs; questions beyond the rate wait in the kernel's buffer, and are dropped there.
	answersMost = 500
	answerBurst = 200
)

// Echo answers questions on a UDP port.
type Echo struct {
	conns  []net.PacketConn
	cancel context.CancelFunc
	ctx    context.Context //nolint:containedctx // of its goroutines, ends with Close
	wg     sync.WaitGroup
}

// Listen binds the port on all IPv4 addresses and, where v6 is set, on all IPv6 addresses. Port 0 gets a free one.
func Listen(port uint16, v4, v6 bool) (*Echo, error) {
	var conns []net.PacketConn
	for _, f := range []struct {
		wanted  bool
		network string
		any     netip.Addr
	}{{v4, "udp4", netip.IPv4Unspecified()}, {v6, "udp6", netip.IPv6Unspecified()}} {
		if !f.wanted {
			continue
		}
		c, err := net.ListenUDP(f.network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.any, port)))
		if err != nil {
			for _, c := range conns {
				err = errors.Join(err, c.Close())
			}
			return nil, fmt.Errorf("cannot listen for probes: %w", err)
		}
		port = c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		conns = append(conns, c)
	}
	return NewEcho(conns...), nil
}

// NewEcho answers on sockets that are there already; they are the Echo's from now on.
func NewEcho(conns ...net.PacketConn) *Echo {
	e := &Echo{conns: conns}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	limit := rate.NewLimiter(answersMost, answerBurst)
	for _, c := range conns {
		serve := servePlain
		if u, ok := c.(*net.UDPConn); ok {
			serve = serverFor(u)
		}
		e.wg.Go(func() { serve(e.ctx, c, limit) })
	}
	return e
}

// Port is where it listens; 0: nowhere.
func (e *Echo) Port() uint32 {
	for _, c := range e.conns {
		if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
			return uint32(a.AddrPort().Port())
		}
	}
	return 0
}

// Close ends it. To close it again does nothing.
func (e *Echo) Close() error {
	e.cancel()
	var errs []error
	for _, c := range e.conns {
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	e.wg.Wait()
	return errors.Join(errs...)
}

type serveFunc func(ctx context.Context, c net.PacketConn, limit *rate.Limiter)

func servePlain(ctx context.Context, c net.PacketConn, limit *rate.Limiter) {
	buf := make([]byte, questionSize+1) // one more, so that a longer packet is seen to be none
	for {
		n, from, err := c.ReadFrom(buf)
		if over(err) || limit.Wait(ctx) != nil {
			return
		}
		if b, ok := reply(buf[:n]); ok && err == nil {
			_, _ = c.WriteTo(b, from) // the asker asks again
		}
	}
}

// serverFor answers from the address that was asked. On a host with several networks the kernel would otherwise choose
// by its routes, and the asker take no notice of an answer from elsewhere.
func serverFor(u *net.UDPConn) serveFunc {
	if u.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().Is4() {
		p := ipv4.NewPacketConn(u)
		if p.SetControlMessage(ipv4.FlagDst, true) != nil {
			return servePlain
		}
		return func(ctx context.Context, _ net.PacketConn, limit *rate.Limiter) {
			buf := make([]byte, questionSize+1)
			for {
				n, cm, from, err := p.ReadFrom(buf)
				if over(err) || limit.Wait(ctx) != nil {
					return
				}
				if b, ok := reply(buf[:n]); ok && err == nil && cm != nil && !cm.Dst.IsMulticast() {
					_, _ = p.WriteTo(b, &ipv4.ControlMessage{Src: cm.Dst}, from) // the asker asks again
				}
			}
		}
	}
	p := ipv6.NewPacketConn(u)
	if p.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true) != nil {
		return servePlain
	}
	return func(ctx context.Context, _ net.PacketConn, limit *rate.Limiter) {
		buf := make([]byte, questionSize+1)
		for {
			n, cm, from, err := p.ReadFrom(buf)
			if over(err) || limit.Wait(ctx) != nil {
				return
			}
			if b, ok := reply(buf[:n]); ok && err == nil && cm != nil && !cm.Dst.IsMulticast() {
				_, _ = p.WriteTo(b, &ipv6.ControlMessage{Src: cm.Dst, IfIndex: cm.IfIndex}, from) // the asker asks again
			}
		}
	}
}

// over: the socket is closed. Other errors of a read (a port unreachable that an answer met) concern one packet; the
// limit keeps them from becoming a busy loop.
func over(err error) bool { return errors.Is(err, net.ErrClosed) }
