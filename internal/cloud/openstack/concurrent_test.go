package openstack

import (
	"io"
	"net/http"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

// TestConcurrent: first login, reads, writes and renewals all at once. One login serves all, and each write is sent once.
func TestConcurrent(t *testing.T) {
	f := newFake(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"services": []}`) })
	c := f.client(t)
	var g errgroup.Group
	for range 16 {
		g.Go(func() error {
			_, err := c.Services(t.Context())
			return err
		})
		g.Go(func() error {
			_, err := c.Evacuate(t.Context(), permitted(), "vm", cloud.Evacuate{Stopped: true})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := f.loginCount(); n != 1 {
		t.Errorf("%d logins, want one for all", n)
	}
	for range 16 {
		g.Go(func() error {
			s := c.session.Load()
			s.tokens.distrust(s.provider.Token())
			_, err := c.Start(t.Context(), permitted(), "vm")
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	writes := 0
	for _, a := range f.requests() {
		if a.method == http.MethodPost {
			writes++
		}
	}
	if writes != 32 {
		t.Errorf("%d writes arrived, want 32", writes)
	}
}
