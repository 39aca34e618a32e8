//go:build bench

package falseverdict

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
	"github.com/ninelives-ha/ninelives/test/rig"
)

const (
	hostCount = 20
	loss      = "0.02"
	perRack   = 5
)

func number(name string, byDefault int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return byDefault
}

// TestNoFalseVerdictOnRealNetworks troubles living hosts and the server for some minutes: none of the hosts may be called
// dead, off or rebooted. Then one dies, and must be found.
func TestNoFalseVerdictOnRealNetworks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	cloud, err := wire.Start(t.Context(), wire.Options{Hosts: hostCount, VMs: 2 * hostCount, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cloud.Close() })
	hosts := make([]*host, hostCount)
	for i := range hosts {
		hosts[i] = &host{n: i + 1, name: fmt.Sprintf("host-%02d", i+1)}
	}
	layCables(t, hosts, loss)
	server := startServer(t, cloud)
	startAgents(t, cloud, server, hosts)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's log ends:\n%s\n%s's log ends:\n%s", server.Log(40), hosts[0].name, rig.Tail(hosts[0].log, 20))
		}
	})
	rig.Within(t, 2*time.Minute, "all hosts are up", func() string {
		st, err := server.Status()
		if err != nil {
			return err.Error()
		}
		if st.Hosts.Up < hostCount {
			return fmt.Sprintf("%d of %d; unprotected: %v", st.Hosts.Up, hostCount, st.Hosts.Reasons)
		}
		return ""
	})
	begun := time.Now()
	long := time.Duration(number("NINELIVES_FALSE_MINUTES", 5)) * time.Minute
	pauses := troubles(t, server, hosts, long)
	report(t, server, hosts, begun, pauses)
	oneDies(t, server, hosts[hostCount-1])
}

func startServer(t *testing.T, cloud *wire.Cloud) *rig.Product {
	t.Helper()
	dir := t.TempDir()
	clouds := filepath.Join(dir, "clouds.yaml")
	text := fmt.Sprintf("clouds:\n  lab:\n    region_name: %s\n    auth: {auth_url: %q, username: %s, password: %s, project_name: %s, user_domain_name: Default, project_domain_name: Default}\n",
		wire.Region, cloud.AuthURL(), wire.Username, wire.Password, wire.ProjectName)
	if err := os.WriteFile(clouds, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	binary, err := filepath.Abs("../../bin/ninelives")
	if err != nil {
		t.Fatal(err)
	}
	p := rig.NewProduct(t, binary, rig.ServerSpec{Dir: dir, Agents: "10.79.0.1", Clouds: clouds})
	p.Start(t)
	t.Cleanup(p.Stop)
	p.Ready(t, 2*time.Minute)
	rig.Within(t, time.Minute, "the server leads and knows Nova's hosts", func() string {
		st, err := p.Status()
		if err != nil {
			return err.Error()
		}
		if !st.Leads || st.Hosts.Total < hostCount {
			return fmt.Sprintf("leads: %t, hosts: %d", st.Leads, st.Hosts.Total)
		}
		return ""
	})
	return p
}

// startAgents joins an agent in each namespace, with a boot of its own, and binds the hosts' BMCs.
func startAgents(t *testing.T, cloud *wire.Cloud, server *rig.Product, hosts []*host) {
	t.Helper()
	agents := regexp.MustCompile(`agents: "([^"]+)"`).FindStringSubmatch(server.Text())[1]
	dir := t.TempDir()
	var devices strings.Builder
	devices.WriteString("hosts:\n")
	for _, h := range hosts {
		home := filepath.Join(dir, h.name)
		token, err := server.API.CreateToken(t.Context(), h.name, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		var id, serial string
		cloud.World(func(w *world.World) { id, serial = w.Host(h.name).Identity, w.Host(h.name).Serial })
		bmc := cloud.BMC(h.name)
		boot, err := os.ReadFile("/proc/sys/kernel/random/uuid")
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(home, "boot_id"), string(boot))
		write(t, filepath.Join(home, "nova.conf"), "[DEFAULT]\nhost = "+h.name+"\n") // not this machine's
		write(t, filepath.Join(home, "bmc.pass"), bmc.Password+"\n")
		write(t, filepath.Join(home, "agent.yaml"), fmt.Sprintf(
			"host: %s\nservers: [%q]\nplanes: {management: %s, storage: %s}\ndata: %s\nidentity: {uuid: %s, serial: %q}\nlabels: {rack: r%d}\nnova_conf: %s\nlibvirt_hook: %s\nstores: [{path: %s, kind: nfs, identity: shared}]\n",
			h.name, agents, address(0, h.n), address(1, h.n), filepath.Join(home, "data"), id, serial, h.n/perRack, filepath.Join(home, "nova.conf"), filepath.Join(home, "qemu"), home))
		fmt.Fprintf(&devices, "  %s:\n    levels:\n      - - {driver: %s, address: %q, username: %s, password_file: %s}\n",
			h.name, bmc.Driver, bmc.Address, bmc.User, filepath.Join(home, "bmc.pass"))
		h.start(t, server.Binary, home, token)
	}
	if _, err := server.API.ImportDevices(t.Context(), api.File{Path: "devices.yaml", Source: devices.String()}); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (h *host) start(t *testing.T, binary, home string, token api.Token) {
	t.Helper()
	h.log = filepath.Join(home, "agent.log")
	log, err := os.Create(h.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// ip netns exec gives the process mounts of its own, so that each host can have its own boot.
	h.agent = exec.Command("ip", "netns", "exec", h.namespace(), "sh", "-c",
		`mount --bind "$1/boot_id" /proc/sys/kernel/random/boot_id && exec "$2" agent --config "$1/agent.yaml"`, "sh", home, binary)
	h.agent.Env = append(os.Environ(), "NINELIVES_TOKEN="+token.Token)
	h.agent.Stdout, h.agent.Stderr = log, log
	h.agent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := h.agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = h.agent.Process.Kill()
		_ = h.agent.Wait()
	})
}

// troubles befall a host every two seconds, a quarter of them at most at a time, and the server now and then: it is
// stopped for 5 s, once in a while for 10 s. It returns how often.
func troubles(t *testing.T, server *rig.Product, hosts []*host, long time.Duration) (pauses int) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(number("NINELIVES_FALSE_SEED", 1)), 79))
	type ending struct {
		at  time.Time
		end func() error
	}
	var under []ending
	check := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	end, nextHost, nextPause := time.Now().Add(long), time.Now(), time.Now().Add(10*time.Second)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for now := range tick.C {
		kept := under[:0]
		for _, e := range under {
			if now.Before(e.at) && now.Before(end) {
				kept = append(kept, e)
				continue
			}
			check(e.end())
		}
		under = kept
		if now.After(end) && len(under) == 0 {
			return pauses
		}
		if h := hosts[r.IntN(len(hosts))]; now.After(nextHost) && !h.busy && len(under) < len(hosts)/4 && now.Before(end) {
			took, stop, err := h.befall(r)
			check(err)
			under, nextHost = append(under, ending{now.Add(took), stop}), now.Add(2*time.Second)
		}
		if now.After(nextPause) && now.Before(end) {
			pause := 5 * time.Second
			if pauses%4 == 3 {
				pause = 10 * time.Second
			}
			check(server.Signal(syscall.SIGSTOP))
			under = append(under, ending{now.Add(pause), func() error { return server.Signal(syscall.SIGCONT) }})
			pauses, nextPause = pauses+1, now.Add(pause+time.Duration(10+r.IntN(15))*time.Second)
		}
	}
	return pauses
}

