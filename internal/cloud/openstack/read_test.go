package openstack

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

// server is one VM as Nova 2.79 writes it.
func server(id, host string) string {
	return fmt.Sprintf(`{"id": %q, "name": "web", "tenant_id": "p", "user_id": "u", "status": "ACTIVE", "locked": true,
		"OS-EXT-SRV-ATTR:host": %s, "OS-EXT-SRV-ATTR:hypervisor_hostname": "h1.example", "OS-EXT-AZ:availability_zone": "az1",
		"OS-EXT-STS:vm_state": "active", "OS-EXT-STS:task_state": null, "OS-EXT-STS:power_state": 1, "image": "",
		"flavor": {"original_name": "m1", "vcpus": 2, "ram": 2048, "disk": 20, "ephemeral": 1, "swap": 512, "extra_specs": {"hw:cpu_policy": "dedicated"}},
		"tags": ["pet"], "metadata": {"a": "b"}, "os-extended-volumes:volumes_attached": [{"id": "vol1", "delete_on_termination": false}],
		"created": "2026-01-02T03:04:05Z", "OS-SRV-USG:launched_at": "2026-01-02T03:04:06.000000"}`, id, host)
}

func TestServers(t *testing.T) {
	pages := map[string]string{
		"": `{"servers": [` + server("a", `"h1"`) + `,` + server("b", `"H1"`) + `],
			"servers_links": [{"rel": "next", "href": "http://wrong.example:8774/v2.1/servers/detail?limit=2&marker=b"}]}`,
		"b": `{"servers": [` + server("c", `null`) + `], "servers_links": [{"rel": "next", "href": "http://wrong.example/?marker=c"}]}`,
		"c": `{"servers": [{"id": "d", "status": "UNKNOWN"}]}`,
	}
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != "/compute/v2.1/servers/detail" || q.Get("all_tenants") != "1" || q.Get("limit") == "" {
			t.Errorf("asked for %s", r.URL)
		}
		_, _ = io.WriteString(w, pages[q.Get("marker")])
	})
	c := f.client(t)
	list, err := c.ServersOn(t.Context(), "h1")
	if err != nil {
		t.Fatal(err)
	}
	want := []cloud.Server{{
		ID: "a", Name: "web", ProjectID: "p", UserID: "u", Status: "ACTIVE", Locked: true, Host: "h1", Hypervisor: "h1.example", Zone: "az1",
		VMState: "active", PowerState: cloud.PowerRunning, Tags: []string{"pet"}, Metadata: map[string]string{"a": "b"}, Volumes: []string{"vol1"},
		Flavor:  cloud.Flavor{Name: "m1", VCPUs: 2, MemoryMB: 2048, DiskGB: 20, EphemeralGB: 1, SwapMB: 512, ExtraSpecs: map[string]string{"hw:cpu_policy": "dedicated"}},
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), LaunchedAt: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC),
	}}
	if d := cmp.Diff(want, list.Servers); d != "" {
		t.Errorf("servers on h1 (-want +got):\n%s", d)
	}
	if list.Date.IsZero() {
		t.Error("no date")
	}
	var ids string
	if err := c.AllServers(t.Context(), func(s cloud.Server) error { ids += s.ID + s.Status[:1]; return nil }); err != nil || ids != "aAbAcAdU" {
		t.Errorf("all servers: %q, %v", ids, err)
	}
	stop := errors.New("enough")
	if err := c.AllServers(t.Context(), func(cloud.Server) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("yield's error came back as %v", err)
	}
	for _, a := range f.requests() {
		if a.version != "compute 2.79" || !strings.HasPrefix(a.id, "req-") || !strings.HasPrefix(a.agent, "ninelives/1.2 ") {
			t.Errorf("request %+v", a)
		}
	}
}

