package server

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud/openstack"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// TestThreeServers: three servers form a quorum from one bundle; when the leader ends, another one leads and knows what
// the first had recorded.
func TestThreeServers(t *testing.T) {
	cloud, err := wire.Start(t.Context(), wire.Options{Hosts: 3, VMs: 3, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	ca, err := pki.Init(filepath.Join(dirs[0], "pki"), "ninelives", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(t.TempDir(), "bundle")
	if err := ca.Export(bundle); err != nil {
		t.Fatal(err)
	}
	initial := map[string]string{}
	for i := range dirs {
		initial[fmt.Sprintf("server-%d", i+1)] = freePort(t)
		if _, err := pki.Import(filepath.Join(dirs[i], "pki"), bundle); err != nil {
			t.Fatal(err)
		}
	}
	servers := map[string]*Server{}
	for i, dir := range dirs {
		name := fmt.Sprintf("server-%d", i+1)
		cfg := DefaultConfig()
		cfg.Name, cfg.Data, cfg.Cluster.Initial = name, dir, initial
		cfg.Listen = Listen{API: "127.0.0.1:0", Agents: "127.0.0.1:0", Cluster: initial[name]}
		client, err := openstack.Open(openstack.Options{Login: &openstack.Login{
			AuthURL: cloud.AuthURL(), Username: wire.Username, Password: wire.Password, ProjectName: wire.ProjectName, Region: wire.Region,
		}})
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(Options{Config: cfg, Cloud: client})
		if err != nil {
			t.Fatal(err)
		}
		servers[name] = s
		if err := s.Start(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	leader := waitLeader(t, servers)
	r := servers[leader].reign.Load()
	if reply, err := r.ask(t.Context(), engine.Asked{ID: "1", By: "admin", Verb: engine.Disarm, Reason: "rehearsal"}); err != nil || !reply.OK {
		t.Fatalf("disarm: %v %v", reply, err)
	}
	begun := time.Now()
	stop(t, servers[leader])
	delete(servers, leader)
	next := waitLeader(t, servers)
	t.Logf("%s led %.1f s after %s ended", next, time.Since(begun).Seconds(), leader)
	var sw engine.Switches
	if err := servers[next].reign.Load().read(t.Context(), func(e *engine.Engine) { sw, _ = e.Switches() }); err != nil {
		t.Fatal(err)
	}
	if sw.Armed || sw.Reason != "rehearsal" {
		t.Errorf("the new leader knows %+v, expected it disarmed for the rehearsal", sw)
	}
	for _, s := range servers {
		stop(t, s)
	}
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func waitLeader(t *testing.T, servers map[string]*Server) string {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case <-deadline:
			t.Fatal("no server leads within 20 s")
		case <-tick.C:
			for name, s := range servers {
				if s.reign.Load() != nil {
					return name
				}
			}
		}
	}
}
