package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// icmpKind is the kind of ICMP socket that may be opened.
type icmpKind string

const (
	icmpNone icmpKind = ""
	icmpUDP  icmpKind = "udp" // Linux's unprivileged ping socket, see net.ipv4.ping_group_range
	icmpRaw  icmpKind = "raw" // needs CAP_NET_RAW
)

// openable tries the kinds in turn.
func openable() (icmpKind, error) {
	var errs []error
	for _, kind := range []icmpKind{icmpUDP, icmpRaw} {
		c, err := listenICMP(kind, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.Addr{})
		if err == nil {
			return kind, c.Close()
		}
		errs = append(errs, err)
	}
	return icmpNone, errors.Join(errs...)
}

func listenICMP(kind icmpKind, to, from netip.Addr) (*icmp.PacketConn, error) {
	network, any := "ip4:icmp", "0.0.0.0"
	switch {
	case kind == icmpUDP && to.Is4():
		network = "udp4"
	case kind == icmpUDP:
		network, any = "udp6", "::"
	case to.Is6():
		network, any = "ip6:ipv6-icmp", "::"
	}
	if from.IsValid() {
		any = from.String()
	}
	c, err := icmp.ListenPacket(network, any)
	if err != nil {
		return nil, fmt.Errorf("cannot open an ICMP socket (%s): %w", network, err)
	}
	return c, nil
}

// askKernel sends ICMP echo requests until one is answered with our nonce.
func (q *question) askKernel(ctx context.Context, kind icmpKind) outcome {
	c, err := listenICMP(kind, q.addr, q.source)
	if err != nil {
		return outcome{err: err}
	}
	var to net.Addr = &net.IPAddr{IP: q.addr.WithZone("").AsSlice(), Zone: q.addr.Zone()}
	if kind == icmpUDP {
		to = &net.UDPAddr{IP: q.addr.WithZone("").AsSlice(), Zone: q.addr.Zone()}
	}
	request, reply, protocol := icmp.Type(ipv4.ICMPTypeEcho), icmp.Type(ipv4.ICMPTypeEchoReply), 1
	if q.addr.Is6() {
		request, reply, protocol = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply, 58
	}
	// The kernel replaces the ID of an unprivileged socket; on a raw one the nonce alone tells whose answer it is.
	m := icmp.Message{Type: request, Body: &icmp.Echo{ID: int(q.nonce[0])<<8 | int(q.nonce[1]), Seq: 1, Data: q.nonce[:]}}
	packet, err := m.Marshal(nil)
	if err != nil {
		return outcome{err: errors.Join(err, c.Close())}
	}
	answered := func(b []byte, from net.Addr) bool {
		if addrOf(from) != q.addr.WithZone("") {
			return false
		}
		got, err := icmp.ParseMessage(protocol, b)
		if err != nil || got.Type != reply {
			return false
		}
		echo, ok := got.Body.(*icmp.Echo)
		return ok && bytes.Equal(echo.Data, q.nonce[:])
	}
	err = q.converse(ctx, c, func() error { _, err := c.WriteTo(packet, to); return err }, answered)
	if err != nil {
		return outcome{err: fmt.Errorf("ICMP: %w", err)}
	}
	return outcome{answer: Kernel}
}

// askAgent sends questions to the agent's port until one is answered with our nonce. The socket is connected: the
// kernel hands over answers of that address and port only, and tells when the port is closed.
func (q *question) askAgent(ctx context.Context) outcome {
	var local *net.UDPAddr
	if q.source.IsValid() {
		local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(q.source, 0))
	}
	c, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(netip.AddrPortFrom(q.addr, q.port)))
	if err != nil {
		return outcome{err: err}
	}
	packet := ask(q.nonce)
	answered := func(b []byte, _ net.Addr) bool { return isAnswer(b, q.nonce) }
	err = q.converse(ctx, c, func() error { _, err := c.Write(packet); return err }, answered)
	if err != nil {
		return outcome{err: fmt.Errorf("probe port: %w", err)}
	}
	return outcome{answer: Agent}
}

// converse sends, and sends again for lost packets, until answered says so or ctx ends. It closes the socket.
func (q *question) converse(ctx context.Context, c net.PacketConn, send func() error, answered func([]byte, net.Addr) bool) (err error) {
	defer func() { err = errors.Join(err, c.Close()) }()
	// An ended ctx wakes the reader; only this function closes the socket.
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) }) // fails only on a closed socket
	defer stop()
	buf := make([]byte, 1500)
	for ctx.Err() == nil {
		if err := send(); err != nil {
			return explain(err)
		}
		again := time.Now().Add(q.attempt)
		for ctx.Err() == nil {
			if err := c.SetReadDeadline(again); err != nil {
				return err
			}
			if ctx.Err() != nil { // it may have ended before the line above put the deadline off
				break
			}
			n, from, err := c.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return explain(err)
			}
			if answered(buf[:n], from) {
				return nil
			}
		}
	}
	return errors.New("no answer")
}

// explain words what the network said instead of an answer.
func explain(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("refused: nothing listens there")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return errors.New("unreachable: " + err.Error())
	}
	return err
}

func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap().WithZone("")
	case *net.IPAddr:
		addr, _ := netip.AddrFromSlice(a.IP)
		return addr.Unmap().WithZone("")
	}
	return netip.Addr{}
}