// TestNotAnEmptyList: what can't be understood is never taken for "there is nothing".
func TestNotAnEmptyList(t *testing.T) {
	for name, body := range map[string]string{
		"no list":         `{}`,
		"null":            `{"servers": null}`,
		"another thing":   `{"computeFault": {"message": "x"}}`,
		"not JSON":        `<html>maintenance</html>`,
		"cut off":         `{"servers": [`,
		"nothing":         ``,
		"not a list":      `{"servers": {}}`,
		"a bad time":      `{"servers": [{"id": "a", "OS-EXT-SRV-ATTR:host": "h1", "created": "yesterday"}]}`,
		"circle":          `{"servers": [], "servers_links": [{"rel": "next", "href": "http://x/?marker=m"}]}`,
		"link to nowhere": `{"servers": [], "servers_links": [{"rel": "next", "href": "http://x/"}]}`,
	} {
		f := newFake(t, says(200, body))
		if list, err := f.client(t).ServersOn(t.Context(), "h1"); !errors.Is(err, cloud.ErrUnavailable) || list.Servers != nil {
			t.Errorf("%s: got %+v, %v; want ErrUnavailable", name, list, err)
		}
		if n := len(f.requests()); n > 2 {
			t.Errorf("%s: asked %d times", name, n)
		}
	}
	f := newFake(t, says(200, `{"servers": [{"id": "a", "status": "ACTIVE"}]}`))
	if _, err := f.client(t).ServersOn(t.Context(), "h1"); !errors.Is(err, cloud.ErrUnauthorized) || !contains(err, "os-extended-server-attributes") {
		t.Errorf("hidden host: got %v", err)
	}
}

func TestReadClasses(t *testing.T) {
	for status, want := range map[int]error{
		302: cloud.ErrUnavailable, 401: cloud.ErrUnauthorized, 404: cloud.ErrNotFound, 408: cloud.ErrUnavailable,
		429: cloud.ErrUnavailable, 500: cloud.ErrUnavailable, 502: cloud.ErrUnavailable, 503: cloud.ErrUnavailable, 504: cloud.ErrUnavailable,
	} {
		f := newFake(t, says(status, `{"x": {"message": "because"}}`, "Location", "/elsewhere", "Retry-After", "3600", "X-Openstack-Request-Id", "req-n"))
		_, err := f.client(t).Server(t.Context(), "vm")
		if !errors.Is(err, want) {
			t.Errorf("%d: got %v, want %v", status, err, want)
		}
	}
	proxy := newFake(t, says(404, "<html>no such backend</html>"))
	if _, err := proxy.client(t).Server(t.Context(), "vm"); err == nil || errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("404 of a proxy: got %v, want not ErrNotFound", err)
	}
	f := newFake(t, says(403, `{"forbidden": {"message": "Policy doesn't allow it."}}`))
	_, err := f.client(t).Services(t.Context())
	var no *cloud.Refused
	if !errors.As(err, &no) || no.Status != 403 || !contains(err, "cannot list compute services: refused (403): Policy doesn't allow it.") {
		t.Errorf("403: got %v", err)
	}
	slow := newFake(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	_, err = slow.client(t, func(o *Options) { o.ReadTimeout = 100 * time.Millisecond }).Server(t.Context(), "vm")
	if !errors.Is(err, cloud.ErrUnavailable) {
		t.Errorf("no answer: got %v", err)
	}
}

// TestRedirectKeepsToken: a redirect isn't followed, so nobody else sees the token.
func TestRedirectKeepsToken(t *testing.T) {
	var hits atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	t.Cleanup(other.Close)
	f := newFake(t, says(307, "", "Location", other.URL))
	c := f.client(t)
	_, errRead := c.Server(t.Context(), "vm")
	_, errWrite := c.Start(t.Context(), permitted(), "vm")
	if errRead == nil || errWrite == nil || hits.Load() != 0 {
		t.Errorf("followed %d times; %v, %v", hits.Load(), errRead, errWrite)
	}
}

