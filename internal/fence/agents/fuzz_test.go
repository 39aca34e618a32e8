package agents

import (
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

func FuzzMetadata(f *testing.F) {
	seed, err := os.ReadFile("testdata/metadata_power.xml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	for _, s := range []string{
		"", "<", "<resource-agent/>", "<other/>", `<resource-agent><actions><action name="off"/></actions></resource-agent>`,
		`<resource-agent><actions><action name="on" automatic="1"/><action name="on"/><action name="off"/><action name="status"/></actions></resource-agent>`,
		`<!DOCTYPE x [<!ENTITY a "aaaa">]><resource-agent name="&a;"/>`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMetadata(data)
		if err != nil || m.Provable() != nil {
			return
		}
		for _, need := range []string{"on", "off", "status"} {
			if a, ok := m.Actions[need]; !ok || a.Automatic || a.OnTarget {
				t.Errorf("accepted with action %s %v %+v", need, ok, a)
			}
		}
	})
}

func FuzzOutput(f *testing.F) {
	f.Add(2, "Status: OFF\n", "")
	f.Add(0, "Status: ON\n", "warning")
	f.Add(2, "", "ERROR:root:Failed: You have to enter plug number\n\nERROR:root:Please use '-h' for usage\n")
	f.Add(0, "Status: OFF", "pw")
	f.Add(3, "Status: ON\nStatus: OFF", "login with pw refused\x1b[0m")
	f.Fuzz(func(t *testing.T, code int, stdout, stderr string) {
		res := result{code: code, stdout: stdout, stderr: stderr}
		state, ok := stateOf(res)
		switch {
		case ok && state == fence.StateOff && (code != 2 || !strings.Contains(stdout, "Status: OFF")):
			t.Errorf("off from code %d, %q", code, stdout)
		case ok && state == fence.StateOn && (code != 0 || !strings.Contains(stdout, "Status: ON")):
			t.Errorf("on from code %d, %q", code, stdout)
		case !ok && state != fence.StateUnknown:
			t.Errorf("%s, but not ok", state)
		}
		const secret = "Zq!secret~"
		words := res.failure(map[string]fence.Secret{"password": fence.NewSecret(secret)}).Error()
		if strings.Contains(words, secret) || strings.ContainsFunc(words, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("failure %q", words)
		}
	})
}
