//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/test/rig"
)

// oneServerSeen: the hosts reach one server, which doesn't lead, and not the two others. Nobody is taken for dead; the one
// that sees gets to lead; and a host that dies is recovered.
func oneServerSeen(r *row) {
	boot, leader := r.bootOf(), r.Leader(r)
	var seen *rig.Product
	cut := time.Now()
	for _, p := range r.Servers {
		if p != leader && seen == nil {
			seen = p
			continue
		}
		for _, m := range r.Machines {
			p.Drop(r, m.Management, m.Storage)
		}
		r.Cleanup(func() { p.Pass(r) })
	}
	rig.Within(r, time.Minute, seen.Name+" leads, which alone sees hosts", func() string {
		if s, err := seen.OwnStatus(); err != nil || !s.Leads {
			return fmt.Sprintf("%s leads (%v)", s.Leader, err)
		}
		return ""
	})
	r.Logf("%s leads %.1f s after the others were cut off from all hosts", seen.Name, time.Since(cut).Seconds())
	time.Sleep(time.Until(cut.Add(30 * time.Second))) // longer than any dead_after: nothing may come of it
	for host := range r.Machines {
		if did := r.Lab.BMC(r, host, cut); len(did) > 0 {
			r.Errorf("the BMC of %s was told %v, although the host lives", host, did)
		}
	}
	if s, err := r.Main.Status(); err != nil || s.Hosts.Up != len(r.Machines) {
		r.Errorf("%d of %d hosts are up (%v)", s.Hosts.Up, len(r.Machines), err)
	}
	r.strike("host", r.host, "off")
	r.awaitVerdict(engine.Off, 30*time.Second)
	r.awaitBack(3*time.Minute, r.vms)
	r.fenced()
	r.readmitted(3*time.Minute, boot)
	for _, p := range r.Servers {
		p.Pass(r)
	}
}

// allKilled: all three at once in the middle of a recovery, and started again.
func allKilled(r *row) {
	boot := r.bootOf()
	r.strike("host", r.host, "off")
	r.struckMeanwhile()
	for _, p := range r.Servers {
		r.kill(p)
	}
	time.Sleep(3 * time.Second)
	at := time.Now()
	for _, p := range r.Servers {
		p.Start(r)
	}
	for _, p := range r.Servers {
		p.Ready(r, time.Minute)
	}
	r.awaitBack(5*time.Minute, r.vms)
	r.fenced()
	r.gap(at, nil, 0)
	r.readmitted(3*time.Minute, boot)
}

// dataLost: the database of one server is gone. It may not vote again as if it remembered; the others go on; replaced as
// the documentation says, it counts again.
func dataLost(r *row) {
	boot, leader := r.bootOf(), r.Leader(r)
	victim, other := r.Servers[1], r.Servers[2]
	if victim == leader {
		victim, other = other, victim
	}
	victim.Kill()
	if err := os.RemoveAll(filepath.Join(victim.DataDir(), "etcd")); err != nil {
		r.Fatal(err)
	}
	victim.Start(r)
	if code := victim.Ends(time.Minute); code <= 0 {
		r.Errorf("%s without its database ends with %d, expected an error", victim.Name, code)
	}
	says(r.T, "the server", victim.Log(10), victim.Name, victim.DataDir(), "ninelives cluster replace")
	victim.Kill()

	r.strike("host", r.host, "off")
	r.awaitVerdict(engine.Off, 30*time.Second)
	r.awaitBack(3*time.Minute, r.vms)
	r.fenced()
	r.readmitted(3*time.Minute, boot)

	r.Main.Do(r, "cluster", "replace", victim.Name, "--reason", "its disk is lost", "--yes")
	if err := os.RemoveAll(filepath.Join(victim.DataDir(), "etcd")); err != nil {
		r.Fatal(err)
	}
	victim.Own(r, "server", "join", "--config", victim.Config, "--bundle", r.Bundle(), "--through", other.AgentsAddress())
	victim.Start(r)
	victim.Ready(r, time.Minute)
	r.complete()
	leader = r.Leader(r)
	leader.Kill()
	r.Logf("%s leads after %s was killed: the vote of %s counts", r.Leader(r).Name, leader.Name, victim.Name)
}

// leaderDiskFull: half-way through a recovery the leader's disk is full. Another server goes on; with room again, it is one
// of three again.
func leaderDiskFull(r *row) {
	boot, small := r.bootOf(), r.Servers[0]
	for try := 0; r.Leader(r) != small; try++ {
		if try == 12 {
			r.Fatalf("%s doesn't come to lead", small.Name)
		}
		p := r.Leader(r)
		p.Stop()
		r.start(p)
	}
	r.strike("host", r.host, "off")
	r.struckMeanwhile()
	filler := filepath.Join(r.Disk(), "filler")
	fill(r.T, filler)
	at := time.Now()
	free := func() {
		if err := os.Remove(filler); err != nil && !os.IsNotExist(err) {
			r.Error(err)
		}
	}
	r.Cleanup(free)
	rig.Within(r, 2*time.Minute, "the full disk is felt", func() string {
		if !small.Runs() {
			return ""
		}
		if s, err := small.OwnStatus(); err == nil && !s.Leads {
			return ""
		}
		// The database has room left within its files: operators' words use it up.
		path := filepath.Join(r.Lab.Run, "e2e", "long-policy.yaml")
		text, err := os.ReadFile(filepath.Join(r.Lab.Run, "e2e", "policy.yaml"))
		if err != nil {
			r.Fatal(err)
		}
		r.Put(r, path, string(text)+"# "+strings.Repeat(fmt.Sprint(time.Now().UnixNano()), 5000)+"\n")
		got := r.Main.Run("policy", "apply", path)
		return fmt.Sprintf("%s still leads; policy apply: %d %s%s", small.Name, got.Code, got.Stdout, got.Stderr)
	})
	r.Logf("felt %.1f s after the disk was full; %s runs: %v", time.Since(at).Seconds(), small.Name, small.Runs())
	r.awaitBack(5*time.Minute, r.vms)
	r.fenced()
	r.readmitted(3*time.Minute, boot)
	says(r.T, "the server", small.Log(100), "no space left on device", small.DataDir())
	free()
	r.complete()
	r.ApplyPolicy(r, 100, "0s")
}