func TestReadRenewsToken(t *testing.T) {
	f := newFake(t, nil)
	f.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Auth-Token") == "token-1" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, `{"services": []}`)
	}
	c := f.client(t)
	if _, err := c.Services(t.Context()); err != nil || f.loginCount() != 2 {
		t.Errorf("got %v after %d logins, want 2", err, f.loginCount())
	}
	if s := c.session.Load(); !s.tokens.good("token-2") {
		t.Error("the age of the renewed token isn't known")
	}
}

// TestTooManyRequests: reads wait as told, but neither for ever nor past their deadline.
func TestTooManyRequests(t *testing.T) {
	f := newFake(t, says(429, "", "Retry-After", "0"))
	c := f.client(t)
	if _, err := c.Services(t.Context()); !errors.Is(err, cloud.ErrUnavailable) || len(f.requests()) != 1+maxWaits {
		t.Errorf("got %v after %d requests, want %d", err, len(f.requests()), 1+maxWaits)
	}
	f.set(func() { f.answer, f.asked = says(429, "", "Retry-After", "30"), nil })
	if _, err := c.Services(t.Context()); !errors.Is(err, cloud.ErrUnavailable) || len(f.requests()) != 1 || !contains(err, "30s") {
		t.Errorf("got %v after %d requests, want one", err, len(f.requests()))
	}
}

func TestAnswerTooLarge(t *testing.T) {
	f := newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		block := []byte(strings.Repeat(" ", 1<<20))
		for range maxAnswer>>20 + 1 {
			if _, err := w.Write(block); err != nil {
				return // cut off, as it should be
			}
		}
		_, _ = io.WriteString(w, `{"services": []}`)
	})
	c := f.client(t, func(o *Options) { o.ReadTimeout = time.Minute }) // 64 MiB take long under -race
	if _, err := c.Services(t.Context()); !errors.Is(err, cloud.ErrUnavailable) || !contains(err, "too large") {
		t.Errorf("got %v", err)
	}
}

