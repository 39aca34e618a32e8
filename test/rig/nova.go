//go:build e2e || bench

package rig

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Nova is the tests' own client of the lab's OpenStack: it shares no line with what it judges.
type Nova struct {
	Env   map[string]string // OS_*
	base  string
	http  *http.Client
	mu    sync.Mutex
	token string
}

// Server is a VM as Nova shows it.
type Server struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Status     string            `json:"status"`
	Host       string            `json:"OS-EXT-SRV-ATTR:host"`
	Task       string            `json:"OS-EXT-STS:task_state"`
	PowerState int               `json:"OS-EXT-STS:power_state"` // 1 running, 3 paused, 4 shut down
	Locked     bool              `json:"locked"`
	Metadata   map[string]string `json:"metadata"`
}

// Service is a host's nova-compute as Nova shows it.
type Service struct {
	ID             string `json:"id"`
	Host           string `json:"host"`
	State          string `json:"state"`
	Status         string `json:"status"`
	ForcedDown     bool   `json:"forced_down"`
	DisabledReason string `json:"disabled_reason"`
}

// Migration is one of Nova's records of a move.
type Migration struct {
	UUID   string `json:"uuid"`
	VM     string `json:"instance_uuid"`
	Type   string `json:"migration_type"`
	Status string `json:"status"`
	Source string `json:"source_compute"`
	Dest   string `json:"dest_compute"`
}

func newNova(t testing.TB, l *Lab) *Nova {
	t.Helper()
	f, err := os.Open(filepath.Join(l.Run, "openrc"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := &Nova{Env: map[string]string{}, http: &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}}
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(strings.TrimPrefix(s.Text(), "export "), "="); ok {
			n.Env[k] = v
		}
	}
	u, err := url.Parse(n.Env["OS_AUTH_URL"])
	if err != nil {
		t.Fatal(err)
	}
	n.base = "http://" + u.Hostname() + ":8774/v2.1"
	return n
}

func (n *Nova) login() error {
	name := func(k string) map[string]any { return map[string]any{"name": n.Env[k]} }
	user := map[string]any{"name": n.Env["OS_USERNAME"], "password": n.Env["OS_PASSWORD"], "domain": name("OS_USER_DOMAIN_NAME")}
	project := map[string]any{"name": n.Env["OS_PROJECT_NAME"], "domain": name("OS_PROJECT_DOMAIN_NAME")}
	body, err := json.Marshal(map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{"user": user}},
		"scope":    map[string]any{"project": project},
	}})
	if err != nil {
		return err
	}
	resp, err := n.http.Post(n.Env["OS_AUTH_URL"]+"/auth/tokens", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("keystone answers %s", resp.Status)
	}
	n.token = resp.Header.Get("X-Subject-Token")
	return nil
}

// Try is one call of nova-api (a path) or of another service (a whole URL).
func (n *Nova) Try(method, path string, body, into any) error {
	n.mu.Lock()
	if n.token == "" {
		if err := n.login(); err != nil {
			n.mu.Unlock()
			return err
		}
	}
	token := n.token
	n.mu.Unlock()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(text)
	}
	if strings.HasPrefix(path, "/") {
		path = n.base + path
	}
	req, err := http.NewRequest(method, path, reader)
	if err != nil {
		return err
	}
	req.Header.Set("X-Auth-Token", token)
	req.Header.Set("OpenStack-API-Version", "compute 2.93")
	req.Header.Set("Content-Type", "application/json")
	resp, err := n.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %.300s", method, path, resp.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// Do is Try that must succeed.
func (n *Nova) Do(t testing.TB, method, path string, body, into any) {
	t.Helper()
	if err := n.Try(method, path, body, into); err != nil {
		t.Fatal(err)
	}
}

// Act is one server action, such as {"os-stop": null}.
func (n *Nova) Act(t testing.TB, vm string, action map[string]any) {
	t.Helper()
	n.Do(t, "POST", "/servers/"+vm+"/action", action, nil)
}

// Servers lists VMs by a query, such as name=PREFIX.
func (n *Nova) Servers(query string) (map[string]Server, error) {
	var out struct {
		Servers []Server `json:"servers"`
	}
	err := n.Try("GET", "/servers/detail?all_tenants=1&limit=1000&"+query, nil, &out)
	byID := map[string]Server{}
	for _, s := range out.Servers {
		byID[s.ID] = s
	}
	return byID, err
}

// Services are the nova-compute services by host.
func (n *Nova) Services() (map[string]Service, error) {
	var out struct {
		Services []Service `json:"services"`
	}
	err := n.Try("GET", "/os-services?binary=nova-compute", nil, &out)
	byHost := map[string]Service{}
	for _, s := range out.Services {
		byHost[s.Host] = s
	}
	return byHost, err
}

