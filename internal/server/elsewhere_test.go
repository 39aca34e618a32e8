package server

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/api"
)

// TestTwoClusters: one of three servers is restored from a backup; then the two others start again with their old database.
// Both sides say so, in status, doctor and the story, and neither is armed without force. What is left of the old side when
// it has no quorum is sent to the other.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	x := startTrio(t, 1)
	waitLeader(t, x.servers)
	backup := filepath.Join(t.TempDir(), "backup")
	f, err := os.Create(backup)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&backend{s: x.servers["server-1"]}).Backup(t.Context(), "admin", f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, name := range []string{"server-1", "server-2", "server-3"} {
		x.end(t, name)
	}
	if err := os.Rename(filepath.Join(x.dirs["server-1"], "etcd"), filepath.Join(t.TempDir(), "old")); err != nil {
		t.Fatal(err)
	}
	if err := Restore(t.Context(), x.config("server-1"), backup, ""); err != nil {
		t.Fatal(err)
	}
	restored := x.start(t, "server-1", nil)
	waitFor(t, "the restored server leads", func() bool { return restored.reign.Load() != nil })
	if says := waitsFor(t, restored); strings.Contains(says, "two clusters") {
		t.Errorf("alone it says %s", says)
	}

	old := map[string]*Server{"server-2": x.start(t, "server-2", nil), "server-3": x.start(t, "server-3", nil)}
	leader := old[waitLeader(t, old)]
	for s, who := range map[*Server]string{restored: "server-2", leader: "server-1"} {
		waitFor(t, "status says so", func() bool { return strings.Contains(waitsFor(t, s), "two clusters") })
		b := &backend{s: s}
		d, err := b.Doctor(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(d.Findings, func(f api.Finding) bool { return f.Code == "two-clusters" })
		if i < 0 || !d.Findings[i].Forbids || !strings.Contains(d.Findings[i].What, who+" ("+x.initial[who]+")") {
			t.Errorf("doctor of %s finds %+v", s.cfg.Name, d.Findings)
		}
		if _, err := b.Arm(t.Context(), api.Arming{By: "admin"}); err == nil || !strings.Contains(err.Error(), "two clusters") {
			t.Errorf("armed beside another cluster: %v", err)
		}
		if _, err := b.Arm(t.Context(), api.Arming{By: "admin", Force: true, Reason: "rehearsal"}); err != nil {
			t.Errorf("armed by force: %v", err)
		}
	}
	rows := gauges(t, leader)
	if rows["ninelives_servers healthy"] != 2 || rows["ninelives_servers lost"] != 1 || rows["ninelives_quorum"] != 1 {
		t.Errorf("the old leader's gauges: %v", rows)
	}
	delete(old, leader.cfg.Name)
	for _, follower := range old {
		if rows := gauges(t, follower); rows["ninelives_quorum"] != 1 {
			t.Errorf("a follower's gauges: %v", rows)
		} else if _, there := rows["ninelives_servers healthy"]; there {
			t.Error("a follower counts servers that it hasn't asked")
		}
		x.end(t, leader.cfg.Name)
		waitFor(t, "the last old one is sent to the other cluster", func() bool {
			says := waitsFor(t, follower)
			return strings.Contains(says, "no quorum") && strings.Contains(says, "at the address of server-1") && strings.Contains(says, "ninelives server join")
		})
		if rows := gauges(t, follower); rows["ninelives_quorum"] != 0 {
			t.Errorf("without a quorum its gauges are %v", rows)
		}
	}
}

// waitsFor is what waits for people.
func waitsFor(t *testing.T, s *Server) string {
	t.Helper()
	st, err := (&backend{s: s}).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(st.WaitingForYou, "\n")
}
