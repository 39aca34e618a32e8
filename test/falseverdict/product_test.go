//go:build bench

package falseverdict

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
	"github.com/ninelives-ha/ninelives/test/rig"
)

// startServer returns when the server leads and knows the simulated Nova's hosts.
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
	dir := t.TempDir()
	var devices strings.Builder
	devices.WriteString("hosts:\n")
	for _, h := range hosts {
		home := filepath.Join(dir, h.name)
		token := joinToken(t, server, h.name)
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
			h.name, server.Agents(), address(0, h.n), address(1, h.n), filepath.Join(home, "data"), id, serial, h.n/perRack, filepath.Join(home, "nova.conf"), filepath.Join(home, "qemu"), home))
		fmt.Fprintf(&devices, "  %s:\n    levels:\n      - - {driver: %s, address: %q, username: %s, password_file: %s}\n",
			h.name, bmc.Driver, bmc.Address, bmc.User, filepath.Join(home, "bmc.pass"))
		h.start(t, server.Binary, home, token)
	}
	if _, err := server.API.ImportDevices(t.Context(), api.File{Path: "devices.yaml", Source: devices.String()}); err != nil {
		t.Fatal(err)
	}
}

// joinToken asks until the server gives one: beside other work it may lose the leadership for a moment.
func joinToken(t *testing.T, server *rig.Product, host string) (token api.Token) {
	t.Helper()
	rig.Within(t, time.Minute, "a token for "+host, func() string {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var err error
		if token, err = server.API.CreateToken(ctx, host, time.Hour); err != nil {
			return err.Error()
		}
		return ""
	})
	return token
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
