package store

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
)

// A peer of another cluster or CA is met ten times a second: it is told once, and its hint isn't lost among what was told before.
func TestEtcdSaysItOnce(t *testing.T) {
	t.Parallel()
	out := &written{}
	log := newEtcdLog(slog.New(slog.NewTextHandler(out, nil)), &atomic.Bool{}, nil)
	for range 3 {
		log.Error("mismatch")
		log.Warn("rejected connection", zap.Error(errors.New("reset")))
		log.Warn("rejected connection", zap.Error(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}))
	}
	got := out.String()
	for text, want := range map[string]int{"mismatch": 1, "rejected connection": 2, "right bundle": 1} {
		if n := strings.Count(got, text); n != want {
			t.Errorf("%q is told %d times, expected %d:\n%s", text, n, want, got)
		}
	}
}
