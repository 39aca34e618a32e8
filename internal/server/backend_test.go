package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// quietCloud is a cloud in which nothing happens: three hosts with a VM each. Writes would panic.
type quietCloud struct {
	cloud.Cloud
	mu          sync.Mutex
	down        error
	evacuations []cloud.Migration
}

func (c *quietCloud) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.down
}

func (c *quietCloud) Capabilities(context.Context) (cloud.Capabilities, error) {
	return cloud.Capabilities{
		Min: 1, Max: 96, Region: "RegionOne", UserID: "u-ninelives", User: "ninelives", Roles: []string{"admin"},
		Endpoints: map[string]string{"identity": "http://k", "compute": "http://n", "placement": "http://p", "image": "http://g"},
	}, c.err()
}

func (c *quietCloud) Services(context.Context) (out []cloud.Service, _ error) {
	for i := range 3 {
		out = append(out, cloud.Service{ID: fmt.Sprint(i), Host: fmt.Sprintf("compute-%02d", i), Zone: "az1", State: "up", UpdatedAt: time.Now()})
	}
	return out, c.err()
}

func (c *quietCloud) Service(_ context.Context, host string) (cloud.Service, error) {
	return cloud.Service{ID: "0", Host: host, Zone: "az1", State: "up", UpdatedAt: time.Now()}, c.err()
}

func (c *quietCloud) Hypervisors(context.Context) (out []cloud.Hypervisor, _ error) {
	for i := range 3 {
		name := fmt.Sprintf("compute-%02d", i)
		out = append(out, cloud.Hypervisor{ID: fmt.Sprint(i), Host: name, Name: name, Type: "QEMU", State: "up", MemoryMB: 4096, VCPUs: 8})
	}
	return out, c.err()
}
func (c *quietCloud) Aggregates(context.Context) ([]cloud.Aggregate, error)     { return nil, c.err() }
func (c *quietCloud) ServerGroups(context.Context) ([]cloud.ServerGroup, error) { return nil, c.err() }
func (c *quietCloud) AllServers(_ context.Context, yield func(cloud.Server) error) error {
	for i := range 3 {
		s := cloud.Server{ID: fmt.Sprintf("vm-%d", i), Name: fmt.Sprintf("web-%d", i), ProjectID: "p1", Host: fmt.Sprintf("compute-%02d", i), Status: "ACTIVE", LaunchedAt: time.Unix(1, 0)}
		if err := yield(s); err != nil {
			return err
		}
	}
	return c.err()
}

func (c *quietCloud) Migrations(context.Context, cloud.MigrationQuery) (cloud.MigrationList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cloud.MigrationList{Migrations: c.evacuations}, c.down
}

// begin runs a server on a data directory and waits until it leads and, if the cloud answers, has seen it.
func begin(t *testing.T, dir string, c *quietCloud) (*Server, *client.Client) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Name, cfg.Data, cfg.Cloud.Name = "server-1", dir, "mycloud"
	cfg.Listen = Listen{API: "127.0.0.1:0", Agents: "127.0.0.1:0", Cluster: "127.0.0.1:0"}
	s, err := New(Options{Config: cfg, Cloud: c, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	cl, err := client.New("http://"+s.APIAddr().String(), s.AdminToken(), &http.Transport{DisableKeepAlives: true})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the server leads and has seen the cloud", func() bool {
		st, err := cl.Status(t.Context())
		return err == nil && st.Leads && st.Partial == "" && (st.Hosts.Total == 3 || c.err() != nil && st.Cloud.Trouble != "")
	})
	return s, cl
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

func problemOf(t *testing.T, err error, status int, says string) {
	t.Helper()
	var p *api.Problem
	if !errors.As(err, &p) || p.Status != status || !strings.Contains(p.Error(), says) {
		t.Errorf("got %v, want a %d with %q", err, status, says)
	}
}

const pets = "rules:\n  - name: pets\n    match: {name: web-0}\n    priority: 900\n    on_host_failure: resurrect\n"

