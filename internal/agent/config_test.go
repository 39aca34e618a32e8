package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigOfTheIssue(t *testing.T) {
	c, err := ParseConfig("agent.yaml", []byte(`
host: compute-01
servers: [10.0.0.1:7401, 10.0.0.2:7401, 10.0.0.3:7401]
planes: {management: 10.0.0.11, storage: 10.1.0.11, tenant: 10.2.0.11}
data: /var/lib/ninelives-agent
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Host != "compute-01" || len(c.Servers) != 3 || c.Planes["tenant"] != "10.2.0.11" || c.ProbePort != 7403 || c.Proc != "/proc" ||
		c.NovaConf != "/etc/nova/nova.conf" || c.LibvirtHook != "/etc/libvirt/hooks/qemu" {
		t.Errorf("got %+v", c)
	}
}

func TestConfigMistakes(t *testing.T) {
	for text, want := range map[string]string{
		agentYAML + "probeport: 1\n":                                               `agent.yaml:3:1: unknown key "probeport", did you mean "probe_port"?`,
		"planes: {management: 10.0.0.11}\n":                                        "no servers",
		"servers: [10.0.0.1:7401]\n":                                               "no planes",
		"servers: [10.0.0.1]\nplanes: {management: 10.0.0.11}\n":                   `agent.yaml:1:11: "10.0.0.1" is no address`,
		"servers: [a:1, a:1]\nplanes: {management: 10.0.0.11}\n":                   "named twice",
		"servers: [a:1]\nplanes: {managment: 10.0.0.11}\n":                         `did you mean "management"?`,
		"servers: [a:1]\nplanes: {management: compute-01}\n":                       `agent.yaml:2:22: "compute-01" is no IP address`,
		"servers: [a:1]\nplanes: {management: 10.0.0.11, storage: 10.0.0.11}\n":    "a network is one plane",
		"servers: [a:1]\nplanes: {management: 10.0.0.11}\nlabels: {rak: r1}\n":     `did you mean "rack"?`,
		"servers: [a:1]\nplanes: {management: 10.0.0.11}\ndata: here\n":            "no absolute path",
		"servers: [a:1]\nplanes: {management: 10.0.0.11}\nhost: a b\n":             "which no host name has",
		"servers: [a:1]\nplanes: {management: 10.0.0.11}\nstores: [{kind: rbd}]\n": "needs identity",
	} {
		_, err := ParseConfig("agent.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "^") && !strings.Contains(want, "no ") {
			t.Errorf("%s\n got %v\nwant %s, with a caret", text, err, want)
		}
	}
	if err := (Config{}).Check(); err == nil || !strings.Contains(err.Error(), "servers") {
		t.Errorf("an empty configuration: %v", err)
	}
}

func TestHostName(t *testing.T) {
	c := testConfig(t, bootOne)
	name := func(want string) {
		t.Helper()
		if got, err := c.HostName(); err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	name("compute-01")
	c.Host = ""
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	name(own)
	write(t, c.NovaConf, "[DEFAULT]\nhost = nova-says\n", 0o644)
	name("nova-says")
}

func TestNovaConf(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "nova.conf"), `
# a comment
[DEFAULT]
host = first
state_path=/srv/nova
instances_path = ${state_path}/inst
lock_path: $nothing/lock
long = one
   two
resume_guests_state_on_host_boot = True
[libvirt]
virt_type = "kvm"
`, 0o644)
	write(t, filepath.Join(dir, "nova-compute.conf"), "[DEFAULT]\ncompute_driver=libvirt.LibvirtDriver\n[libvirt]\nvirt_type=qemu\n", 0o644)
	write(t, filepath.Join(dir, "nova.conf.d/10-host.conf"), "[DEFAULT]\nhost=last\n", 0o644)
	c, err := readNovaConf(filepath.Join(dir, "nova.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range [][3]string{
		{"DEFAULT", "host", "last"},
		{"DEFAULT", "compute_driver", "libvirt.LibvirtDriver"},
		{"DEFAULT", "instances_path", "/srv/nova/inst"},
		{"DEFAULT", "lock_path", ""}, // refers to what isn't there: unknown
		{"DEFAULT", "long", "one\ntwo"},
		{"libvirt", "virt_type", "qemu"},
		{"libvirt", "none", ""},
	} {
		if got := c.get(tc[0], tc[1]); got != tc[2] {
			t.Errorf("[%s] %s = %q, want %q", tc[0], tc[1], got, tc[2])
		}
	}
	if len(c.files) != 3 || c.instancesPath() != "/srv/nova/inst" {
		t.Errorf("read %v, instances in %q", c.files, c.instancesPath())
	}
	none, err := readNovaConf(filepath.Join(dir, "none/nova.conf"))
	if err != nil || none.instancesPath() != "/var/lib/nova/instances" {
		t.Errorf("without a file: %q, %v", none.instancesPath(), err)
	}
	loop := novaConf{values: map[string]map[string]string{"DEFAULT": {"a": "$b", "b": "$a"}}}
	if got := loop.get("DEFAULT", "a"); got != "" {
		t.Errorf("a circle gives %q", got)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(agentYAML)
	f.Add("servers: [a:1]\nplanes: {management: ::1}\nstores: [{path: /x}]\nidentity: {uuid: x}\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConfig("agent.yaml", []byte(text))
		if err != nil {
			return
		}
		if err := c.Check(); err != nil {
			t.Errorf("read without a complaint, and then: %v", err)
		}
	})
}

func FuzzNovaConf(f *testing.F) {
	f.Add("[DEFAULT]\na = $b\n c\nb: '1'\n", "a")
	f.Fuzz(func(_ *testing.T, text, option string) {
		c := novaConf{values: map[string]map[string]string{}}
		parseINI([]byte(text), c.values)
		c.get("DEFAULT", option)
	})
}
