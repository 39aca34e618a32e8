// Package deploy_test checks that the samples operators start from are read as
// they are, and that the defaults they name are the ones in the code.
package deploy_test

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/policy"
	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// optional finds settings that a sample shows commented out: #key: value.
var optional = regexp.MustCompile(`(?m)^(\s*)#([a-z_]+:)`)

func read(t *testing.T, file string, all bool) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if all {
		if !optional.Match(data) {
			t.Fatalf("%s shows no optional setting", file)
		}
		data = optional.ReplaceAll(data, []byte("$1$2"))
	}
	return data
}

func TestPolicySample(t *testing.T) {
	for _, all := range []bool{false, true} {
		p, err := policy.Parse("policy.yaml", read(t, "policy.yaml", all))
		if err != nil {
			t.Fatal(err)
		}
		d := policy.Default()
		if p.OnIsolated() != d.OnIsolated() || p.OnDegraded() != d.OnDegraded() || p.OnHung() != d.OnHung() || p.StormPercent() != d.StormPercent() ||
			p.StormCooldown() != d.StormCooldown() || p.FencesPerMinute() != d.FencesPerMinute() || p.RebootWait() != d.RebootWait() ||
			p.Settle() != d.Settle() || p.PowerOn() != d.PowerOn() || p.Sharing(nil, nil) != d.Sharing(nil, nil) {
			t.Error("the sample names other defaults than the code")
		}
		if a := p.Advice(); len(a) > 0 {
			t.Errorf("the sample deserves advice: %v", a)
		}
		got := p.Decide(policy.VM{Tags: []string{"pet"}})
		if got.Rule != "pets" || got.Priority != 900 {
			t.Errorf("a pet: %+v", got)
		}
	}
}

func TestDevicesSample(t *testing.T) {
	for _, all := range []bool{false, true} {
		d, err := fence.ParseDevices("devices.yaml", read(t, "devices.yaml", all))
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Hosts) != 2 || len(d.Hosts["compute-01"].Levels) != 2 || len(d.Hosts["compute-01"].Levels[1]) != 2 {
			t.Errorf("got %+v", d)
		}
	}
}

// The shapes that other tools rely on; the daemons' own parsers know more.
func TestServerAndAgentSamples(t *testing.T) {
	for _, all := range []bool{false, true} {
		var s struct {
			Name, Data, Host string
			Listen           struct{ API, Agents, Cluster netip.AddrPort }
			Advertise        []netip.AddrPort
			TLS              struct{ Cert, Key string }
			Cluster          struct{ Initial map[string]netip.AddrPort }
			Cloud            struct{ Name, Config string }
			Times            map[string]yamlfile.Duration
		}
		if err := yamlfile.Decode("server.yaml", read(t, "server.yaml", all), &s); err != nil {
			t.Fatal(err)
		}
		if s.Name == "" || s.Data == "" || s.Cloud.Name == "" || !s.Listen.API.Addr().IsLoopback() || all && (len(s.Cluster.Initial) != 3 || len(s.Times) != 5 || s.TLS.Key == "" || s.Cloud.Config == "") {
			t.Errorf("got %+v", s)
		}
		var a struct {
			Host, Data, Identity string
			Servers              []netip.AddrPort
			Planes               map[string]netip.Addr
			Labels               map[string]string
		}
		if err := yamlfile.Decode("agent.yaml", read(t, "agent.yaml", all), &a); err != nil {
			t.Fatal(err)
		}
		if len(a.Servers) != 3 || len(a.Planes) != 3 || a.Data == "" || all && (a.Host == "" || a.Identity == "" || a.Labels["rack"] == "") {
			t.Errorf("got %+v", a)
		}
	}
}

// The hook asks for `prepare` only, hands everything on, and no answer is a no.
func TestLibvirtHook(t *testing.T) {
	fake := filepath.Join(t.TempDir(), "ninelives")
	script := "#!/bin/sh\n[ \"$*\" = 'hook qemu instance-1 prepare begin -' ] || exit 9\ngrep -q '<uuid>may</uuid>'\n"
	if err := os.WriteFile(fake, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, binary, operation, xml string
		want                         int
	}{
		{"may start", fake, "prepare", "<domain><uuid>may</uuid></domain>", 0},
		{"must not start", fake, "prepare", "<domain><uuid>no</uuid></domain>", 1},
		{"no binary: refuse", fake + ".none", "prepare", "", 127},
		{"no binary: a running guest is not killed", fake + ".none", "reconnect", "", 0},
		{"a running guest is not killed", fake, "reconnect", "<domain><uuid>no</uuid></domain>", 0},
	} {
		cmd := exec.Command("./libvirt/qemu", "instance-1", tc.operation, "begin", "-")
		cmd.Env = append(os.Environ(), "NINELIVES="+tc.binary)
		cmd.Stdin = strings.NewReader(tc.xml)
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != tc.want {
			t.Errorf("%s: exit %d, want %d: %s", tc.name, got, tc.want, out)
		}
	}
}

// check-units accepts our units, and refuses one with a misspelt setting (which
// systemd itself only mentions) or a gate that gives up.
func TestUnits(t *testing.T) {
	check := func(change func(unit string) string) (int, string) {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS("systemd")); err != nil {
			t.Fatal(err)
		}
		gate := filepath.Join(dir, "ninelives-gate.service")
		unit, err := os.ReadFile(gate)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(gate, []byte(change(string(unit))), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("./check-units", dir)
		out, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(out)
	}
	code, out := check(func(unit string) string { return unit })
	if code == 2 {
		t.Skip(out)
	}
	if code != 0 {
		t.Errorf("our units: exit %d: %s", code, out)
	}
	for _, change := range [][2]string{{"RemainAfterExit=", "RemainAfterExitt="}, {"TimeoutStartSec=infinity", "TimeoutStartSec=90s"}, {"Before=libvirt", "After=libvirt"}} {
		if code, out := check(func(unit string) string { return strings.ReplaceAll(unit, change[0], change[1]) }); code != 1 {
			t.Errorf("%s instead of %s: exit %d: %s", change[1], change[0], code, out)
		}
	}
}
