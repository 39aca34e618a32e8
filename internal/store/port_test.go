package store

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// A port that has answered and then is silent look after look is dead; one that refuses, never answered, or answers now and
// then is not.
func TestDeafPort(t *testing.T) {
	t.Parallel()
	silent, away := os.ErrDeadlineExceeded, errors.New("too many open files")
	for _, c := range []struct {
		what  string
		looks []error // the last one goes on
		after time.Duration
	}{
		{"dead after a while", []error{nil, nil, silent}, 8 * portEvery},
		{"our own end has no files left meanwhile", []error{nil, away, away, silent, away, silent}, 10 * portEvery},
		{"it never answered", []error{silent}, 0},
		{"it is not reached from here", []error{nil, away}, 0},
		{"it answers in between", []error{nil, silent, silent, silent, silent, silent, nil}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			n, began := 0, time.Now()
			err := deaf(ctx, func(context.Context) error {
				n++
				return c.looks[min(n, len(c.looks))-1]
			})
			if (err != nil) != (c.after > 0) || err != nil && time.Since(began) != c.after {
				t.Errorf("%s: %v after %v, expected after %v", c.what, err, time.Since(began), c.after)
			}
		})
	}
}

// Silence is told apart from everything else.
func TestSilentPort(t *testing.T) {
	t.Parallel()
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	probe := &http.Client{Timeout: 200 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	for addr, want := range map[string]bool{mute.Addr().String(): true, freePorts(t, 1)[0]: false} {
		_, err := runsAt(t.Context(), probe, "http://"+addr)
		if wait, ok := errors.AsType[net.Error](err); err == nil || (ok && wait.Timeout()) != want {
			t.Errorf("%s: %v", addr, err)
		}
	}
}