// SetService writes a host's service record, as an operator would.
func (n *Nova) SetService(t testing.TB, host string, body map[string]any) {
	t.Helper()
	all, err := n.Services()
	if err != nil {
		t.Fatal(err)
	}
	n.Do(t, "PUT", "/os-services/"+all[host].ID, body, nil)
}

// Evacuations are Nova's records of evacuations, all or since a moment of its clock (which is ours: one machine).
func (n *Nova) evacuations(since time.Time) ([]Migration, error) {
	var out struct {
		Migrations []Migration `json:"migrations"`
	}
	q := url.Values{"migration_type": {"evacuation"}, "changes-since": {since.UTC().Format("2006-01-02T15:04:05Z")}}
	err := n.Try("GET", "/os-migrations?"+q.Encode(), nil, &out)
	return out.Migrations, err
}

// Watch follows the evacuations of one host by Nova's records, so that nobody else's word is needed for when a VM came
// back. One query each half second for all rows.
type Watch struct {
	n     *Nova
	Began time.Time
	stop  chan struct{}
	done  chan struct{}

	mu   sync.Mutex
	seen map[string]*Moved // by migration
}

// Moved is one evacuation: when it was first seen, and first seen finished.
type Moved struct {
	Migration
	Begun, Finished time.Time
}

// StartWatch begins to follow.
func StartWatch(n *Nova) *Watch {
	w := &Watch{n: n, Began: time.Now(), stop: make(chan struct{}), done: make(chan struct{}), seen: map[string]*Moved{}}
	go w.run()
	return w
}

func (w *Watch) run() {
	defer close(w.done)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		all, err := w.n.evacuations(w.Began.Add(-2 * time.Second))
		if err != nil {
			continue // rows break Nova on purpose
		}
		w.mu.Lock()
		for _, m := range all {
			v := w.seen[m.UUID]
			if v == nil {
				v = &Moved{Begun: time.Now()}
				w.seen[m.UUID] = v
			}
			v.Migration = m
			if v.Finished.IsZero() && (m.Status == "done" || m.Status == "completed") {
				v.Finished = time.Now()
			}
		}
		w.mu.Unlock()
	}
}

func (w *Watch) End() { close(w.stop); <-w.done }

// Of returns the evacuations of a VM begun after a moment.
func (w *Watch) Of(vm string, since time.Time) []Moved {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Moved
	for _, m := range w.seen {
		if m.VM == vm && m.Begun.After(since) {
			out = append(out, *m)
		}
	}
	return out
}

// VMSpec is a VM that differs from plain ones.
type VMSpec struct {
	Name, Host string
	Group      string // server group
}

// Boot boots one VM and waits until it is ACTIVE.
func (n *Nova) Boot(t testing.TB, v VMSpec) Server {
	t.Helper()
	var images struct{ Images []struct{ ID string } }
	n.Do(t, "GET", strings.Replace(n.base, ":8774/v2.1", ":9292/v2/images?name=tiny", 1), nil, &images)
	var flavors struct{ Flavors []struct{ ID, Name string } }
	n.Do(t, "GET", "/flavors", nil, &flavors)
	flavor := ""
	for _, f := range flavors.Flavors {
		if f.Name == "t.tiny" {
			flavor = f.ID
		}
	}
	if len(images.Images) == 0 || flavor == "" {
		t.Fatal("the lab has no image tiny or no flavor t.tiny")
	}
	body := map[string]any{"server": map[string]any{
		"name": v.Name, "imageRef": images.Images[0].ID, "flavorRef": flavor, "networks": "none", "host": v.Host,
	}}
	if v.Group != "" {
		body["os:scheduler_hints"] = map[string]any{"group": v.Group}
	}
	var made struct{ Server struct{ ID string } }
	n.Do(t, "POST", "/servers", body, &made)
	return n.Becomes(t, made.Server.ID, "ACTIVE")
}

// Becomes waits for a VM's status.
func (n *Nova) Becomes(t testing.TB, id, status string) Server {
	t.Helper()
	var got Server
	Within(t, 5*time.Minute, id+" becomes "+status, func() string {
		var out struct{ Server Server } // afresh: null leaves what was there before
		if err := n.Try("GET", "/servers/"+id, nil, &out); err != nil {
			return err.Error()
		}
		if got = out.Server; got.Status != status || got.Task != "" {
			return fmt.Sprintf("%s, task %s", got.Status, got.Task)
		}
		return ""
	})
	return got
}
