//go:build e2e || bench

package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Rig is the one lab with the one server that all rows share.
type Rig struct {
	Lab      *Lab
	Nova     *Nova
	Main     *Product   // the server, or the front of all
	Servers  []*Product // each of them
	Watch    *Watch
	Machines map[string]Machine
}

// policyText is the policy of all rows; what a row needs besides goes by the names of its VMs. The settle time is short
// and storms are allowed, since every row is a failure of its own; the storm row applies its own policy.
const policyText = `rules:
  - name: opted out
    match: {name: "*optout*"}
    on_host_failure: leave
  - name: stopped ones too
    match: {name: "*moves*"}
    on_host_failure: resurrect
    stopped: resurrect
  - name: may be rebuilt
    match: {name: "*rebuild*"}
    on_host_failure: rebuild
  - name: everyone else
    on_host_failure: resurrect
hosts:
  storm_percent: %d
  storm_cooldown: %s
  fences_per_minute: 600
  settle: 3s
  reboot_wait: 60s
`

// SetUp brings up the lab if needed and the product on it, from nothing: one server, an agent on every host, devices, a
// policy, armed; it returns when every host is protected.
func SetUp(t *testing.T) *Rig { return setUp(t, (*Rig).oneServer) }

func setUp(t *testing.T, servers func(*Rig, *testing.T, string)) *Rig {
	t.Helper()
	began := time.Now()
	say := func(what string) { t.Logf("%5.0f s  %s", time.Since(began).Seconds(), what) }
	binary := os.Getenv("NINELIVES_BINARY") // another build than this tree's
	if binary == "" {
		binary = "../../bin/ninelives"
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	f := &Rig{Lab: findLab(t)}
	f.Lab.up(t)
	say("the lab is up")
	f.Nova, f.Machines = newNova(t, f.Lab), f.Lab.machines(t)
	f.leftovers(t)
	if err := os.RemoveAll(f.dir()); err != nil {
		t.Fatal(err)
	}
	// Hosts boot a binary of their own: a rebuilt one must not change below their feet.
	own := filepath.Join(f.dir(), "ninelives")
	copyFile(t, binary, own)
	f.Lab.Do(t, "use", own)
	servers(f, t, own)
	say("the server answers")
	f.normalise(t)
	f.join(t)
	say("agents have tokens, hosts boot")
	if r := f.Main.Run("fence", "import", filepath.Join(f.Lab.Run, "devices.yaml")); r.Code != 0 && r.Code != 3 { // 3: not bound yet, the hosts still boot
		t.Fatalf("fence import: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	f.ApplyPolicy(t, 100, "0s")
	f.Main.Do(t, "arm", "--force", "--reason", "the lab")
	f.Settled(t, 240*time.Second)
	say("every host is protected")
	f.Watch = StartWatch(f.Nova)
	t.Cleanup(f.Watch.End)
	return f
}

func (f *Rig) dir() string { return filepath.Join(f.Lab.Run, "e2e") }

func (f *Rig) oneServer(t *testing.T, binary string) {
	f.Main = NewProduct(t, binary, ServerSpec{Dir: filepath.Join(f.dir(), "server"), Agents: "10.77.0.1", Clouds: filepath.Join(f.Lab.Run, "clouds.yaml")})
	f.Servers = []*Product{f.Main}
	f.Main.Start(t)
	t.Cleanup(func() { f.Main.Stop() })
	f.Main.Ready(t, 60*time.Second)
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o755); err != nil {
		t.Fatal(err)
	}
}

// normalise takes back what an earlier run, or a failed one, left: quirks of BMCs, cut planes, forced services, VMs.
func (f *Rig) normalise(t *testing.T) {
	t.Helper()
	f.Lab.Do(t, "proxy-lose-answer", "off")
	f.Lab.Do(t, "vms", "delete", "-")
	for host := range f.Machines {
		f.Lab.Do(t, "bmc", host, "normal")
		for _, plane := range []string{"management", "storage"} {
			f.Lab.Do(t, "host", host, "heal", plane)
		}
	}
	services, err := f.Nova.Services()
	if err != nil {
		t.Fatal(err)
	}
	for host, s := range services {
		if s.ForcedDown || s.Status != "enabled" {
			f.Nova.SetService(t, host, map[string]any{"forced_down": false, "status": "enabled"})
		}
	}
}

// join gives every host its agent: a configuration, a token for the first start, and a boot.
func (f *Rig) join(t *testing.T) {
	t.Helper()
	var boots sync.WaitGroup
	for host, m := range f.Machines {
		if err := os.RemoveAll(filepath.Join(m.Dir, "agent")); err != nil {
			t.Fatal(err)
		}
		var token struct{ Token string }
		f.Main.JSON(t, &token, "token", "create", host)
		f.Put(t, filepath.Join(m.Dir, "token"), token.Token)
		f.AgentConfig(t, m, false)
		boots.Go(func() { f.Reboot(t, host) })
	}
	boots.Wait()
}

// AgentConfig writes a host's agent.yaml. All directories of the lab lie on one disk, so the operator's word says which
// hosts share a store; ownStore: this one has its own.
func (f *Rig) AgentConfig(t testing.TB, m Machine, ownStore bool) {
	t.Helper()
	instances := filepath.Join(f.Lab.Run, "shared", "fake")
	switch {
	case ownStore:
		instances = filepath.Join(m.Dir, "instances")
	case m.Real:
		instances = filepath.Join(f.Lab.Run, "shared", "real")
	}
	store, err := os.ReadFile(filepath.Join(instances, ".store-id"))
	if err != nil {
		t.Fatal(err)
	}
	var servers []string
	for _, p := range f.Servers {
		servers = append(servers, fmt.Sprintf("%q", p.agents))
	}
	text := fmt.Sprintf("host: %s\nservers: [%s]\nplanes: {management: %s, storage: %s}\ndata: %s\nidentity: {uuid: %s}\nnova_conf: %s\nlabels: {switch: %s}\n",
		m.Host, strings.Join(servers, ", "), m.Management, m.Storage, filepath.Join(m.Dir, "agent"), m.Identity, filepath.Join(f.Lab.Run, "etc", "nova", m.Host+".conf"), f.leaf(m.Host))
	text += fmt.Sprintf("stores:\n  - {path: %s, kind: nfs, identity: %s}\n", instances, strings.TrimSpace(string(store)))
	if !m.Real {
		// The machine's own directory is shared by all fake hosts, and they have no libvirt.
		text += fmt.Sprintf("libvirt_hook: %s\n", filepath.Join(m.Dir, "hooks", "qemu"))
	}
	f.Put(t, filepath.Join(m.Dir, "agent.yaml"), text)
}

// Reboot switches a host off and on.
func (f *Rig) Reboot(t *testing.T, host string) {
	if f.power(t, host, "off") {
		f.power(t, host, "on")
	}
}

func (f *Rig) power(t *testing.T, host, how string) bool {
	_, err := f.Lab.Try("host", host, how)
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

// leaf is the switch a host hangs on: the first four of the fake hosts share one, for the storm row.
func (f *Rig) leaf(host string) string {
	if i := slices.Index(f.fakes(), host); i >= 0 && i < 4 {
		return "leaf-1"
	}
	return "leaf-2"
}

func (f *Rig) fakes() []string { return f.hosts(false) }
func (f *Rig) real() []string  { return f.hosts(true) }

func (f *Rig) hosts(real bool) []string {
	var out []string
	for host, m := range f.Machines {
		if m.Real == real {
			out = append(out, host)
		}
	}
	slices.Sort(out)
	return out
}

func (f *Rig) Put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// ApplyPolicy puts the rows' policy in force with other storm settings.
func (f *Rig) ApplyPolicy(t testing.TB, stormPercent int, cooldown string) {
	t.Helper()
	path := filepath.Join(f.dir(), "policy.yaml")
	f.Put(t, path, fmt.Sprintf(policyText, stormPercent, cooldown))
	f.Main.Do(t, "policy", "apply", path)
}

// logs are the ends of all servers' logs.
func (f *Rig) logs(lines int) string {
	var out strings.Builder
	for _, p := range f.Servers {
		fmt.Fprintf(&out, "==> %s\n%s\n", p.dir, p.Log(lines))
	}
	return out.String()
}

// Settled waits until every host is up, protected and could be fenced, Nova takes VMs on it, and no incident is open.
func (f *Rig) Settled(t testing.TB, limit time.Duration) {
	t.Helper()
	if why := Await(limit, f.unsettled); why != "" {
		t.Fatalf("not quiet within %v: %s\n%s", limit, why, f.logs(60))
	}
}

// unsettled says what is missing, "" if nothing is.
func (f *Rig) unsettled() string {
	s, err := f.Main.Status()
	switch {
	case err != nil:
		return err.Error()
	case s.Hosts.Up != len(f.Machines) || s.Hosts.Unprotected > 0 || s.Hosts.Suspect > 0:
		return fmt.Sprintf("%d of %d hosts up, %d suspect, unprotected: %v", s.Hosts.Up, len(f.Machines), s.Hosts.Suspect, s.Hosts.Reasons)
	case len(s.Incidents) > 0:
		return fmt.Sprintf("open incidents: %+v", s.Incidents)
	case s.Fencing.Could != len(f.Machines):
		return fmt.Sprintf("fencing: %+v", s.Fencing)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	hosts, err := f.Main.API.Hosts(ctx)
	if err != nil {
		return err.Error()
	}
	for _, h := range hosts {
		if f.Machines[h.Name].Host != "" && (!h.Service.Fresh || !h.Service.Up) {
			return h.Name + "'s nova-compute has not reported lately"
		}
	}
	services, err := f.Nova.Services()
	if err != nil {
		return err.Error()
	}
	for host := range f.Machines {
		if s := services[host]; s.State != "up" || s.Status != "enabled" {
			return fmt.Sprintf("Nova's service: %+v", s)
		}
	}
	return ""
}

// Keep copies what is needed to understand a failure to e2e-logs, and returns the tails.
func (f *Rig) Keep(t testing.TB, row string, hosts []string, since time.Time) string {
	dir := filepath.Join(f.Lab.Run, "e2e-logs", row)
	var out strings.Builder
	save := func(name, text string, lines int) {
		f.Put(t, filepath.Join(dir, name), text)
		all := strings.Split(strings.TrimSpace(text), "\n")
		fmt.Fprintf(&out, "==> %s\n%s\n", filepath.Join(dir, name), strings.Join(all[max(0, len(all)-lines):], "\n"))
	}
	for _, host := range hosts {
		save(host+".agent.log", Tail(filepath.Join(f.Lab.Run, "logs", host, "agent.log"), 2000), 10)
		save(host+".power.log", Tail(filepath.Join(f.Lab.Run, "logs", host+".power.log"), 200), 10)
		if in, ok, err := f.Main.Incident(host, since); ok {
			save(host+".incident.json", f.Main.Run("incident", "export", in.ID, "--out", "-").Stdout, 0)
			for _, e := range in.Log {
				fmt.Fprintf(&out, "  %s %s\n", e.At.Format("15:04:05.0"), e.Text)
			}
			for _, g := range in.Guests {
				fmt.Fprintf(&out, "  vm %s %s %s\n", g.VM.Name, g.State, g.Reason)
			}
		} else if err != nil {
			fmt.Fprintf(&out, "no incident of %s to be had: %v\n", host, err)
		}
	}
	for _, p := range f.Servers {
		save(filepath.Base(p.dir)+".log", p.Log(5000), 40)
	}
	return out.String()
}
