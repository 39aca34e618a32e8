package openstack

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

// fake is a Keystone that lets everybody in, and a Nova whose answers the test gives.
type fake struct {
	*httptest.Server
	answer http.HandlerFunc // to everything but logins and versions
	life   time.Duration    // of tokens
	refuse bool             // refuse logins

	mu     sync.Mutex
	max    string
	logins int
	asked  []asked
}

// asked is one request to the answering part.
type asked struct {
	method, path, query, token, version, id, agent, body string
}

func newFake(t testing.TB, answer http.HandlerFunc) *fake {
	t.Helper()
	f := &fake{answer: answer, max: "2.93", life: time.Hour}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/v3/auth/tokens":
		f.login(w)
	case r.URL.Path == "/compute/v2.1/":
		f.mu.Lock()
		defer f.mu.Unlock()
		_, _ = fmt.Fprintf(w, `{"version": {"id": "v2.1", "version": %q, "min_version": "2.1"}}`, f.max)
	default:
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.asked = append(f.asked, asked{
			r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("X-Auth-Token"), r.Header.Get("OpenStack-API-Version"),
			r.Header.Get("X-Openstack-Request-Id"), r.UserAgent(), string(body),
		})
		f.mu.Unlock()
		f.answer(w, r)
	}
}

func (f *fake) login(w http.ResponseWriter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse {
		http.Error(w, `{"error": {"code": 401, "message": "The request you have made requires authentication."}}`, http.StatusUnauthorized)
		return
	}
	f.logins++
	w.Header().Set("X-Subject-Token", fmt.Sprintf("token-%d", f.logins))
	w.WriteHeader(http.StatusCreated)
	now := time.Now().UTC()
	endpoint := func(path string) []map[string]string {
		return []map[string]string{{"interface": "public", "region": "RegionOne", "region_id": "RegionOne", "url": f.URL + path}}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"token": map[string]any{
		"issued_at": now.Format(time.RFC3339), "expires_at": now.Add(f.life).Format(time.RFC3339),
		"user": map[string]string{"id": "u1", "name": "ninelives"}, "project": map[string]string{"id": "p1", "name": "service"},
		"roles": []map[string]string{{"id": "r1", "name": "admin"}},
		"catalog": []map[string]any{
			{"type": "compute", "name": "nova", "endpoints": endpoint("/compute/v2.1")},
			{"type": "placement", "name": "placement", "endpoints": endpoint("/placement")},
			{"type": "image", "name": "glance", "endpoints": endpoint("/image")},
		},
	}})
}

func (f *fake) requests() []asked {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]asked(nil), f.asked...)
}

func (f *fake) loginCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logins
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// client opens a client of the fake; change may set options before.
func (f *fake) client(t testing.TB, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{Login: &Login{AuthURL: f.URL + "/v3", Username: "ninelives", Password: "s3cret", ProjectName: "service"}, Version: "1.2"}
	for _, c := range change {
		c(&o)
	}
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// says answers everything with one status and body.
func says(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func permitted() cloud.Intent { return cloud.Intent{Permit: func() error { return nil }} }

func contains(err error, words string) bool {
	return err != nil && strings.Contains(err.Error(), words)
}
