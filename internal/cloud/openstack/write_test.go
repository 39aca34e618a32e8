package openstack

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

var update = flag.Bool("update", false, "rewrite the golden requests")

const fixedID = "req-00000000-0000-4000-8000-000000000001"

// TestGoldenWrites holds every dangerous request to what was reviewed, byte for byte.
func TestGoldenWrites(t *testing.T) {
	type call func(*Client, context.Context, cloud.Intent) (cloud.Receipt, error)
	evacuate := func(o cloud.Evacuate) call {
		return func(c *Client, ctx context.Context, in cloud.Intent) (cloud.Receipt, error) {
			return c.Evacuate(ctx, in, "vm", o)
		}
	}
	takeOut := func(o cloud.TakeOut) call {
		return func(c *Client, ctx context.Context, in cloud.Intent) (cloud.Receipt, error) {
			return c.TakeOut(ctx, in, "svc", o)
		}
	}
	putBack := func(enable bool) call {
		return func(c *Client, ctx context.Context, in cloud.Intent) (cloud.Receipt, error) {
			return c.PutBack(ctx, in, "svc", cloud.PutBack{Enable: enable})
		}
	}
	plain := func(do func(*Client, context.Context, cloud.Intent, string) (cloud.Receipt, error)) call {
		return func(c *Client, ctx context.Context, in cloud.Intent) (cloud.Receipt, error) {
			return do(c, ctx, in, "vm")
		}
	}
	reset := func(s cloud.State) call {
		return func(c *Client, ctx context.Context, in cloud.Intent) (cloud.Receipt, error) {
			return c.ResetState(ctx, in, "vm", s)
		}
	}
	for _, tc := range []struct {
		name, max string
		do        call
	}{
		{"take-out", "2.93", takeOut(cloud.TakeOut{Disable: true, Reason: "ninelives: incident 1"})},
		{"take-out-disabled-by-operator", "2.93", takeOut(cloud.TakeOut{})},
		{"put-back", "2.93", putBack(false)},
		{"put-back-and-enable", "2.93", putBack(true)},
		{"evacuate-train", "2.79", evacuate(cloud.Evacuate{Host: "h2"})},
		{"evacuate-zed", "2.93", evacuate(cloud.Evacuate{Host: "h2"})},
		{"evacuate-antelope", "2.95", evacuate(cloud.Evacuate{Host: "h2"})},
		{"evacuate-scheduler", "2.100", evacuate(cloud.Evacuate{})},
		{"evacuate-stopped-train", "2.79", evacuate(cloud.Evacuate{Stopped: true})},
		{"evacuate-stopped-zed", "2.93", evacuate(cloud.Evacuate{Host: "h2", Stopped: true})},
		{"evacuate-stopped-antelope", "2.95", evacuate(cloud.Evacuate{Host: "h2", Stopped: true})},
		{"evacuate-stopped-later", "2.100", evacuate(cloud.Evacuate{Stopped: true})},
		{"reset-error", "2.93", reset(cloud.StateError)},
		{"reset-active", "2.93", reset(cloud.StateActive)},
		{"start", "2.93", plain((*Client).Start)},
		{"stop", "2.93", plain((*Client).Stop)},
		{"pause", "2.93", plain((*Client).Pause)},
		{"hard-reboot", "2.93", plain((*Client).HardReboot)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t, says(http.StatusAccepted, "", "X-Compute-Request-Id", "req-nova"))
			f.max = tc.max
			rec, err := tc.do(f.client(t), t.Context(), cloud.Intent{Permit: func() error { return nil }, RequestID: fixedID})
			if err != nil || !rec.Sent || rec.RequestID != fixedID || rec.NovaID != "req-nova" || rec.Date.IsZero() {
				t.Fatalf("receipt %+v, %v", rec, err)
			}
			all := f.requests()
			if len(all) != 1 {
				t.Fatalf("%d requests, want 1: %+v", len(all), all)
			}
			golden(t, tc.name, all[0])
		})
	}
}

func golden(t *testing.T, name string, a asked) {
	t.Helper()
	got := fmt.Sprintf("%s %s\nOpenStack-API-Version: %s\nX-OpenStack-Request-ID: %s\nX-Auth-Token: %s\nUser-Agent: %s\n\n%s\n",
		a.method, a.path, a.version, a.id, a.token, strings.Split(a.agent, " ")[0], a.body)
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("the request changed (-want +got; -update rewrites it):\n%s", d)
	}
}

