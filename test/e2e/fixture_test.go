//go:build e2e

package e2e

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

// fixture is the one lab with the one server that all rows share.
type fixture struct {
	lab      *lab
	nova     *nova
	main     *product
	watch    *watch
	machines map[string]machine
	book     *book
}

// policyText is the policy of all rows; what a row needs besides goes by the names of its VMs. The settle time is short
// and storms are allowed, since every row is a failure of its own; the storm row applies its own policy.
const policyText = `rules:
  - name: opted out
    match: {name: "*optout*"}
    on_host_failure: leave
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

func setUp(t *testing.T) *fixture {
	t.Helper()
	began := time.Now()
	say := func(what string) { t.Logf("%5.0f s  %s", time.Since(began).Seconds(), what) }
	binary, err := filepath.Abs("../../bin/ninelives")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	f := &fixture{lab: findLab(t)}
	f.lab.up(t)
	say("the lab is up")
	f.book = newBook(f.lab.run)
	f.nova, f.machines = newNova(t, f.lab), f.lab.machines(t)
	dir := filepath.Join(f.lab.run, "e2e")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	// Hosts boot a binary of their own: a rebuilt one must not change below their feet.
	own := filepath.Join(dir, "ninelives")
	copyFile(t, binary, own)
	f.lab.do(t, "use", own)
	f.main = newProduct(t, own, serverSpec{dir: filepath.Join(dir, "server"), agents: "10.77.0.1", clouds: filepath.Join(f.lab.run, "clouds.yaml")})
	f.main.start(t)
	t.Cleanup(func() { f.main.stop() })
	f.main.ready(t, 60*time.Second)
	say("the server answers")
	f.normalise(t)
	f.join(t)
	say("agents have tokens, hosts boot")
	f.main.do(t, "fence", "import", filepath.Join(f.lab.run, "devices.yaml"))
	f.applyPolicy(t, 100, "0s")
	f.main.do(t, "arm", "--force", "--reason", "the lab")
	f.settled(t, 240*time.Second)
	say("every host is protected")
	f.watch = startWatch(f.nova)
	t.Cleanup(f.watch.end)
	return f
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
func (f *fixture) normalise(t *testing.T) {
	t.Helper()
	f.lab.do(t, "proxy-lose-answer", "off")
	f.lab.do(t, "vms", "delete", "-")
	for host := range f.machines {
		f.lab.do(t, "bmc", host, "normal")
		for _, plane := range []string{"management", "storage"} {
			f.lab.do(t, "host", host, "heal", plane)
		}
	}
	services, err := f.nova.services()
	if err != nil {
		t.Fatal(err)
	}
	for host, s := range services {
		if s.ForcedDown || s.Status != "enabled" {
			f.nova.setService(t, host, map[string]any{"forced_down": false, "status": "enabled"})
		}
	}
}

// join gives every host its agent: a configuration, a token for the first start, and a boot.
func (f *fixture) join(t *testing.T) {
	t.Helper()
	var boots sync.WaitGroup
	for host, m := range f.machines {
		data := filepath.Join(m.Dir, "agent")
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
		var token struct{ Token string }
		f.main.json(t, &token, "token", "create", host)
		f.put(t, filepath.Join(m.Dir, "token"), token.Token)
		text := fmt.Sprintf("host: %s\nservers: [%q]\nplanes: {management: %s, storage: %s}\ndata: %s\nidentity: {uuid: %s}\nnova_conf: %s\nlabels: {switch: %s}\n",
			host, f.main.agents, m.Management, m.Storage, data, m.Identity, filepath.Join(f.lab.run, "etc", "nova", host+".conf"), f.leaf(host))
		if !m.Real {
			// The machine's own directory is shared by all fake hosts, and they have no libvirt.
			text += fmt.Sprintf("libvirt_hook: %s\n", filepath.Join(m.Dir, "hooks", "qemu"))
		}
		f.put(t, filepath.Join(m.Dir, "agent.yaml"), text)
		if !m.Real {
			boots.Go(func() { f.boot(t, host) })
		}
	}
	boots.Go(func() {
		for _, host := range f.real() {
			f.power(t, host, "off")
		}
		if _, err := f.lab.try("real", "up"); err != nil {
			t.Error(err)
		}
	})
	boots.Wait()
}

func (f *fixture) boot(t *testing.T, host string) {
	if f.power(t, host, "off") {
		f.power(t, host, "on")
	}
}

func (f *fixture) power(t *testing.T, host, how string) bool {
	_, err := f.lab.try("host", host, how)
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

// leaf is the switch a host hangs on: the first four of the fake hosts share one, for the storm row.
func (f *fixture) leaf(host string) string {
	if i := slices.Index(f.fakes(), host); i >= 0 && i < 4 {
		return "leaf-1"
	}
	return "leaf-2"
}

func (f *fixture) fakes() []string { return f.hosts(false) }
func (f *fixture) real() []string  { return f.hosts(true) }

func (f *fixture) hosts(real bool) []string {
	var out []string
	for host, m := range f.machines {
		if m.Real == real {
			out = append(out, host)
		}
	}
	slices.Sort(out)
	return out
}

func (f *fixture) put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) applyPolicy(t testing.TB, stormPercent int, cooldown string) {
	t.Helper()
	path := filepath.Join(f.lab.run, "e2e", "policy.yaml")
	f.put(t, path, fmt.Sprintf(policyText, stormPercent, cooldown))
	f.main.do(t, "policy", "apply", path)
}

// settled waits until every host is up, protected and could be fenced, Nova takes VMs on it, and no incident is open.
func (f *fixture) settled(t testing.TB, limit time.Duration) {
	t.Helper()
	if why := await(limit, f.unsettled); why != "" {
		t.Fatalf("not quiet within %v: %s\n%s", limit, why, f.main.log(60))
	}
}

// unsettled says what is missing, "" if nothing is.
func (f *fixture) unsettled() string {
	s, err := f.main.status()
	switch {
	case err != nil:
		return err.Error()
	case s.Hosts.Up != len(f.machines) || s.Hosts.Unprotected > 0 || s.Hosts.Suspect > 0:
		return fmt.Sprintf("%d of %d hosts up, %d suspect, unprotected: %v", s.Hosts.Up, len(f.machines), s.Hosts.Suspect, s.Hosts.Reasons)
	case len(s.Incidents) > 0:
		return fmt.Sprintf("open incidents: %+v", s.Incidents)
	case s.Fencing.Could != len(f.machines):
		return fmt.Sprintf("fencing: %+v", s.Fencing)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	hosts, err := f.main.api.Hosts(ctx)
	if err != nil {
		return err.Error()
	}
	for _, h := range hosts {
		if f.machines[h.Name].Host != "" && (!h.Service.Fresh || !h.Service.Up) {
			return h.Name + "'s nova-compute has not reported lately"
		}
	}
	services, err := f.nova.services()
	if err != nil {
		return err.Error()
	}
	for host := range f.machines {
		if s := services[host]; s.State != "up" || s.Status != "enabled" {
			return fmt.Sprintf("Nova's service: %+v", s)
		}
	}
	return ""
}

// keep copies what is needed to understand a failure to e2e-logs, and returns the tails.
func (f *fixture) keep(t testing.TB, row string, hosts []string, since time.Time) string {
	dir := filepath.Join(f.lab.run, "e2e-logs", row)
	var out strings.Builder
	save := func(name, text string, lines int) {
		f.put(t, filepath.Join(dir, name), text)
		all := strings.Split(strings.TrimSpace(text), "\n")
		fmt.Fprintf(&out, "==> %s\n%s\n", filepath.Join(dir, name), strings.Join(all[max(0, len(all)-lines):], "\n"))
	}
	for _, host := range hosts {
		save(host+".agent.log", tail(filepath.Join(f.lab.run, "logs", host, "agent.log"), 2000), 10)
		save(host+".power.log", tail(filepath.Join(f.lab.run, "logs", host+".power.log"), 200), 10)
		if in, ok, err := f.main.incident(host, since); ok {
			save(host+".incident.json", f.main.run("incident", "export", in.ID).stdout, 0)
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
	save("server.log", f.main.log(5000), 40)
	return out.String()
}
