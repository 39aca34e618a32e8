package server

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/transport"
)

func clientOf(t *testing.T, s *Server, token string) *client.Client {
	t.Helper()
	c, err := client.New("http://"+s.APIAddr().String(), token, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestServersComeAndGo: a server that is lost is taken out through a follower, by another server's admin token; one of the
// same name joins with the bundle, through a follower; and of a backup becomes a cluster of one that is disarmed.
func TestServersComeAndGo(t *testing.T) {
	t.Parallel()
	x := startTrio(t, 1)
	leader := x.lead(t, "server-1")
	follower := x.servers["server-2"]
	waitFor(t, "all know each other", func() bool {
		return len(leader.cards.all()) == 3 && len(follower.cards.all()) == 3
	})
	if reply, err := leader.reign.Load().ask(t.Context(), engine.Asked{ID: "1", By: "admin", Verb: engine.Arm}); err != nil || !reply.OK {
		t.Fatalf("arm: %v %v", reply, err)
	}
	api1 := clientOf(t, follower, leader.AdminToken())
	if _, err := clientOf(t, follower, "a wrong token, long enough").Members(t.Context()); err == nil {
		t.Error("a token of nobody is taken")
	}
	if _, err := api1.RemoveServer(t.Context(), "server-1", "it leads"); err == nil || !strings.Contains(err.Error(), "doesn't remove itself") {
		t.Errorf("the leader removes itself: %v", err)
	}

	host, _ := dialAs(t, follower, creds(t, follower, "compute-01", uuid(1)), helloFrom("compute-01", uuid(1))) // it knows of one server
	reaches := func(name string) func() bool {
		return func() bool {
			return slices.ContainsFunc(host.States(), func(s transport.ServerState) bool { return s.Connected && s.Name == name })
		}
	}
	waitFor(t, "its agent has learnt of the leader", reaches("server-1"))

	x.end(t, "server-3")
	if err := os.RemoveAll(x.dirs["server-3"]); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the lost server is missed, and removed", func() bool {
		_, err := api1.RemoveServer(t.Context(), "server-3", "its disk died")
		if err != nil {
			t.Log(err)
		}
		return err == nil
	})
	x.dirs["server-3"] = t.TempDir()
	through := follower.AgentsAddr().String() // it doesn't lead: the leader is found
	waitFor(t, "the new server may join", func() bool {
		// etcd wants the others connected for 5 s first: it waits.
		_, err := Join(t.Context(), x.config("server-3"), x.bundle, through, func(why string) { t.Log("not yet:", why) })
		if err != nil {
			t.Log(err)
		}
		return err == nil
	})
	x.start(t, "server-3", nil)
	waitFor(t, "the new server has its vote", func() bool {
		m, err := api1.Members(t.Context())
		return err == nil && len(m.Servers) == 3 && m.Servers[2].Name == "server-3" && m.Servers[2].Healthy && !m.Servers[2].Learner
	})
	waitFor(t, "the agent reaches it, too", reaches("server-3"))

	backup := filepath.Join(t.TempDir(), "backup")
	f, err := os.Create(backup)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api1.Backup(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := CheckBackup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	x.dirs["server-9"], x.initial = t.TempDir(), map[string]string{"server-9": freePort(t)}
	if err := Restore(t.Context(), x.config("server-9"), backup, x.bundle); err != nil {
		t.Fatal(err)
	}
	alone := x.start(t, "server-9", nil)
	waitFor(t, "the restored server leads", func() bool { return alone.reign.Load() != nil })
	var sw engine.Switches
	if err := alone.reign.Load().read(t.Context(), func(e *engine.Engine) { sw, _ = e.Switches() }); err != nil {
		t.Fatal(err)
	}
	if sw.Armed || !strings.Contains(sw.Reason, "restored from backup") {
		t.Errorf("the restored server's switches are %+v", sw)
	}
}