// What operators decided is there after a restart: switches, maintenance, policy, and the trail of it all.
func TestDecisionsSurviveARestart(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), &quietCloud{}
	s, cl := begin(t, dir, c)
	ctx := t.Context()
	for _, do := range []func() (api.Reply, error){
		func() (api.Reply, error) { return cl.Disarm(ctx, "new switches") },
		func() (api.Reply, error) { return cl.ZoneMaintenance(ctx, "az1", true, "rewiring") },
		func() (api.Reply, error) { return cl.HostMaintenance(ctx, "compute-01", true, "new fan") },
	} {
		if r, err := do(); err != nil || r.Text == "" {
			t.Fatalf("%+v %v", r, err)
		}
	}
	before, err := cl.ApplyPolicy(ctx, api.File{Path: "p.yaml", Source: pets})
	if err != nil {
		t.Fatal(err)
	}
	token, err := cl.CreateToken(ctx, "compute-02", time.Hour)
	if err != nil || len(token.Token) < 26 || token.Warning != "" {
		t.Fatalf("token: %+v %v", token, err)
	}
	stop(t, s)

	_, cl = begin(t, dir, c)
	st, err := cl.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if st.Switches.Armed || st.Switches.Reason != "new switches" || !strings.HasPrefix(st.Switches.By, "admin@127.0.0.1") {
		t.Errorf("switches after the restart: %+v", st.Switches)
	}
	if st.Zones["az1"].Reason != "rewiring" || st.Hosts.Maintenance != 1 {
		t.Errorf("maintenance after the restart: zones %+v, hosts %d", st.Zones, st.Hosts.Maintenance)
	}
	if p, err := cl.Policy(ctx); err != nil || p.Source != pets || p.Version != before.Version {
		t.Errorf("policy after the restart: %+v %v", p, err)
	}
	if v, err := cl.ExplainPolicy(ctx, "web-0"); err != nil || len(v) != 1 || v[0].Decision.Priority != 900 {
		t.Errorf("the policy doesn't decide: %+v %v", v, err)
	}
	entries, err := cl.Audit(ctx, time.Time{})
	if err != nil || len(entries) != 5 {
		t.Fatalf("audit: %d entries, want 5: %+v %v", len(entries), entries, err)
	}
	for i, what := range []string{"disarm", "maintenance-on zone az1", "maintenance-on host compute-01", "policy apply p.yaml", "token create host compute-02"} {
		if e := entries[i]; e.What != what || !e.OK || e.Reply == "" || strings.Contains(e.Reply, token.Token) {
			t.Errorf("audit entry %d: %+v, want %q", i, e, what)
		}
	}
	if r, err := cl.Arm(ctx, api.ArmRequest{}); err != nil || r.Text != "armed" {
		t.Errorf("arm: %+v %v", r, err)
	}
	if st, err := cl.Status(ctx); err != nil || !st.Switches.Armed || st.Switches.Shadow {
		t.Errorf("after arm: %+v %v", st.Switches, err)
	}
}

func TestABadPolicyChangesNothing(t *testing.T) {
	t.Parallel()
	_, cl := begin(t, t.TempDir(), &quietCloud{})
	ctx := t.Context()
	if _, err := cl.ApplyPolicy(ctx, api.File{Path: "p.yaml", Source: pets}); err != nil {
		t.Fatal(err)
	}
	bad := api.File{Path: "bad.yaml", Source: "rules:\n  - name: pets\n    priorty: 900\n    on_host_failure: resurect\n"}
	_, err := cl.ApplyPolicy(ctx, bad)
	problemOf(t, err, 422, "mistake")
	var p *api.Problem
	if errors.As(err, &p); len(p.Mistakes) == 0 || p.Mistakes[0].Line != 3 || !strings.Contains(p.Mistakes[0].Snippet, "^") {
		t.Errorf("mistakes: %+v", p.Mistakes)
	}
	if check, err := cl.CheckPolicy(ctx, bad); err != nil || check.OK || len(check.Mistakes) == 0 {
		t.Errorf("check: %+v %v", check, err)
	}
	if got, err := cl.Policy(ctx); err != nil || got.Source != pets {
		t.Errorf("in force: %+v %v", got, err)
	}
	d, err := cl.DiffPolicy(ctx, api.File{Path: "new.yaml", Source: strings.Replace(pets, "resurrect", "leave", 1)})
	until(t, "the VMs are listed", func() bool {
		d, err = cl.DiffPolicy(ctx, api.File{Path: "new.yaml", Source: strings.Replace(pets, "resurrect", "leave", 1)})
		return err == nil && d.VMs == 3
	})
	if len(d.Changes) != 1 || d.Changes[0].VM.Name != "web-0" {
		t.Errorf("diff: %+v %v", d, err)
	}
}

