package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// faultWithin bounds one look at etcd's endpoints; faultListen is how long one of them may take to refuse our
// certificate: with TLS 1.3 it does so after our end holds the handshake for done.
const (
	faultWithin = 2 * time.Second
	faultListen = 300 * time.Millisecond
)

// fault is why etcd isn't reached. Its client keeps the reason for itself: whatever is wrong, a deadline is exceeded.
type fault struct {
	endpoints []string
	tls       *tls.Config
	looking   atomic.Bool
	found     atomic.Pointer[string]
}

// explain is an error with what was found; "" for nil.
func (f *fault) explain(err error) string {
	if err == nil {
		return ""
	}
	if found := f.found.Load(); found != nil && *found != "" && errors.Is(err, ErrNoQuorum) {
		return fmt.Sprintf("%v: %s", ErrNoQuorum, *found)
	}
	return err.Error()
}

// lookInto has the endpoints looked at, beside the election, when a round ended for want of etcd.
func (s *External) lookInto(err error) {
	f := &s.fault
	if !errors.Is(err, ErrNoQuorum) {
		f.found.Store(nil)
		return
	}
	if f.looking.Swap(true) {
		return
	}
	if !s.run(func() {
		defer f.looking.Store(false)
		ctx, cancel := context.WithTimeout(s.life, faultWithin)
		defer cancel()
		f.look(ctx)
	}) {
		f.looking.Store(false)
	}
}

// look notes what each endpoint does with a connection.
func (f *fault) look(ctx context.Context) {
	says := make([]string, len(f.endpoints))
	var all sync.WaitGroup
	for i, e := range f.endpoints {
		all.Go(func() {
			if err := f.connect(ctx, e); err != nil {
				says[i] = fmt.Sprintf("%s: %v", e, err)
			}
		})
	}
	all.Wait()
	if ctx.Err() == context.Canceled {
		return
	}
	var out []string
	for _, s := range says {
		if s != "" {
			out = append(out, s)
		}
	}
	found := strings.Join(out, "; ")
	f.found.Store(&found)
}

func (f *fault) connect(ctx context.Context, endpoint string) error {
	at, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", at.Host)
	if err != nil {
		return err
	}
	defer raw.Close() //nolint:errcheck // it was opened for its opening
	if f.tls == nil || at.Scheme != "https" {
		return nil
	}
	config := f.tls.Clone()
	config.ServerName, config.NextProtos = at.Hostname(), []string{"h2"}
	secure := tls.Client(raw, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	_ = secure.SetReadDeadline(time.Now().Add(faultListen))
	if _, err := secure.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}
