package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
)

const token = "correct-horse-battery-staple"

// backend answers events only; anything else would panic.
type backend struct {
	api.Backend
	kept chan []api.Event // what each connection gets at first
	live chan api.Event
	from chan string
}

func (b *backend) Events(ctx context.Context, after string, send func(api.Event) error) error {
	b.from <- after
	for _, e := range <-b.kept {
		if err := send(e); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-b.live:
			if !ok {
				return nil // the server ends the stream
			}
			if err := send(e); err != nil {
				return err
			}
		}
	}
}

func serve(t *testing.T, b api.Backend) *client.Client {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := api.New(api.Options{Backend: b, Token: token, Listener: ln, KeepAlive: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	c, err := client.New("http://"+s.Addr().String()+"/", token+"\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// After a break the client goes on where it was: what was missed comes first, or a reset.
func TestEventsGoOnAfterABreak(t *testing.T) {
	b := &backend{kept: make(chan []api.Event, 2), live: make(chan api.Event), from: make(chan string, 2)}
	c := serve(t, b)
	event := func(id, text string) api.Event { return api.Event{ID: id, Text: text, Severity: "info"} }
	b.kept <- []api.Event{event("a.1", "one")}
	var got []api.Event
	last := ""
	go func() {
		b.live <- event("a.2", "two\nlines, \u2028 and data: in it")
		close(b.live)
	}()
	err := c.Events(t.Context(), last, func(e api.Event) error {
		got, last = append(got, e), e.ID
		return nil
	})
	if !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("the end of the stream: %v", err)
	}
	if from := <-b.from; from != "" {
		t.Errorf("the first begins after %q", from)
	}
	b.kept <- []api.Event{{ID: "b.1", Reset: true, Text: "messages were missed"}, event("b.2", "three")}
	b.live = make(chan api.Event)
	stop := errors.New("enough")
	err = c.Events(t.Context(), last, func(e api.Event) error {
		if got = append(got, e); e.ID == "b.2" {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Errorf("the callback's error: %v", err)
	}
	if from := <-b.from; from != "a.2" {
		t.Errorf("the second begins after %q, want a.2", from)
	}
	want := []api.Event{event("a.1", "one"), event("a.2", "two\nlines, \u2028 and data: in it"), {ID: "b.1", Reset: true, Text: "messages were missed"}, event("b.2", "three")}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestErrorsSayWhatHappened(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	redirect := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://192.0.2.1/steal", http.StatusFound)
	}))
	defer redirect.Close()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>welcome</html>") }))
	defer page.Close()
	held := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(503)
		fmt.Fprint(w, `{"title":"x","detail":"server-2 leads, not server-1","do":"ask server-2","leader":"server-2"}`)
	}))
	defer held.Close()
	for _, c := range []struct {
		base, says string
		check      func(error) bool
	}{
		{gone.URL, "cannot reach", func(err error) bool { return errors.Is(err, client.ErrUnreachable) }},
		{redirect.URL, "is it a Ninelives server", isProblem(302)},
		{page.URL, "same version", func(err error) bool { return !errors.Is(err, client.ErrUnreachable) }},
		{held.URL, "ask server-2", isProblem(503)},
	} {
		cl, err := client.New(c.base, token, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = cl.Status(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.says) || !c.check(err) {
			t.Errorf("%s: %v, want %q", c.base, err, c.says)
		}
	}
	for _, bad := range []string{"", "127.0.0.1:7400", "ftp://x", "http://"} {
		if _, err := client.New(bad, token, nil); err == nil {
			t.Errorf("%q was taken for an address", bad)
		}
	}
}

func isProblem(status int) func(error) bool {
	return func(err error) bool {
		var p *api.Problem
		return errors.As(err, &p) && p.Status == status
	}
}