func TestUnknownThingsAreNotFound(t *testing.T) {
	t.Parallel()
	_, cl := begin(t, t.TempDir(), &quietCloud{})
	ctx := t.Context()
	for what, err := range map[string]error{
		"host":         second(cl.Host(ctx, "nope")),
		"maintenance":  second(cl.HostMaintenance(ctx, "nope", true, "r")),
		"confirm-down": second(cl.ConfirmDown(ctx, "nope", "r")),
		"incident":     second(cl.Incident(ctx, "nope")),
		"retry":        second(cl.Retry(ctx, "nope", "", "")),
		"vm":           second(cl.VM(ctx, "nope")),
		"plan":         second(cl.Plan(ctx, []string{"compute-00", "nope"})),
		"zone":         second(cl.ZoneMaintenance(ctx, "nope", true, "r")),
		"rejoin":       second(cl.Rejoin(ctx, "nope")),
		"bind":         second(cl.BindDevices(ctx, "nope", "r")),
		"check":        second(cl.CheckDevices(ctx, []string{"nope"})),
	} {
		var p *api.Problem
		if !errors.As(err, &p) || p.Status != 404 || !strings.Contains(p.Detail, "nope") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := cl.Readmit(ctx, "compute-00")
	problemOf(t, err, 409, "no open incident")
	_, err = cl.HostMaintenance(ctx, "compute-00", true, "")
	problemOf(t, err, 409, "needs a reason")
	_, err = cl.CheckDevices(ctx, []string{"compute-99"})
	problemOf(t, err, 404, `there is no host "compute-99"`)
	_, err = cl.ImportDevices(ctx, api.File{Path: "d.yaml", Source: "hosts:\n  nope:\n    levels: [[{driver: ipmy}]]\n"})
	problemOf(t, err, 422, "ipmy")
	_, err = cl.ImportDevices(ctx, api.File{Path: "d.yaml", Source: "hosts:\n  nope: &m\n    levels: [[{driver: ipmi, address: \"10.9.0.1:623\", username: u, password_env: P}]]\n  nada: *m\n"})
	var all *api.Problem
	if !errors.As(err, &all) || len(all.Mistakes) != 2 || all.Mistakes[0].Line != 2 || !strings.Contains(all.Mistakes[1].Message, `"nada"`) {
		t.Errorf("all of a file's unknown hosts are told at once: %v", err)
	}
	if tok, err := cl.CreateToken(ctx, "compute-O1", time.Hour); err != nil || !strings.Contains(tok.Warning, `Nova has no compute host "compute-O1" (it has: compute-00`) {
		t.Errorf("a token for a host that Nova doesn't know comes with a warning: %+v %v", tok, err)
	}
	if st, err := cl.Status(ctx); err != nil || st.Hosts.Unprotected != 3 || st.Hosts.Reasons["it has no agent (ninelives token create HOST)"] != 3 {
		t.Errorf("unprotected hosts: %+v %v", st.Hosts, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestArmIsRefusedBesideAnotherService(t *testing.T) {
	t.Parallel()
	c := &quietCloud{evacuations: []cloud.Migration{{UserID: "u-masakari"}}}
	_, cl := begin(t, t.TempDir(), c)
	ctx := t.Context()
	if st, err := cl.Status(ctx); err != nil || st.Switches.Armed || len(st.WaitingForYou) == 0 || !strings.Contains(st.WaitingForYou[0], "nobody has armed it yet") {
		t.Fatalf("a new installation acts on nothing, and says so: %+v, %q, %v", st.Switches, st.WaitingForYou, err)
	}
	_, err := cl.Arm(ctx, api.ArmRequest{})
	problemOf(t, err, 409, "u-masakari")
	if st, _ := cl.Status(ctx); st.Switches.Armed {
		t.Fatal("it is armed")
	}
	if r, err := cl.Arm(ctx, api.ArmRequest{Shadow: true}); err != nil || !strings.Contains(r.Text, "shadow") {
		t.Errorf("shadow mode only watches: %+v %v", r, err)
	}
	if r, err := cl.Arm(ctx, api.ArmRequest{Force: true, Reason: "it was me"}); err != nil || !strings.HasPrefix(r.Text, "armed by force; set aside: ") || !strings.Contains(r.Text, "u-masakari") {
		t.Errorf("forced: %+v %v", r, err)
	}
	trail, err := cl.Audit(ctx, time.Time{})
	if last := len(trail) - 1; err != nil || last < 0 || trail[last].What != "arm by force" || !strings.Contains(trail[last].Reply, "u-masakari") {
		t.Errorf("the audit trail doesn't tell of the force: %+v %v", trail, err)
	}
	if st, _ := cl.Status(ctx); !st.Switches.Armed || st.Switches.Shadow {
		t.Errorf("after the force: %+v", st.Switches)
	}
}

func TestWithoutTheCloudTheServerStandsReady(t *testing.T) {
	t.Parallel()
	c := &quietCloud{down: fmt.Errorf("dial keystone: refused: %w", cloud.ErrUnavailable)}
	_, cl := begin(t, t.TempDir(), c)
	if err := cl.Ready(t.Context()); err != nil {
		t.Errorf("readiness must not depend on Keystone: %v", err)
	}
	st, err := cl.Status(t.Context())
	if err != nil || st.Cloud.OK || !strings.Contains(st.Cloud.Trouble, "refused") {
		t.Errorf("status: %+v %v", st.Cloud, err)
	}
	d, err := cl.Doctor(t.Context())
	if err != nil || len(d.Findings) == 0 || d.Findings[0].Code != "cloud-unreachable" {
		t.Errorf("doctor: %+v %v", d, err)
	}
	_, err = cl.DiffPolicy(t.Context(), api.File{Path: "p", Source: pets})
	problemOf(t, err, 503, "the VMs could not be listed yet")
	_, err = cl.ExplainPolicy(t.Context(), "db-1")
	problemOf(t, err, 503, "the VMs could not be listed yet")
	_, err = cl.Arm(t.Context(), api.ArmRequest{}) // nobody knows whether another service evacuates
	problemOf(t, err, 409, "refused")
}

// A server that doesn't lead says who does; it is ready all the same.
func TestAFollowerNamesTheLeader(t *testing.T) {
	t.Parallel()
	s, cl := begin(t, t.TempDir(), &quietCloud{})
	s.reign.Swap(nil).stop()
	s.setLeader(leaderElsewhere)
	ctx := t.Context()
	for what, err := range map[string]error{
		"hosts": second(cl.Hosts(ctx)), "disarm": second(cl.Disarm(ctx, "r")), "policy": second(cl.ApplyPolicy(ctx, api.File{Path: "p", Source: pets})),
		"token": second(cl.CreateToken(ctx, "compute-00", 0)), "fence": second(cl.Devices(ctx)), "doctor": second(cl.Doctor(ctx)),
	} {
		var p *api.Problem
		if !errors.As(err, &p) || p.Status != 503 || p.Leader != "server-2" {
			t.Errorf("%s: %v", what, err)
		}
	}
	st, err := cl.Status(ctx)
	if err != nil || st.Leads || st.Leader != "server-2" || !strings.Contains(st.Partial, "server-2 leads") || st.Hosts.Total != 3 {
		t.Errorf("status: %+v %v", st, err)
	}
	if err := cl.Ready(ctx); err != nil {
		t.Errorf("a follower is ready: %v", err)
	}
}

// Events of another life, or older than what is kept, begin with a reset; nothing is told twice.
func TestEventsTellWhatWasMissed(t *testing.T) {
	t.Parallel()
	s, cl := begin(t, t.TempDir(), &quietCloud{})
	for i := range 3 {
		s.trail.note(engine.Note{Text: fmt.Sprint("note ", i)})
	}
	s.trail.mu.Lock()
	last := s.trail.last
	s.trail.mu.Unlock()
	life := (&backend{s: s}).life()
	follow := func(after string, n int) (got []api.Event) {
		t.Helper()
		enough := errors.New("enough")
		err := cl.Events(t.Context(), after, func(e api.Event) error {
			if got = append(got, e); len(got) == n {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) {
			t.Fatalf("after %q: %v", after, err)
		}
		return got
	}
	if got := follow(eventID(life, last-2), 2); got[0].Text != "note 1" || got[1].Text != "note 2" {
		t.Errorf("going on: %+v", got)
	}
	if got := follow("another-life.3", 2); !got[0].Reset || got[1].Reset || got[1].ID != eventID(life, 1) {
		t.Errorf("another life: %+v", got)
	}
	if got := follow("nonsense", 1); !got[0].Reset {
		t.Errorf("nonsense: %+v", got)
	}
	for range keepRecent + 10 {
		s.trail.note(engine.Note{Text: "much"})
	}
	if got := follow(eventID(life, last), 2); !got[0].Reset || got[1].Text != "much" {
		t.Errorf("older than what is kept: %+v", got)
	}
}

var leaderElsewhere = store.Leadership{LeaderName: "server-2"}

// A new leader shows nothing before it has been told what this server knows: it would be hosts that nobody has seen.
func TestANewLeaderShowsNoEmptyEngine(t *testing.T) {
	r := &reign{in: newInbox(), primed: make(chan struct{}), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.read(ctx, func(*engine.Engine) { t.Error("it was shown") }); !errors.Is(err, context.Canceled) {
		t.Errorf("the look ends with %v", err)
	}
	if events, _ := r.in.take(); len(events) != 0 {
		t.Errorf("a look went ahead: %v", events)
	}
	close(r.done)
	if err := r.read(t.Context(), nil); !errors.Is(err, errNotLeading) {
		t.Errorf("after the reign: %v", err)
	}
}
