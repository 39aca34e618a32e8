package fence_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// FuzzDevices reads devices.yaml: what is taken is whole, valid, and the same again once it has been on record.
func FuzzDevices(f *testing.F) {
	f.Add([]byte(goodDevices))
	f.Add([]byte("hosts:\n  a:\n    levels:\n      - - {driver: redfish, address: 'https://[::1]:8443', system: /x/../y, username: u, password_env: P}\n"))
	f.Add([]byte("hosts: {a: {levels: [[], [{driver: agent, agent: fence_x, options: {password: hunter2}}]]}}\n"))
	f.Add([]byte("hosts: {a: {levels: [[{driver: ipmi, address: ':', username: ''}]]}, '': {}}\n"))
	f.Add([]byte("hosts: {a: &a {levels: [[{driver: ipmi}]]}, b: *a}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := fence.ParseDevices("d.yaml", data)
		if err != nil {
			for _, m := range yamlfile.List(err) {
				if m.Message == "" || m.Line < 0 || m.Line > strings.Count(string(data), "\n")+1 {
					t.Errorf("line %d: %q", m.Line, m.Message)
				}
			}
			return
		}
		if len(d.Hosts) == 0 {
			t.Error("taken, with no host in it")
		}
		for host, m := range d.Hosts {
			if m.Host != host || host == "" || len(m.Levels) == 0 {
				t.Errorf("host %q is taken as %+v", host, m)
			}
			for _, level := range m.Levels {
				if len(level) == 0 {
					t.Errorf("%s has a level that would prove itself", host)
				}
				for _, spec := range level {
					if err := spec.Validate(); err != nil {
						t.Errorf("taken, and then: %v", err)
					}
				}
			}
			onRecord(t, m)
		}
	})
}

// onRecord writes a machine as it is stored, and reads it back.
func onRecord(t *testing.T, m fence.Machine) {
	t.Helper()
	text, err := json.Marshal(m)
	var back fence.Machine
	if err = errors.Join(err, json.Unmarshal(text, &back)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m, back) && string(text) != string(must(json.Marshal(back))) {
		t.Errorf("%+v comes back as %+v", m, back)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