// TestWriteClasses gives each kind of answer to one evacuate. Whatever comes, it is sent once.
func TestWriteClasses(t *testing.T) {
	lose := func(w http.ResponseWriter, _ *http.Request) { // Nova accepted, the proxy closes
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			err = conn.Close()
		}
		if err != nil {
			t.Error(err)
		}
	}
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	nova := `{"badRequest": {"code": 400, "message": "Compute service of h1 is still in use."}}`
	for _, tc := range []struct {
		name   string
		answer http.HandlerFunc
		want   error // nil: accepted
		not    error
		says   string
	}{
		{"200 without body", says(200, ""), nil, nil, ""},
		{"200 with half a body", says(200, `{"adminPass":`), nil, nil, ""},
		{"202", says(202, ""), nil, nil, ""},
		{"answer lost", lose, cloud.ErrUnanswered, cloud.ErrNotSent, "cannot evacuate server vm: sent, but unanswered"},
		{"no answer in time", silent, cloud.ErrUnanswered, cloud.ErrNotSent, "deadline"},
		{"401 of the token check", says(401, "", "WWW-Authenticate", `Keystone uri="x"`), cloud.ErrNotSent, cloud.ErrUnanswered, "401"},
		{"401 from within", says(401, ""), cloud.ErrUnanswered, cloud.ErrNotSent, "401"},
		{"408", says(408, ""), cloud.ErrUnanswered, cloud.ErrNotSent, "408"},
		{"429", says(429, "slow down", "Retry-After", "0"), cloud.ErrNotSent, cloud.ErrUnanswered, "slow down"},
		{"500", says(500, nova, "X-Compute-Request-Id", "req-n"), cloud.ErrUnanswered, cloud.ErrNotSent, "req-n"},
		{"502", says(502, "<html>"), cloud.ErrUnanswered, cloud.ErrNotSent, "502"},
		{"503", says(503, ""), cloud.ErrUnanswered, cloud.ErrNotSent, "503"},
		{"504", says(504, ""), cloud.ErrUnanswered, cloud.ErrNotSent, "504"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t, tc.answer)
			c := f.client(t, func(o *Options) { o.WriteTimeout = 300 * time.Millisecond })
			rec, err := c.Evacuate(t.Context(), permitted(), "vm", cloud.Evacuate{})
			if !errors.Is(err, tc.want) || (tc.not != nil && errors.Is(err, tc.not)) || (tc.says != "" && !contains(err, tc.says)) {
				t.Errorf("got %v\nwant %v, not %v, saying %q", err, tc.want, tc.not, tc.says)
			}
			if n := len(f.requests()); n != 1 || !rec.Sent || rec.RequestID == "" {
				t.Errorf("%d requests, receipt %+v; want one, sent", n, rec)
			}
		})
	}
}

func TestWriteRefused(t *testing.T) {
	nova := `{"badRequest": {"code": 400, "message": "still in use"}}`
	for _, status := range []int{302, 307, 400, 403, 404, 405, 409, 422} {
		f := newFake(t, says(status, nova, "X-Openstack-Request-Id", "req-n", "Location", "http://127.0.0.1:1/"))
		_, err := f.client(t).Evacuate(t.Context(), permitted(), "vm", cloud.Evacuate{})
		var no *cloud.Refused
		if !errors.As(err, &no) || no.Status != status || no.RequestID != "req-n" || errors.Is(err, cloud.ErrUnanswered) || errors.Is(err, cloud.ErrNotSent) {
			t.Errorf("%d: got %#v", status, err)
		}
		if errors.Is(err, cloud.ErrNotFound) != (status == 404) {
			t.Errorf("%d: ErrNotFound is %t", status, errors.Is(err, cloud.ErrNotFound))
		}
		if status >= 400 && no.Message != "still in use" {
			t.Errorf("%d: message %q", status, no.Message)
		}
		if n := len(f.requests()); n != 1 {
			t.Errorf("%d: %d requests, want 1", status, n)
		}
	}
}

