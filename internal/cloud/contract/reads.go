package contract

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/cloud/openstack"
)

func (r *run) capabilities(t *testing.T) {
	caps, err := r.c.Capabilities(r.within(t))
	if err != nil {
		t.Fatal(err)
	}
	if caps.Max < cloud.Lowest || caps.UserID == "" || caps.User != r.h.Login.Username || caps.ProjectID == "" {
		t.Errorf("capabilities: %+v", caps)
	}
	for _, s := range []string{"identity", "compute", "placement", "image"} {
		if caps.Endpoints[s] == "" {
			t.Errorf("no endpoint for %s: %v", s, caps.Endpoints)
		}
	}
	if !slices.Contains(caps.Roles, "admin") {
		t.Errorf("roles %v: the suite needs admin", caps.Roles)
	}
	r.caps = caps
}

func (r *run) wrongLogins(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0") // a port that surely nobody listens on
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		change func(*openstack.Login)
		class  error
		says   string
	}{
		{"password", func(l *openstack.Login) { l.Password += "x" }, cloud.ErrUnauthorized, "doesn't accept user " + r.h.Login.Username},
		{"project", func(l *openstack.Login) { l.ProjectName, l.ProjectID = "nobody's", "" }, cloud.ErrUnauthorized, "project"},
		{"region", func(l *openstack.Login) { l.Region = "Atlantis" }, cloud.ErrUnavailable, `no compute endpoint (interface public) in region "Atlantis"`},
		{"address", func(l *openstack.Login) { l.AuthURL = "http://" + closed.Addr().String() + "/v3" }, cloud.ErrUnavailable, "cannot log in to Keystone at"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := r.h.Login
			tc.change(&l)
			c, err := openstack.Open(openstack.Options{Login: &l})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, err = c.Services(r.within(t))
			if !errors.Is(err, tc.class) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v\nwant %v, saying %q", err, tc.class, tc.says)
			}
			if strings.Contains(err.Error(), l.Password) && !strings.Contains(l.String(), l.Password) {
				t.Errorf("the password stands in the error: %v", err)
			}
			rec, err := c.Start(r.within(t), yes(), nowhere())
			if !errors.Is(err, cloud.ErrNotSent) || !errors.Is(err, tc.class) || rec.Sent {
				t.Errorf("a write gave %v (sent %t), want ErrNotSent", err, rec.Sent)
			}
		})
	}
}

func (r *run) hosts(t *testing.T) {
	ctx := r.within(t)
	hypervisors, err := r.c.Hypervisors(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range r.h.Hosts {
		s := r.service(t, host)
		if s.ID == "" || s.State != "up" || s.Disabled || s.ForcedDown || s.UpdatedAt.IsZero() || s.Zone == "" {
			t.Errorf("service of %s: %+v", host, s)
		}
		i := slices.IndexFunc(hypervisors, func(y cloud.Hypervisor) bool { return y.Host == host })
		if i < 0 {
			t.Fatalf("no hypervisor of host %s in %+v", host, hypervisors)
		}
		if y := hypervisors[i]; len(y.ID) != 36 || y.Name == "" || y.Type == "" || y.VCPUs == 0 || y.MemoryMB == 0 || y.State != "up" {
			t.Errorf("hypervisor of %s: %+v", host, y)
		}
	}
	if _, err := r.c.Aggregates(ctx); err != nil {
		t.Error(err)
	}
	if _, err := r.c.ServerGroups(ctx); err != nil {
		t.Error(err)
	}
}

// service reads one host's service, which must be the one that stands in the list of all.
func (r *run) service(t *testing.T, host string) cloud.Service {
	t.Helper()
	list, err := r.c.Services(r.within(t))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(s cloud.Service) bool { return s.Host == host })
	if i < 0 {
		t.Fatalf("no compute service of host %s in %+v", host, list)
	}
	s, err := r.c.Service(r.within(t), host)
	if err != nil || s.ID != list[i].ID || s.Host != host {
		t.Fatalf("the service of %s is %+v, %v; in the list it is %+v", host, s, err, list[i])
	}
	if s, err := r.c.Service(r.within(t), host+"-not"); !errors.Is(err, cloud.ErrNotFound) {
		t.Errorf("the service of a host that isn't there is %+v, %v", s, err)
	}
	return s
}