// report compares the server's verdicts with what had befallen the hosts.
func report(t *testing.T, server *rig.Product, hosts []*host, begun time.Time, pauses int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	incidents, err := server.API.Incidents(ctx, "all", "")
	if err != nil {
		t.Fatal(err)
	}
	names, befell, kinds := map[string]*host{}, map[string]int{}, map[string]int{}
	for _, h := range hosts {
		names[h.name] = h
		for _, p := range h.past {
			befell[p.what]++
		}
	}
	for _, in := range incidents {
		why := names[in.Host].explains(in.Stages.Verdict)
		kind := fmt.Sprintf("%s while or after %q", in.Verdict, why)
		kinds[kind]++
		switch string(in.Verdict) {
		case "dead", "off", "rebooted":
			t.Errorf("living %s was called %s at %s: %s (%s)", in.Host, in.Verdict, in.Stages.Verdict.Format("15:04:05.0"), in.Reason, why)
		}
		if why == "" {
			t.Errorf("nothing explains that %s was called %s at %s: %s", in.Host, in.Verdict, in.Stages.Verdict.Format("15:04:05.0"), in.Reason)
		}
	}
	suspected := strings.Count(server.Log(1<<20), "suspect: ")
	fmt.Printf("%d hosts for %.1f minutes, %s of packets lost each way; troubles %v; server stopped %d times\nsuspicions %d, verdicts %v\n",
		len(hosts), time.Since(begun).Minutes(), loss, befell, pauses, suspected, kinds)
}

// oneDies: a server that calls nobody dead must not be a deaf one.
func oneDies(t *testing.T, server *rig.Product, h *host) {
	t.Helper()
	rig.Within(t, time.Minute, h.name+" is up again", func() string {
		d, err := server.Host(h.name)
		if err != nil {
			return err.Error()
		}
		if d.Verdict != "up" || d.Suspect {
			return fmt.Sprintf("%s, suspect: %t", d.Verdict, d.Suspect)
		}
		return ""
	})
	died := time.Now()
	if err := h.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for p := range planes {
		if err := h.cut(p, true); err != nil {
			t.Fatal(err)
		}
	}
	var in api.IncidentDetail
	rig.Within(t, time.Minute, h.name+" is found dead", func() string {
		found, ok, err := server.Incident(h.name, died)
		if err != nil || !ok || found.Verdict != "dead" {
			return fmt.Sprintf("%s %v", found.Verdict, err)
		}
		in = found
		return ""
	})
	fmt.Printf("%s died and was called dead %.1f s later\n", h.name, in.Stages.Verdict.Sub(died).Seconds())
}
