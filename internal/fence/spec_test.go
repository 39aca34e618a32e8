package fence_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

const goodDevices = `hosts:
  compute-01:
    levels:
      - - {driver: ipmi, address: "10.9.0.11:623", username: admin, password_file: /etc/ninelives/bmc.pass}
      - - {driver: agent, agent: fence_apc, options: {ip: pdu1, port: "4", username: u, password_file: /etc/ninelives/pdu.pass}}
        - {driver: agent, agent: fence_apc, options: {ip: pdu2, port: "4", username: u, password_file: /etc/ninelives/pdu.pass}}
`

func TestParseDevices(t *testing.T) {
	d, err := fence.ParseDevices("devices.yaml", []byte(goodDevices))
	if err != nil {
		t.Fatal(err)
	}
	m := d.Hosts["compute-01"]
	if m.Host != "compute-01" || len(m.Levels) != 2 || len(m.Levels[1]) != 2 || m.Levels[1][0].Options["port"] != "4" {
		t.Errorf("read %+v", m)
	}
}

func TestParseDevicesNamesTheMistake(t *testing.T) {
	tests := []struct{ from, to, want string }{
		{"driver: ipmi", "driver: impi", `devices.yaml:4:20: driver: unknown driver "impi", did you mean "ipmi"?`},
		{"driver: ipmi", "driver: fence_ipmilan", "did you mean driver: agent, agent: fence_ipmilan?"},
		{"driver: ipmi, ", "", "driver: missing; one of ipmi, redfish, agent"},
		{"address: \"10.9.0.11:623\"", "adress: x", `did you mean "address"?`},
		{"10.9.0.11:623", "10.9.0.11:ipmi", "the port is a number from 1 to 65535"},
		{"password_file: /etc/ninelives/bmc.pass", "password: hunter2", "password"},
		{", password_file: /etc/ninelives/bmc.pass", "", "password_file: missing: name a file"},
		{"username: admin", "username: a-name-of-more-than-16", "longer than the 16 characters"},
		{"password_file: /etc/ninelives/bmc.pass", "password_file: f, password_env: E", "leave out one of them"},
		{"username: admin", "username: admin, cipher: 0x11, insecure: true", "insecure: not known to the driver ipmi, only to redfish"},
		{"username: admin", "username: admin, cipher: 1", "cipher: 1 is not supported"},
		{"agent: fence_apc", "agent: fence_kdump", "fence_kdump is refused: it proves a crash dump, not power"},
		{"agent: fence_apc", "agent: fence_heuristics_ping", "is refused: it guesses"},
		{"agent: fence_apc", "agent: /usr/sbin/fence_apc", "is not the name of a fence agent"},
		{"options: {ip: pdu1", "options: {action: on, ip: pdu1", "options.action: can't be set"},
		{"options: {ip: pdu1", "options: {passwd: hunter2, ip: pdu1", "use passwd_file or passwd_env"},
		{"options: {ip: pdu1", `options: {ip: "pdu1\naction=on"`, "holds a line break"},
		{"agent: fence_apc, options", "agent: fence_apc, username: u, options", "put it under options"},
		{"driver: ipmi, address: \"10.9.0.11:623\"", "driver: redfish, address: \"https://admin:hunter2@bmc/\"", "holds a login"},
		{"10.9.0.11:623", "admin:hunter2@10.9.0.11:623", "holds a login"},
		{"driver: ipmi, address: \"10.9.0.11:623\"", "driver: redfish, address: bmc, insecure: true, ca_file: f", "contradicts ca_file"},
		{goodDevices, "hosts: {}\n", "no hosts"},
		{goodDevices, "hosts: {a: {levels: []}}\n", "a has no levels"},
		{goodDevices, "hosts: {a: {levels: [[]]}}\n", "level 1 has no devices"},
	}
	for _, tt := range tests {
		t.Run(tt.to, func(t *testing.T) {
			text := strings.Replace(goodDevices, tt.from, tt.to, 1)
			if text == goodDevices {
				t.Fatalf("%q isn't there", tt.from)
			}
			_, err := fence.ParseDevices("devices.yaml", []byte(text))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "devices.yaml:") {
				t.Errorf("error:\n%v\nwant %q, with file and line", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error holds a password:\n%v", err)
			}
		})
	}
}

func TestUnknownDriverIsRefused(t *testing.T) {
	spec := fence.Spec{Driver: fence.DriverIPMI, Address: "h", Username: "u", PasswordFile: "f"}
	if _, err := (fence.Drivers{}).Open(spec, fence.Options{}); err == nil || !strings.Contains(err.Error(), "not built into") {
		t.Errorf("Open: %v", err)
	}
	if _, err := (fence.Drivers{}).OpenLevels(fence.Machine{Host: "h1", Levels: [][]fence.Spec{{spec}}}, fence.Options{}); err == nil || !strings.HasPrefix(err.Error(), "h1: level 1, device 1: ") {
		t.Errorf("OpenLevels: %v", err)
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	s := fence.NewSecret("hunter2")
	data, err := json.Marshal(map[string]any{"s": s, "p": &s})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "in", struct{ S fence.Secret }{s})
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q %x %d", s, s, s, s, s, s, s), fmt.Sprintf("%+v", struct{ S fence.Secret }{s}), string(data), log.String()} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") || !strings.Contains(text, "***") {
			t.Errorf("printed as %s", text)
		}
	}
}

func TestReadSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pass")
	t.Setenv("BMC_PASSWORD", "from env")
	for text, want := range map[string]string{"pw\n": "pw", "pw\r\n": "pw", " p w ": " p w ", "": "!is empty", "\n": "!is empty", "a\nb\n": "!more than one line"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := fence.ReadSecret(file, "")
		if bad, isBad := strings.CutPrefix(want, "!"); isBad {
			if err == nil || !strings.Contains(err.Error(), bad) {
				t.Errorf("%q: %v, want %s", text, err, bad)
			}
		} else if err != nil || s.Reveal() != want {
			t.Errorf("%q read as %q, %v", text, s.Reveal(), err)
		}
	}
	if s, err := fence.ReadSecret("", "BMC_PASSWORD"); err != nil || s.Reveal() != "from env" {
		t.Errorf("from the environment: %q, %v", s.Reveal(), err)
	}
	if _, err := fence.ReadSecret("", "BMC_PASSWORD_UNSET"); err == nil {
		t.Error("an unset variable is a password")
	}
}