func (r *run) boot(t *testing.T) {
	for _, name := range []string{"contract-runs", "contract-stopped"} {
		id, err := r.h.BootVM(r.within(t), name, r.dead)
		if err != nil {
			t.Fatalf("cannot boot %s on %s: %v", name, r.dead, err)
		}
		r.vms = append(r.vms, id)
	}
}

func (r *run) servers(t *testing.T) {
	ctx := r.within(t)
	list, err := r.c.ServersOn(ctx, r.dead)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]cloud.Server{}
	if err := r.c.AllServers(ctx, func(s cloud.Server) error { all[s.ID] = s; return nil }); err != nil {
		t.Fatal(err)
	}
	for i, id := range r.vms {
		one, err := r.c.Server(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(list.Servers, func(s cloud.Server) bool { return s.ID == id })
		if at < 0 {
			t.Fatalf("%s isn't among the servers of %s: %+v", id, r.dead, list.Servers)
		}
		for _, s := range []cloud.Server{one, list.Servers[at], all[id]} {
			r.whole(t, s, []string{"contract-runs", "contract-stopped"}[i])
		}
		r.booted(ctx, t, id)
	}
	r.allocated(ctx, t)
	if image := all[r.vms[0]].ImageID; image != "" {
		if _, err := r.c.ImageProperties(ctx, image); err != nil {
			t.Error(err)
		}
	}
}

// whole checks that a server has every field that decisions are made from.
func (r *run) whole(t *testing.T, s cloud.Server, name string) {
	t.Helper()
	ok := strings.HasPrefix(s.Name, name) && s.Host == r.dead && s.Hypervisor != "" && s.Zone != "" && s.Status == "ACTIVE" && s.VMState == "active" &&
		s.TaskState == "" && s.PowerState == cloud.PowerRunning && !s.Locked && !s.Created.IsZero() && !s.LaunchedAt.IsZero() &&
		s.ProjectID != "" && s.UserID != "" && s.Flavor.Name != "" && s.Flavor.VCPUs > 0 && s.Flavor.MemoryMB > 0 && s.Flavor.ExtraSpecs != nil
	if !ok {
		t.Errorf("server %s: %+v", name, s)
	}
}

func (r *run) booted(ctx context.Context, t *testing.T, id string) {
	t.Helper()
	actions, err := r.c.Actions(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if len(actions) == 0 || actions[len(actions)-1].Name != "create" || actions[0].Start.IsZero() || actions[0].UserID == "" || actions[0].RequestID == "" {
		t.Errorf("actions of %s: %+v", id, actions)
	}
}

func (r *run) allocated(ctx context.Context, t *testing.T) {
	t.Helper()
	hypervisors, err := r.c.Hypervisors(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(hypervisors, func(y cloud.Hypervisor) bool { return y.Host == r.dead })
	held, err := r.c.Allocations(ctx, hypervisors[i].ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range r.vms {
		if !slices.Contains(held, id) {
			t.Errorf("Placement knows no allocation of %s on %s: %v", id, r.dead, held)
		}
	}
}

func (r *run) notFound(t *testing.T) {
	ctx := r.within(t)
	_, errServer := r.c.Server(ctx, nowhere())
	_, errActions := r.c.Actions(ctx, nowhere())
	_, errAllocations := r.c.Allocations(ctx, nowhere())
	_, errImage := r.c.ImageProperties(ctx, nowhere())
	_, errEvacuate := r.c.Evacuate(ctx, yes(), nowhere(), cloud.Evacuate{})
	_, errTakeOut := r.c.TakeOut(ctx, yes(), nowhere(), cloud.TakeOut{})
	for what, err := range map[string]error{
		"server": errServer, "actions": errActions, "allocations": errAllocations, "image": errImage, "evacuate": errEvacuate, "take out": errTakeOut,
	} {
		if !errors.Is(err, cloud.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", what, err)
		}
	}
	list, err := r.c.ServersOn(ctx, "no-such-host")
	if err != nil || len(list.Servers) != 0 {
		t.Errorf("servers on a host that isn't: %v, %v", list.Servers, err)
	}
}