// TestWriteNotSent are the writes that never become a request.
func TestWriteNotSent(t *testing.T) {
	f := newFake(t, says(202, ""))
	c := f.client(t)
	ctx, id := t.Context(), strings.Repeat("x", 256)
	for what, do := range map[string]func() (cloud.Receipt, error){
		"nil permit":             func() (cloud.Receipt, error) { return c.Start(ctx, cloud.Intent{}, "vm") },
		"no server":              func() (cloud.Receipt, error) { return c.Start(ctx, permitted(), "") },
		"no service":             func() (cloud.Receipt, error) { return c.PutBack(ctx, permitted(), "", cloud.PutBack{}) },
		"disable without reason": func() (cloud.Receipt, error) { return c.TakeOut(ctx, permitted(), "svc", cloud.TakeOut{Disable: true}) },
		"reason without disable": func() (cloud.Receipt, error) { return c.TakeOut(ctx, permitted(), "svc", cloud.TakeOut{Reason: "r"}) },
		"reason too long": func() (cloud.Receipt, error) {
			return c.TakeOut(ctx, permitted(), "svc", cloud.TakeOut{Disable: true, Reason: id})
		},
		"unknown state": func() (cloud.Receipt, error) { return c.ResetState(ctx, permitted(), "vm", "paused") },
	} {
		if rec, err := do(); !errors.Is(err, cloud.ErrNotSent) || rec.Sent {
			t.Errorf("%s: got %v, sent %t", what, err, rec.Sent)
		}
	}
	if n := len(f.requests()); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

// TestUnreachableNova: Keystone answers, Nova's port doesn't.
func TestUnreachableNova(t *testing.T) {
	f := newFake(t, says(202, ""))
	down := false
	c := f.client(t, func(o *Options) {
		o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if down {
				return nil, errors.New("connection refused")
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	})
	if _, err := c.Capabilities(t.Context()); err != nil {
		t.Fatal(err)
	}
	down = true
	rec, err := c.Evacuate(t.Context(), permitted(), "vm", cloud.Evacuate{})
	if !errors.Is(err, cloud.ErrNotSent) || rec.Sent || !contains(err, "connection refused") {
		t.Errorf("got %v, %+v", err, rec)
	}
}

// TestTokenOfWrites: a token about to end is renewed before, one that is refused isn't used again; never is a write repeated.
func TestTokenOfWrites(t *testing.T) {
	f := newFake(t, says(401, "", "WWW-Authenticate", `Keystone uri="x"`))
	c := f.client(t)
	_, err := c.Start(t.Context(), permitted(), "vm")
	if !errors.Is(err, cloud.ErrNotSent) || !errors.Is(err, cloud.ErrUnauthorized) || f.loginCount() != 1 {
		t.Errorf("got %v after %d logins; want not sent, unauthorized, one login", err, f.loginCount())
	}
	f.set(func() { f.answer = says(202, "") })
	if _, err := c.Start(t.Context(), permitted(), "vm"); err != nil {
		t.Error(err)
	}
	all := f.requests()
	if len(all) != 2 || all[0].token != "token-1" || all[1].token != "token-2" {
		t.Errorf("requests: %+v; want one with each token", all)
	}

	silent := newFake(t, says(202, "")) // its tokens don't say how long they live: used until one is refused
	silent.life = 0
	c = silent.client(t)
	for range 2 {
		if _, err := c.Start(t.Context(), permitted(), "vm"); err != nil {
			t.Error(err)
		}
	}
	if n := silent.loginCount(); n != 1 {
		t.Errorf("%d logins for two writes, want 1", n)
	}
}

// TestTokenNearItsEnd: a token is renewed two minutes before it ends, and a write isn't sent if that fails.
func TestTokenNearItsEnd(t *testing.T) {
	f := newFake(t, says(202, ""))
	c := f.client(t)
	if _, err := c.Start(t.Context(), permitted(), "vm"); err != nil {
		t.Fatal(err)
	}
	s := c.session.Load()
	s.tokens.mu.Lock()
	left := time.Until(s.tokens.until)
	s.tokens.until = time.Now().Add(-time.Millisecond)
	s.tokens.mu.Unlock()
	if left < 57*time.Minute || left > 58*time.Minute {
		t.Errorf("a token of one hour is used for %s, want 58 minutes", left)
	}
	f.set(func() { f.refuse = true })
	rec, err := c.Start(t.Context(), permitted(), "vm")
	if !errors.Is(err, cloud.ErrNotSent) || !errors.Is(err, cloud.ErrUnauthorized) || rec.Sent {
		t.Errorf("Keystone refuses the renewal: got %v", err)
	}
	f.set(func() { f.refuse = false })
	if _, err := c.Start(t.Context(), permitted(), "vm"); err != nil || f.loginCount() != 2 {
		t.Errorf("got %v after %d logins, want 2", err, f.loginCount())
	}
}
