// Package deploy_test checks that the samples operators start from are read as
// they are, and that the defaults they name are the ones in the code.
package deploy_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/agent"
	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/policy"
	"github.com/ninelives-ha/ninelives/internal/server"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// optional finds settings that a sample shows commented out: #key: value.
var optional = regexp.MustCompile(`(?m)^(\s*)#([a-z_]+:)`)

// read returns a sample as it is, or with all its optional settings but the sections named.
func read(t *testing.T, file string, all bool, but ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if all {
		if !optional.Match(data) {
			t.Fatalf("%s shows no optional setting", file)
		}
		for _, key := range but {
			section := regexp.MustCompile(`(?m)^#` + key + `:.*\n(\s+#.*\n)*`)
			if !section.Match(data) {
				t.Fatalf("%s shows no section %s", file, key)
			}
			data = section.ReplaceAll(data, nil)
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

// sample writes a sample, with its optional settings or without, for a daemon's own parser, which refuses what it
// doesn't know.
func sample(t *testing.T, file string, all bool, but ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), file)
	if err := os.WriteFile(path, read(t, file, all, but...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServerSample(t *testing.T) {
	for _, but := range [][]string{nil, {"cluster"}, {"etcd"}} { // one or the other
		all := but != nil
		file := sample(t, "server.yaml", all, but...)
		d := server.DefaultConfig()
		if all {
			asInstalled(t, file)
		}
		if slices.Contains(but, "etcd") { // with others, it listens where they look for it
			edit(t, file, "cluster: "+d.Listen.Cluster, "cluster: 10.0.0.1:7402")
			d.Listen.Cluster = "10.0.0.1:7402"
		}
		c, err := server.LoadConfig(file)
		if err != nil {
			t.Fatal(err)
		}
		if c.Data != d.Data || c.Listen != d.Listen {
			t.Errorf("the sample names other defaults than the code: %+v, %+v", c, d)
		}
		if all {
			everySetting(t, "server.yaml", reflect.ValueOf(c), "", but...)
		}
		times, err := detect.Derive(detect.Config{
			Pulse: c.Times.Pulse.Std(), DeadAfter: c.Times.DeadAfter.Std(), HungAfter: c.Times.HungAfter.Std(),
			Leaving: c.Times.Leaving.Std(), RequestTTL: c.Times.RequestTTL.Std(),
		})
		byDefault, err2 := detect.Derive(detect.Config{})
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		if times != byDefault {
			t.Errorf("the sample names other times than the code:\n got %+v\nwant %+v", times, byDefault)
		}
	}
}

// asInstalled makes the certificates that a sample names, elsewhere.
func asInstalled(t *testing.T, file string) {
	t.Helper()
	dir := filepath.Join(filepath.Dir(file), "pki")
	if _, err := pki.Init(dir, "mycloud", time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"api.crt", "etcd-ca.crt", "etcd.crt"} {
		edit(t, file, "/etc/ninelives/"+name, filepath.Join(dir, "ca.crt"))
	}
	for _, name := range []string{"api.key", "etcd.key"} {
		edit(t, file, "/etc/ninelives/"+name, filepath.Join(dir, "ca.key"))
	}
}

func edit(t *testing.T, file, old, now string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, bytes.ReplaceAll(text, []byte(old), []byte(now)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAgentSample(t *testing.T) {
	for _, all := range []bool{false, true} {
		c, err := agent.LoadConfig(sample(t, "agent.yaml", all))
		if err != nil {
			t.Fatal(err)
		}
		if all {
			everySetting(t, "agent.yaml", reflect.ValueOf(c), "")
		}
		d := agent.DefaultConfig()
		if c.Data != d.Data || c.ProbePort != d.ProbePort || c.NovaConf != d.NovaConf || c.LibvirtHook != d.LibvirtHook || c.Proc != d.Proc {
			t.Errorf("the sample names other defaults than the code:\n got %+v\nwant %+v", c, d)
		}
	}
}

// everySetting fails for each field of a configuration, but the sections named, that its sample, with all optional settings,
// doesn't show.
func everySetting(t *testing.T, file string, v reflect.Value, under string, but ...string) {
	t.Helper()
	for i := range v.NumField() {
		key := under + v.Type().Field(i).Tag.Get("yaml")
		switch f := v.Field(i); {
		case slices.Contains(but, key), v.Type().Field(i).Tag.Get("yaml") == "-":
		case f.IsZero():
			t.Errorf("%s doesn't show %s", file, key)
		case f.Kind() == reflect.Struct:
			everySetting(t, file, f, key+".")
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
			everySetting(t, file, f.Index(0), key+"[0].")
		}
	}
}

// The hook that packages install is the one that `ninelives hook install` writes.
func TestHookIsOne(t *testing.T) {
	at, err := agent.InstallHook(filepath.Join(t.TempDir(), "qemu"))
	if err != nil {
		t.Fatal(err)
	}
	installed, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	packaged, err := os.ReadFile("libvirt/qemu")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(installed, packaged) {
		t.Error("deploy/libvirt/qemu and internal/agent/hook.sh differ: copy one over the other")
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
