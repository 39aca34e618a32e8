package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

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
		dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}
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
