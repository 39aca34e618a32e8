//go:build e2e

package e2e

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

// nova is the tests' own client of the lab's OpenStack: it shares no line with what it judges.
type nova struct {
	env   map[string]string // OS_*
	base  string
	http  *http.Client
	mu    sync.Mutex
	token string
}

// server is a VM as Nova shows it.
type server struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Status     string            `json:"status"`
	Host       string            `json:"OS-EXT-SRV-ATTR:host"`
	Task       string            `json:"OS-EXT-STS:task_state"`
	PowerState int               `json:"OS-EXT-STS:power_state"` // 1 running, 3 paused, 4 shut down
	Locked     bool              `json:"locked"`
	Metadata   map[string]string `json:"metadata"`
}

// service is a host's nova-compute as Nova shows it.
type service struct {
	ID             string `json:"id"`
	Host           string `json:"host"`
	State          string `json:"state"`
	Status         string `json:"status"`
	ForcedDown     bool   `json:"forced_down"`
	DisabledReason string `json:"disabled_reason"`
}

// migration is one of Nova's records of a move.
type migration struct {
	UUID   string `json:"uuid"`
	VM     string `json:"instance_uuid"`
	Type   string `json:"migration_type"`
	Status string `json:"status"`
	Source string `json:"source_compute"`
	Dest   string `json:"dest_compute"`
}

func newNova(t testing.TB, l *lab) *nova {
	t.Helper()
	f, err := os.Open(filepath.Join(l.run, "openrc"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := &nova{env: map[string]string{}, http: &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}}
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(strings.TrimPrefix(s.Text(), "export "), "="); ok {
			n.env[k] = v
		}
	}
	u, err := url.Parse(n.env["OS_AUTH_URL"])
	if err != nil {
		t.Fatal(err)
	}
	n.base = "http://" + u.Hostname() + ":8774/v2.1"
	return n
}

func (n *nova) login() error {
	name := func(k string) map[string]any { return map[string]any{"name": n.env[k]} }
	user := map[string]any{"name": n.env["OS_USERNAME"], "password": n.env["OS_PASSWORD"], "domain": name("OS_USER_DOMAIN_NAME")}
	project := map[string]any{"name": n.env["OS_PROJECT_NAME"], "domain": name("OS_PROJECT_DOMAIN_NAME")}
	body, err := json.Marshal(map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{"user": user}},
		"scope":    map[string]any{"project": project},
	}})
	if err != nil {
		return err
	}
	resp, err := n.http.Post(n.env["OS_AUTH_URL"]+"/auth/tokens", "application/json", bytes.NewReader(body))
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

// try is one call of nova-api (a path) or of another service (a whole URL).
func (n *nova) try(method, path string, body, into any) error {
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

func (n *nova) do(t testing.TB, method, path string, body, into any) {
	t.Helper()
	if err := n.try(method, path, body, into); err != nil {
		t.Fatal(err)
	}
}

// act is one server action, such as {"os-stop": null}.
func (n *nova) act(t testing.TB, vm string, action map[string]any) {
	t.Helper()
	n.do(t, "POST", "/servers/"+vm+"/action", action, nil)
}

// servers lists VMs by a query, such as name=PREFIX.
func (n *nova) servers(query string) (map[string]server, error) {
	var out struct {
		Servers []server `json:"servers"`
	}
	err := n.try("GET", "/servers/detail?all_tenants=1&limit=1000&"+query, nil, &out)
	byID := map[string]server{}
	for _, s := range out.Servers {
		byID[s.ID] = s
	}
	return byID, err
}

func (n *nova) services() (map[string]service, error) {
	var out struct {
		Services []service `json:"services"`
	}
	err := n.try("GET", "/os-services?binary=nova-compute", nil, &out)
	byHost := map[string]service{}
	for _, s := range out.Services {
		byHost[s.Host] = s
	}
	return byHost, err
}

// setService writes a host's service record, as an operator would.
func (n *nova) setService(t testing.TB, host string, body map[string]any) {
	t.Helper()
	all, err := n.services()
	if err != nil {
		t.Fatal(err)
	}
	n.do(t, "PUT", "/os-services/"+all[host].ID, body, nil)
}

// evacuations are Nova's records of evacuations, all or since a moment of its clock (which is ours: one machine).
func (n *nova) evacuations(since time.Time) ([]migration, error) {
	var out struct {
		Migrations []migration `json:"migrations"`
	}
	q := url.Values{"migration_type": {"evacuation"}, "changes-since": {since.UTC().Format("2006-01-02T15:04:05Z")}}
	err := n.try("GET", "/os-migrations?"+q.Encode(), nil, &out)
	return out.Migrations, err
}

// watch follows the evacuations of one host by Nova's records, so that nobody else's word is needed for when a VM came
// back. One query each half second for all rows.
type watch struct {
	n     *nova
	began time.Time
	stop  chan struct{}
	done  chan struct{}

	mu   sync.Mutex
	seen map[string]*moved // by migration
}

// moved is one evacuation: when it was first seen, and first seen finished.
type moved struct {
	migration
	begun, finished time.Time
}

func startWatch(n *nova) *watch {
	w := &watch{n: n, began: time.Now(), stop: make(chan struct{}), done: make(chan struct{}), seen: map[string]*moved{}}
	go w.run()
	return w
}

func (w *watch) run() {
	defer close(w.done)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		all, err := w.n.evacuations(w.began.Add(-2 * time.Second))
		if err != nil {
			continue // rows break Nova on purpose
		}
		w.mu.Lock()
		for _, m := range all {
			v := w.seen[m.UUID]
			if v == nil {
				v = &moved{begun: time.Now()}
				w.seen[m.UUID] = v
			}
			v.migration = m
			if v.finished.IsZero() && (m.Status == "done" || m.Status == "completed") {
				v.finished = time.Now()
			}
		}
		w.mu.Unlock()
	}
}

func (w *watch) end() { close(w.stop); <-w.done }

// of returns the evacuations of a VM begun after a moment.
func (w *watch) of(vm string, since time.Time) []moved {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []moved
	for _, m := range w.seen {
		if m.VM == vm && m.begun.After(since) {
			out = append(out, *m)
		}
	}
	return out
}
