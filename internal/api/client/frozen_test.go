package client

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
)

// frozen is a server whose machine takes connections and says nothing. It counts what was sent to it beyond a knock.
func frozen(t *testing.T, sent *atomic.Int32) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			sent.Add(1)
		}
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func quick(t *testing.T, bases string) *Client {
	t.Helper()
	c, err := New(bases, "a token", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.within, c.patience, c.pause = 50*time.Millisecond, 2*time.Second, 10*time.Millisecond
	return c
}

// TestFrozenLeader: one follower is asked, whose leader's machine is frozen. The leader elected next is found; nothing is
// sent to the frozen one, and nothing twice.
func TestFrozenLeader(t *testing.T) {
	t.Parallel()
	var iced, led, asked atomic.Int32
	ice := frozen(t, &iced)
	next := answering(t, &led, func() *api.Problem { return nil })
	for name, answers := range map[string][]*api.Problem{
		"still named":             {api.NotLeading("b", "a", ice), api.NotLeading("b", "c", next)},
		"given first":             {api.NotLeading("b", "a", ice), api.NotLeading("b", "c", next)},
		"found dead, an election": {api.NotLeading("b", "a", ice), api.Leaderless("b", api.Servers{Healthy: 2, Of: 3, Electing: true}), api.NotLeading("b", "c", next)},
		"the asked one leads":     {api.Leaderless("b", api.Servers{Quorum: true}), api.Passing("", "b reads the records"), nil},
	} {
		asked.Store(0)
		led.Store(0)
		follows := answering(t, &asked, func() *api.Problem { return answers[min(int(asked.Load()), len(answers))-1] })
		bases := follows
		if name == "given first" {
			bases = ice + "," + follows
		}
		if _, err := quick(t, bases).Disarm(t.Context(), "why"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want := map[bool]int32{true: 0, false: 1}[answers[len(answers)-1] == nil]; led.Load() != want || int(asked.Load()) != len(answers) {
			t.Errorf("%s: the new leader was asked %d times (expected %d), the follower %d times", name, led.Load(), want, asked.Load())
		}
	}
	if iced.Load() != 0 {
		t.Errorf("%d requests were sent to a server that answers no knock", iced.Load())
	}
}

// TestNoNewLeader: what is said at the end names who was asked, who leads by its word, and what may be going on.
func TestNoNewLeader(t *testing.T) {
	t.Parallel()
	var iced, asked atomic.Int32
	ice := frozen(t, &iced)
	c := quick(t, answering(t, &asked, func() *api.Problem { return api.NotLeading("b", "a", ice) }))
	c.patience = 300 * time.Millisecond
	began := time.Now()
	_, err := c.Disarm(t.Context(), "why")
	for _, want := range []string{"nothing was done", "a leads, not b", ice, "says nothing for", "may be electing", "try again"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, expected %q in it", err, want)
		}
	}
	if took := time.Since(began); took > 5*time.Second || asked.Load() < 2 {
		t.Errorf("asked %d times in %v", asked.Load(), took)
	}
}

// TestUnknownFate: a write that broke off is not repeated, and that is said; a read is asked of the next server.
func TestUnknownFate(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	cut := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			panic(http.ErrAbortHandler)
		}
	}))
	defer cut.Close()
	c := quick(t, cut.URL+","+answering(t, &asked, func() *api.Problem { return nil }))
	if _, err := c.Disarm(t.Context(), "why"); err == nil || asked.Load() != 0 || !strings.Contains(err.Error(), "nobody knows whether it was done") {
		t.Errorf("a write that broke off: %v, the next server was asked %d times", err, asked.Load())
	}
	if _, err := c.Members(t.Context()); err != nil || asked.Load() != 1 {
		t.Errorf("a read that broke off: %v, the next server was asked %d times", err, asked.Load())
	}
}

// TestStatusOfAFollower: its leader is frozen, so it is asked again, and its own answer is taken where nobody leads.
func TestStatusOfAFollower(t *testing.T) {
	t.Parallel()
	var iced, led, asked atomic.Int32
	ice := frozen(t, &iced)
	serve := func(count *atomic.Int32, answer func() api.Status) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/healthz" {
				count.Add(1)
				_ = json.NewEncoder(w).Encode(answer())
			}
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	next := serve(&led, func() api.Status { return api.Status{Server: "c", Leads: true} })
	elects := true
	follows := serve(&asked, func() api.Status {
		if elects && asked.Load() > 1 {
			return api.Status{Server: "b", Partial: "c leads", LeaderURL: next}
		}
		return api.Status{Server: "b", Partial: "a leads", LeaderURL: ice}
	})
	if st, err := quick(t, follows).Status(t.Context()); err != nil || st.Server != "c" {
		t.Errorf("another one leads by now: %+v, %v", st, err)
	}
	elects = false
	if st, err := quick(t, follows).Status(t.Context()); err != nil || st.Server != "b" {
		t.Errorf("nobody else leads: %+v, %v", st, err)
	}
	if iced.Load() != 0 {
		t.Errorf("%d requests were sent to a server that answers no knock", iced.Load())
	}
}
