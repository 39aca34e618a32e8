package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// domain is what libvirt hands to the hook for an instance of Nova's, shortened. The other uuids are traps.
func domain(uuid string) string {
	return `<domain type='kvm' id='3'>
  <name>instance-0000002a</name>
  <uuid>` + uuid + `</uuid>
  <metadata>
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
      <nova:name>db-1</nova:name>
      <uuid>dddddddd-0000-4000-8000-00000000000d</uuid>
    </nova:instance>
  </metadata>
  <memory unit='KiB'>2097152</memory>
  <sysinfo type='smbios'>
    <system>
      <entry name='manufacturer'>OpenStack Foundation</entry>
      <entry name='uuid'>eeeeeeee-0000-4000-8000-00000000000e</entry>
    </system>
  </sysinfo>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='network' device='disk'>
      <auth username='cinder'><secret type='ceph' uuid='457eb676-33da-42ec-9a8c-9293d545c337'/></auth>
    </disk>
  </devices>
</domain>
`
}

const agentYAML = "servers: [10.0.0.1:7401]\nplanes: {management: 10.0.0.11}\n"

// hookHost is a host with an agent.yaml; state is put into its data directory.
func hookHost(t *testing.T, state func(dir string)) (config string) {
	t.Helper()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	config = filepath.Join(dir, "agent.yaml")
	write(t, config, agentYAML+"data: "+data+"\nproc: "+fakeProc(t, bootOne)+"\n", 0o644)
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if state != nil {
		state(data)
	}
	return config
}

func TestHook(t *testing.T) {
	gate := func(boot string, open bool, forbidden ...string) func(string) {
		return func(dir string) {
			if _, err := newTestKeeper(t, dir, boot).obey(gateOrder(t, boot, 1, 1, open, forbidden...)); err != nil {
				t.Fatal(err)
			}
		}
	}
	joined := func(dir string) { write(t, filepath.Join(dir, "agent.key"), "key", 0o600) }
	for _, tc := range []struct {
		name, operation, xml string
		state                func(dir string)
		want                 int
		says                 string
	}{
		{"open", "prepare", domain(vmA), gate(bootOne, true), 0, ""},
		{"open, another VM is forbidden", "prepare", domain(vmB), gate(bootOne, true, vmA), 0, ""},
		{"forbidden", "prepare", domain(vmA), gate(bootOne, true, vmA), 1, "run twice"},
		{"forbidden, in capitals", "start", domain(strings.ToUpper(vmA)), gate(bootOne, true, vmA), 1, "run twice"},
		{"closed", "prepare", domain(vmB), gate(bootOne, false, vmA), 1, "as the server says"},
		{"open in another boot", "prepare", domain(vmB), gate(bootTwo, true), 1, "since this host booted"},
		{"never joined", "prepare", domain(vmA), nil, 0, ""},
		{"joined, the gate's file is gone", "prepare", domain(vmA), joined, 1, "no agent has run"},
		{"the gate's file is damaged", "prepare", domain(vmA), func(dir string) { write(t, filepath.Join(dir, gateFile), "{", 0o600) }, 1, "damaged"},
		{"the gate's file can't be read", "prepare", domain(vmA), func(dir string) {
			if err := os.Mkdir(filepath.Join(dir, gateFile), 0o700); err != nil {
				t.Fatal(err)
			}
		}, 1, "directory"},
		{"no XML", "prepare", "", gate(bootOne, true), 1, "no uuid"},
		{"half an XML", "prepare", domain(vmA)[:200], gate(bootOne, true), 1, "can't be read"},
		{"two uuids", "prepare", strings.Replace(domain(vmA), "<memory", "<uuid>"+vmB+"</uuid><memory", 1), gate(bootOne, true), 1, vmB},
		// A refusal here would make libvirt kill a VM that runs.
		{"reconnect is never refused", "reconnect", domain(vmA), gate(bootOne, false, vmA), 0, ""},
		{"stopped", "stopped", "", gate(bootOne, false), 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			got := Hook(HookRequest{
				ConfigPath: hookHost(t, tc.state), Args: []string{"instance-0000002a", tc.operation, "begin", "-"},
				Stdin: strings.NewReader(tc.xml), Stderr: &out,
			})
			if got != tc.want || !strings.Contains(out.String(), tc.says) || got == 0 && out.Len() > 0 {
				t.Errorf("exit %d, %q; want %d, %q", got, out.String(), tc.want, tc.says)
			}
		})
	}
}

func TestHookAndConfiguration(t *testing.T) {
	call := func(config string) (int, string) {
		var out strings.Builder
		code := Hook(HookRequest{ConfigPath: config, Args: []string{"i", "prepare", "begin", "-"}, Stdin: strings.NewReader(domain(vmA)), Stderr: &out})
		return code, out.String()
	}
	if code, out := call(filepath.Join(t.TempDir(), "agent.yaml")); code != 0 {
		t.Errorf("a host without an agent: exit %d, %s", code, out)
	}
	bad := filepath.Join(t.TempDir(), "agent.yaml")
	write(t, bad, "serverz: [10.0.0.1:7401]\n", 0o644)
	if code, out := call(bad); code != 1 || !strings.Contains(out, `did you mean "servers"?`) {
		t.Errorf("a typo in agent.yaml: exit %d, %s", code, out)
	}
}

func TestInstallHook(t *testing.T) {
	shipped, err := os.ReadFile("../../deploy/libvirt/qemu")
	if err != nil {
		t.Fatal(err)
	}
	if string(shipped) != string(hookScript) {
		t.Error("hook.sh is not deploy/libvirt/qemu any more: copy it")
	}
	path := filepath.Join(t.TempDir(), "hooks/qemu")
	if HookInstalled(path) {
		t.Error("a hook is seen where none is")
	}
	for range 2 { // again changes nothing
		at, err := InstallHook(path)
		if err != nil || at != path || !HookInstalled(path) {
			t.Fatalf("at %s, %v, seen: %t", at, err, HookInstalled(path))
		}
	}
	write(t, path, "#!/bin/sh\n# an older ninelives\n", 0o755)
	if at, err := InstallHook(path); err != nil || at != path {
		t.Errorf("over our own: %s, %v", at, err)
	}
	foreign := "#!/bin/sh\nexit 0\n"
	write(t, path, foreign, 0o755)
	at, err := InstallHook(path)
	if err != nil || at != path+".d/ninelives" || !HookInstalled(path) {
		t.Errorf("beside a foreign one: %s, %v", at, err)
	}
	if text, _ := os.ReadFile(path); string(text) != foreign {
		t.Errorf("the foreign hook was changed: %s", text)
	}
	if err := os.Chmod(at, 0o644); err != nil {
		t.Fatal(err)
	}
	if HookInstalled(path) {
		t.Error("a hook that libvirt can't run counts")
	}
}

func FuzzDomain(f *testing.F) {
	f.Add(domain(vmA))
	f.Add("<domain><uuid/></domain>")
	f.Add("</domain>")
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := domainUUID(strings.NewReader(text)); err == nil {
			if n, ok := normalUUID(id); !ok || n != id {
				t.Errorf("%q from %q", id, text)
			}
		}
	})
}
