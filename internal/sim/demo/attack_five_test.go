//go:build attack

package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// built is the program as people have it.
var built = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(os.TempDir(), "ninelives-attack", "ninelives")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/ninelives-ha/ninelives/cmd/ninelives").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

// user runs a command as an operator at these servers; the text is all that it says.
func (x *playing) user(t *testing.T, at []*process, args ...string) (code int, text string) {
	t.Helper()
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(x.servers[0].o.Data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	var urls []string
	for _, p := range at {
		urls = append(urls, "http://"+p.o.API)
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "NINELIVES_SERVER="+strings.Join(urls, ","), "NINELIVES_TOKEN="+strings.TrimSpace(string(token)))
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// join brings one more server in, as its operator would. all are the servers as they will be, by cluster address.
func (x *playing) join(t *testing.T, p *process, all map[string]string) {
	t.Helper()
	dir := filepath.Dir(p.o.Data)
	text := fmt.Sprintf("name: %s\ndata: %s\nlisten: {api: %q, agents: %q, cluster: %q}\ncluster: {initial: {", p.o.Name, p.o.Data, p.o.API, p.o.Agents, p.o.Cluster)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		text += fmt.Sprintf("%s: %q, ", name, all[name])
	}
	config := filepath.Join(dir, p.o.Name+".yaml")
	if err := os.WriteFile(config, []byte(strings.TrimSuffix(text, ", ")+"}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	code, said := x.user(t, nil, "server", "join", "--config", config, "--bundle", x.bundle, "--through", x.servers[0].o.Agents)
	t.Logf("%s joins within %.1f s (exit %d): %s", p.o.Name, time.Since(begun).Seconds(), code, said)
	if code != 0 {
		t.Fatal("it may not")
	}
	p.o.Initial = all
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	x.servers = append(x.servers, p)
	x.until(t, p.o.Name+" has its vote", func() string {
		var m api.Membership
		if _, said := x.user(t, x.servers, "cluster", "list", "-o", "json"); json.Unmarshal([]byte(said), &m) != nil {
			return said
		}
		for _, s := range m.Servers {
			if s.Name == p.o.Name && s.Healthy && !s.Learner {
				return ""
			}
		}
		return fmt.Sprintf("%+v", m)
	})
}

// until waits for a minute until why is empty.
func (x *playing) until(t *testing.T, what string, why func() string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; pause(t.Context(), 500*time.Millisecond) {
		now := why()
		if now == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s: %s", what, now)
		}
	}
}

// acts counts what has reached the world that can't be undone.
func (a *attack) acts() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, line := range a.story {
		if strings.Contains(line, " bmc-order ") || strings.Contains(line, " evacuate-accepted ") || strings.Contains(line, " service ") {
			n++
		}
	}
	return n
}

// TestAttackFive: two servers join three, as an operator would let them; with two of the five killed, the leader among
// them, a host is fenced and its VMs come back; with a third one killed nothing is done for the next host, and each of
// the two that are left says so; when one returns the work is done.
func TestAttackFive(t *testing.T) {
	o := Options{Hosts: 6, VMs: 36, Seed: *firstSeed, Redfish: 3}
	x := attackServers(t, o, cast{servers: 3})
	a := &attack{t: t, d: x.d, doomed: map[string]string{}, mild: map[string]int{}, others: map[string]time.Time{}, begun: time.Now()}
	t.Cleanup(func() {
		if t.Failed() {
			a.mu.Lock()
			defer a.mu.Unlock()
			t.Logf("the story:\n%s", strings.Join(a.story, "\n"))
		}
	})
	a.world(func(w *world.World) { w.Subscribe(func(e world.Event) { a.see(w, e) }) })
	all := maps.Clone(x.servers[0].o.Initial)
	var more []*process
	for _, name := range []string{"server-4", "server-5"} {
		p := &process{log: x.servers[0].log, o: x.servers[0].o}
		p.o.Name, p.o.Data, p.o.API, p.o.Agents, p.o.Cluster = name, filepath.Join(filepath.Dir(p.o.Data), name), freePort(), freePort(), freePort()
		if err := os.MkdirAll(p.o.Data, 0o700); err != nil {
			t.Fatal(err)
		}
		all[name], more = p.o.Cluster, append(more, p)
		t.Cleanup(func() {
			if p.cmd != nil {
				p.signal(syscall.SIGKILL)
			}
		})
	}
	for _, p := range more {
		x.join(t, p, all)
	}
	cut := func(host string) {
		a.doom(host, "cut")
		a.tell("** %s is cut", host)
		a.world(func(w *world.World) { w.PowerCut(host) })
	}
	lead := func(p *process) bool { // the leader first
		code, said := x.user(t, []*process{p}, "status", "-o", "json")
		var st api.Status
		return code == 0 && json.Unmarshal([]byte(said), &st) == nil && st.Leads
	}
	slices.SortStableFunc(x.servers[1:], func(p, q *process) int { // server-1 stays: its token is the operator's
		switch {
		case lead(p) && !lead(q):
			return -1
		case lead(q) && !lead(p):
			return 1
		}
		return 0
	})
	kill := func(p *process) {
		a.tell("** %s is killed", p.o.Name)
		p.signal(syscall.SIGKILL)
	}
	kill(x.servers[1])
	kill(x.servers[2])
	cut("host-02")
	a.judge()
	if truth := x.d.truth.now(); len(truth.down) > 0 || a.acts() == 0 {
		t.Fatalf("with three of five servers %d VMs stay down after %d acts", len(truth.down), a.acts())
	}

	kill(x.servers[3])
	left := []*process{x.servers[0], x.servers[4]}
	for _, p := range left {
		x.until(t, p.o.Name+" says that there is no quorum", func() string {
			code, said := x.user(t, []*process{p}, "status", "--exit-code")
			if code != 3 || !strings.Contains(said, "NO QUORUM: 2 of 5") || !strings.Contains(said, p.o.Name+" acts on nothing") || strings.Contains(said, "DISARMED") {
				return fmt.Sprintf("exit %d: %s", code, said)
			}
			return ""
		})
		_, said := x.user(t, []*process{p}, "status")
		t.Logf("%s says:\n%s", p.o.Name, said)
	}
	before := a.acts()
	cut("host-05")
	pause(t.Context(), 40*time.Second) // three times what a fence takes with a quorum
	if n := a.acts(); n != before {
		t.Errorf("two of five servers have done %d things", n-before)
	}
	for _, args := range [][]string{{"host", "fence", "host-05", "--reason", "test", "--yes"}, {"disarm", "--reason", "test"}, {"cluster", "remove", x.servers[1].o.Name, "--reason", "test", "--yes"}, {"cluster", "backup", filepath.Join(t.TempDir(), "backup")}} {
		code, said := x.user(t, left, args...)
		t.Logf("%s (exit %d): %s", strings.Join(args, " "), code, said)
		if code == 0 {
			t.Errorf("two of five servers did what %q asks for", args)
		}
	}
	if err := x.servers[3].start(); err != nil {
		t.Fatal(err)
	}
	a.tell("** %s is back", x.servers[3].o.Name)
	a.judge()
	if truth := x.d.truth.now(); len(truth.down) > 0 {
		t.Errorf("with three of five servers %d VMs stay down", len(truth.down))
	}
}
