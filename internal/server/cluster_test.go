package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/cloud/openstack"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// trio are three servers that form a quorum from one bundle, by name.
type trio struct {
	cloud   *wire.Cloud
	ca      *pki.CA
	bundle  string
	initial map[string]string
	dirs    map[string]string
	servers map[string]*Server
	shape   func(name string, c *Config) // what is different from three servers with etcd inside; nil: nothing
}

func startTrio(t *testing.T, hosts int) *trio {
	t.Helper()
	return startShaped(t, hosts, nil)
}

func startShaped(t *testing.T, hosts int, shape func(string, *Config)) *trio {
	t.Helper()
	cloud, err := wire.Start(t.Context(), wire.Options{Hosts: hosts, VMs: hosts, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cloud.Close() })
	x := &trio{cloud: cloud, bundle: filepath.Join(t.TempDir(), "bundle"), initial: map[string]string{}, dirs: map[string]string{}, servers: map[string]*Server{}, shape: shape}
	for i := range 3 {
		name := fmt.Sprintf("server-%d", i+1)
		x.initial[name], x.dirs[name] = freePort(t), t.TempDir()
	}
	if x.ca, err = pki.Init(filepath.Join(x.dirs["server-1"], "pki"), "ninelives", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := x.ca.Export(x.bundle); err != nil {
		t.Fatal(err)
	}
	for name := range x.initial {
		x.start(t, name, nil)
	}
	t.Cleanup(func() {
		for _, s := range x.servers {
			stop(t, s)
		}
	})
	return x
}

// start starts one, at its first start with the bundle's CA.
func (x *trio) start(t *testing.T, name string, change func(*Options)) *Server {
	t.Helper()
	if _, err := pki.Import(filepath.Join(x.dirs[name], "pki"), x.bundle); err != nil {
		t.Fatal(err)
	}
	client, err := openstack.Open(openstack.Options{Login: &openstack.Login{
		AuthURL: x.cloud.AuthURL(), Username: wire.Username, Password: wire.Password, ProjectName: wire.ProjectName, Region: wire.Region,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	o := Options{Config: x.config(name), Cloud: client}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	x.servers[name] = s
	if err := s.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

func (x *trio) config(name string) Config {
	cfg := DefaultConfig()
	cfg.Name, cfg.Data, cfg.Cluster.Initial = name, x.dirs[name], x.initial
	cfg.Listen = Listen{API: "127.0.0.1:0", Agents: "127.0.0.1:0", Cluster: x.initial[name]}
	if x.shape != nil {
		x.shape(name, &cfg)
	}
	return cfg
}

// end stops one as an operator would.
func (x *trio) end(t *testing.T, name string) {
	t.Helper()
	stop(t, x.servers[name])
	delete(x.servers, name)
}

// lead makes the named server the leader.
func (x *trio) lead(t *testing.T, name string) *Server {
	t.Helper()
	waitFor(t, name+" leads", func() bool {
		leader := waitLeader(t, x.servers)
		if leader == name {
			return true
		}
		if err := x.servers[leader].store.Resign(t.Context(), name); err != nil {
			t.Logf("%s resigns: %v", leader, err)
		}
		return false
	})
	return x.servers[name]
}

// TestThreeServers: when the leader ends, another one leads and knows what the first had recorded.
func TestThreeServers(t *testing.T) {
	t.Parallel()
	x := startTrio(t, 3)
	leader := waitLeader(t, x.servers)
	r := x.servers[leader].reign.Load()
	if reply, err := r.ask(t.Context(), engine.Asked{ID: "1", By: "admin", Verb: engine.Disarm, Reason: "rehearsal"}); err != nil || !reply.OK {
		t.Fatalf("disarm: %v %v", reply, err)
	}
	begun := time.Now()
	x.end(t, leader)
	next := waitLeader(t, x.servers)
	t.Logf("%s led %.1f s after %s ended", next, time.Since(begun).Seconds(), leader)
	var sw engine.Switches
	if err := x.servers[next].reign.Load().read(t.Context(), func(e *engine.Engine) { sw, _ = e.Switches() }); err != nil {
		t.Fatal(err)
	}
	if sw.Armed || sw.Reason != "rehearsal" {
		t.Errorf("the new leader knows %+v, expected it disarmed for the rehearsal", sw)
	}
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
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

// TestQuorumLost: what is left of three servers says that there is no quorum, not that a dead one leads.
func TestQuorumLost(t *testing.T) {
	t.Parallel()
	x := startTrio(t, 1)
	x.end(t, waitLeader(t, x.servers))
	x.end(t, waitLeader(t, x.servers))
	for _, s := range x.servers {
		b := &backend{s: s}
		waitFor(t, "it says that there is no quorum", func() bool {
			_, err := b.Hosts(t.Context(), api.Page{})
			p, ok := errors.AsType[*api.Problem](err)
			return ok && p.Status == 503 && p.Leader == "" && strings.HasPrefix(p.Detail, "no quorum: 1 of 3 servers answer")
		})
		st, err := b.Status(t.Context())
		if err != nil || st.Leader != "" || st.Servers.Electing || !strings.HasPrefix(st.Partial, "no quorum: ") || len(st.WaitingForYou) != 1 {
			t.Errorf("without a quorum, status is %+v %v", st, err)
		}
		if _, err := b.Arm(t.Context(), api.Arming{By: "admin"}); err == nil || !strings.Contains(err.Error(), "no quorum") {
			t.Errorf("arm says %v", err)
		}
	}
}