func TestHosts(t *testing.T) {
	bodies := map[string]string{
		"/compute/v2.1/os-services": `{"services": [
			{"id": "s1", "binary": "nova-compute", "host": "h1", "zone": "az1", "status": "disabled", "disabled_reason": "ninelives: incident 1",
			 "forced_down": true, "state": "down", "updated_at": "2026-01-02T03:04:05.000000"},
			{"id": "s2", "binary": "nova-conductor", "host": "c1", "status": "enabled", "state": "up", "updated_at": null},
			{"id": "s3", "binary": "nova-compute", "host": "h2", "zone": "az1", "status": "enabled", "disabled_reason": null, "forced_down": false, "state": "up", "updated_at": null}]}`,
		"/compute/v2.1/os-hypervisors/detail": `{"hypervisors": [{"id": "y1", "hypervisor_hostname": "h1.example", "hypervisor_type": "QEMU", "state": "up", "host_ip": "10.0.0.1",
			"vcpus": 8, "vcpus_used": 2, "memory_mb": 1024, "memory_mb_used": 512, "running_vms": 3, "service": {"id": "s1", "host": "h1"}}]}`,
		"/compute/v2.1/os-aggregates":                  `{"aggregates": [{"name": "ceph", "availability_zone": null, "hosts": ["h1"], "metadata": {"k": "v"}}]}`,
		"/compute/v2.1/os-server-groups":               `{"server_groups": [{"id": "g", "name": "n", "policy": "anti-affinity", "members": ["a", "b"]}]}`,
		"/placement/resource_providers/y1/allocations": `{"allocations": {"b": {"resources": {"VCPU": 1}}, "a": {}}, "resource_provider_generation": 1}`,
		"/image/v2/images/i1":                          `{"id": "i1", "name": "n", "status": "active", "min_disk": 0, "hw_machine_type": "q35", "os_hidden": false}`,
	}
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		body, ok := bodies[r.URL.Path]
		if !ok {
			t.Errorf("asked for %s", r.URL)
		}
		_, _ = io.WriteString(w, body)
	})
	c, ctx := f.client(t), t.Context()
	services, err1 := c.Services(ctx)
	hypervisors, err2 := c.Hypervisors(ctx)
	aggregates, err3 := c.Aggregates(ctx)
	groups, err4 := c.ServerGroups(ctx)
	held, err5 := c.Allocations(ctx, "y1")
	props, err6 := c.ImageProperties(ctx, "i1")
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		t.Fatal(err)
	}
	got := []any{services, hypervisors, aggregates, groups, held, props["hw_machine_type"], props["name"]}
	want := []any{
		[]cloud.Service{
			{ID: "s1", Host: "h1", Zone: "az1", Disabled: true, DisabledReason: "ninelives: incident 1", ForcedDown: true, State: "down", UpdatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
			{ID: "s3", Host: "h2", Zone: "az1", State: "up"},
		},
		[]cloud.Hypervisor{{ID: "y1", Host: "h1", Name: "h1.example", Type: "QEMU", State: "up", HostIP: "10.0.0.1", VCPUs: 8, VCPUsUsed: 2, MemoryMB: 1024, MemoryUsed: 512, RunningVMs: 3}},
		[]cloud.Aggregate{{Name: "ceph", Hosts: []string{"h1"}, Metadata: map[string]string{"k": "v"}}},
		[]cloud.ServerGroup{{ID: "g", Name: "n", Policy: "anti-affinity", Members: []string{"a", "b"}}},
		[]string{"a", "b"}, "q35", "",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestMigrations(t *testing.T) {
	record := `{"id": %d, "uuid": "m%d", "instance_uuid": "a", "migration_type": %q, "source_compute": "h1", "dest_compute": %s, "status": "accepted",
		"created_at": "2026-01-02T03:00:00.000000", "updated_at": null, "user_id": "u", "project_id": "p"}`
	for max, version := range map[string]string{"2.79": "compute 2.79", "2.93": "compute 2.80"} {
		f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("marker") == "" {
				_, _ = fmt.Fprintf(w, `{"migrations": [`+record+`], "migrations_links": [{"rel": "next", "href": "http://x/?marker=m2"}]}`, 2, 2, "evacuation", `"h2"`)
				return
			}
			_, _ = fmt.Fprintf(w, `{"migrations": [`+record+`]}`, 1, 1, "resize", `null`)
		})
		f.max = max
		c := f.client(t)
		since := time.Date(2026, 1, 2, 3, 0, 0, 0, time.FixedZone("", 3600))
		list, err := c.Migrations(t.Context(), cloud.MigrationQuery{Types: []cloud.MigrationType{cloud.Evacuation}, SourceHost: "h1", Since: since})
		if err != nil || len(list.Migrations) != 1 || list.Migrations[0].Dest != "h2" || list.Migrations[0].UUID != "m2" {
			t.Errorf("%s: %+v, %v", max, list, err)
		}
		both, err := c.Migrations(t.Context(), cloud.MigrationQuery{Types: []cloud.MigrationType{cloud.Evacuation, cloud.Resize}})
		if err != nil || len(both.Migrations) != 2 {
			t.Errorf("%s: %+v, %v", max, both, err)
		}
		all := f.requests()
		if want := "changes-since=2026-01-02T02%3A00%3A00Z&limit=1000&migration_type=evacuation&source_compute=h1"; all[0].query != want || all[0].version != version {
			t.Errorf("%s: asked %s at %s, want %s at %s", max, all[0].query, all[0].version, want, version)
		}
		if got := list.Since(); got != list.Date.Add(-time.Minute) {
			t.Errorf("since %s of %s", got, list.Date)
		}
	}
}

// TestActions also: who asked, and the id that Receipt.NovaID is compared with.
func TestActions(t *testing.T) {
	f := newFake(t, says(200, `{"instanceActions": [{"action": "evacuate", "request_id": "req-n", "start_time": "2026-01-02T03:04:05.000000", "user_id": "u", "project_id": "p", "message": null}]}`))
	got, err := f.client(t).Actions(t.Context(), "vm")
	want := []cloud.Action{{Name: "evacuate", RequestID: "req-n", Start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), UserID: "u", ProjectID: "p"}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}
