package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
)

const (
	// openWithin bounds connecting, TLS and Welcome. Long enough for a server that has 10,000 handshakes to do.
	openWithin = 15 * time.Second
	retryFirst = 500 * time.Millisecond
	retryMost  = 5 * time.Second
	// settled is how long a stream must have held for the next loss to be met with a quick first retry.
	settled = 10 * time.Second
)

type dialFunc func(ctx context.Context, addr string) (net.Conn, error)

// connect makes a gRPC connection that is used for one stream or call and then closed: when to try again is decided
// here, not by gRPC, whose own retries would hide what happened.
func connect(addr string, config *tls.Config, dial dialFunc) (*grpc.ClientConn, error) {
	if dial == nil {
		dial = dialTCP
	}
	cc, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithContextDialer(dial),
		grpc.WithNoProxy(),                                          // a proxy of the environment is for the web
		grpc.WithReadBufferSize(0), grpc.WithWriteBufferSize(4<<10), // as at the server's end
		grpc.WithStaticStreamWindowSize(flowWindow), grpc.WithStaticConnWindowSize(flowWindow),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(), grpc.WithDisableHealthCheck(), grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: time.Hour, Multiplier: 1, MaxDelay: time.Hour}, MinConnectTimeout: openWithin,
		}))
	if err != nil {
		return nil, fmt.Errorf("cannot connect to server %s: %w", addr, err)
	}
	return cc, nil
}

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

// noting keeps the connection that dial opened.
func noting(wire *atomic.Pointer[net.Conn], dial dialFunc) dialFunc {
	if dial == nil {
		dial = dialTCP
	}
	return func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := dial(ctx, addr)
		if err == nil {
			wire.Store(&c)
		}
		return c, err
	}
}

// confirmed reports whether the peer's kernel has confirmed anything within this time. False if that can't be told, as of
// a connection that isn't TCP.
func confirmed(c net.Conn, within time.Duration) bool {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	var info *unix.TCPInfo
	var infoErr error
	err = raw.Control(func(fd uintptr) { info, infoErr = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err != nil || infoErr != nil {
		return false
	}
	return time.Duration(info.Last_ack_recv)*time.Millisecond < within
}

// retryDelay is how long to wait after the n-th failure in a row (0 is the first): at most 0.5, 1, 2, 4, 5 s, and of
// that a random part, so that 10,000 agents that lost one server don't come back in one instant.
func retryDelay(n int) time.Duration {
	most := retryMost
	if n < 4 {
		most = min(retryFirst<<n, retryMost)
	}
	return most/10 + rand.N(most*9/10)
}

// wait sleeps for d or until ctx ends; false if it ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
