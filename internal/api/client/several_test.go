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

// answering is a server that notes who asked and answers with a problem, or well.
func answering(t *testing.T, asked *atomic.Int32, p func() *api.Problem) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			return
		}
		asked.Add(1)
		if bad := p(); bad != nil {
			w.WriteHeader(bad.Status)
			_ = json.NewEncoder(w).Encode(bad)
			return
		}
		_ = json.NewEncoder(w).Encode(api.Reply{Text: "done"})
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestSeveralServers: the one that leads is found, a request that may have arrived isn't repeated, and the token goes
// nowhere that isn't trusted.
func TestSeveralServers(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	var leader, follower, refusing, hanging atomic.Int32
	well := func() *api.Problem { return nil }
	leads := answering(t, &leader, well)
	follows := answering(t, &follower, func() *api.Problem { return api.NotLeading("b", "a", leads) })
	refuses := answering(t, &refusing, func() *api.Problem { return api.Conflict("", "no") })
	cut := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			hanging.Add(1)
			panic(http.ErrAbortHandler)
		}
	}))
	defer cut.Close()
	frozen := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer frozen.Close()
	for name, tc := range map[string]struct {
		servers []string
		want    string
		led     int32
	}{
		"the leader itself":          {[]string{leads}, "", 1},
		"first one gone":             {[]string{gone.URL, leads}, "", 1},
		"a follower names it":        {[]string{follows}, "", 1},
		"gone, follower":             {[]string{gone.URL, follows}, "", 1},
		"all gone":                   {[]string{gone.URL}, "cannot reach", 0},
		"first one frozen":           {[]string{frozen.URL, leads}, "", 1},
		"all frozen":                 {[]string{frozen.URL, gone.URL}, "says nothing for", 0},
		"a no is a no":               {[]string{refuses, leads}, "no", 0},
		"broken off is not repeated": {[]string{cut.URL, leads}, "cannot reach", 0},
	} {
		leader.Store(0)
		c, err := New(strings.Join(tc.servers, ", "), "a token", nil)
		if err != nil {
			t.Fatal(err)
		}
		c.within = 50 * time.Millisecond
		_, err = c.Disarm(t.Context(), "why")
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error is %v, expected %q", name, err, tc.want)
		}
		if leader.Load() != tc.led {
			t.Errorf("%s: the leader was asked %d times, expected %d", name, leader.Load(), tc.led)
		}
	}
	if _, err := New("http://a,ftp://b", "t", nil); err == nil || !strings.Contains(err.Error(), "ftp://b") {
		t.Errorf("ftp: %v", err)
	}
	c, err := New(gone.URL+","+follows, "t", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := c.Disarm(t.Context(), "why"); err != nil {
			t.Fatal(err)
		}
	}
	follower.Store(0)
	if _, err := c.Disarm(t.Context(), "why"); err != nil || follower.Load() != 0 {
		t.Errorf("the leader isn't remembered: %v, the follower was asked %d times", err, follower.Load())
	}
}

func TestMayFollow(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		from, to string
		want     bool
	}{
		{"http://127.0.0.1:7400", "http://127.0.0.1:7500", true},
		{"https://10.0.0.1:7400", "https://10.0.0.2:7400", true},
		{"http://127.0.0.1:7400", "https://10.0.0.2:7400", true},
		{"https://10.0.0.1:7400", "http://10.0.0.2:7400", false},
		{"https://10.0.0.1:7400", "https://127.0.0.1:7400", false},
		{"https://10.0.0.1:7400", "https://localhost:7400", false},
		{"http://127.0.0.1:7400", "", false},
		{"http://127.0.0.1:7400", "file:///etc/passwd", false},
	} {
		if got := mayFollow(tc.from, tc.to); got != tc.want {
			t.Errorf("from %s to %s: %v", tc.from, tc.to, got)
		}
	}
}
