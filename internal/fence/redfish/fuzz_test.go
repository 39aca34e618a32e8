package redfish

import (
	"strings"
	"testing"
	"unicode"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

func FuzzReply(f *testing.F) {
	for _, seed := range []string{
		`{"PowerState":"Off","UUID":"4C4C4544-0032-4B10-8035-B4C04F385132","Actions":{"#ComputerSystem.Reset":{"target":"/r","ResetType@Redfish.AllowableValues":["ForceOff"]}}}`,
		`{"PowerState":"off"}`, `{"PowerState":null}`, `{"PowerState":["Off"]}`, `[]`, `{`, ``, `{"Actions":{"#ComputerSystem.Reset":{"target":"https://elsewhere/"}}}`,
		`{"error":{"message":"no\u0000\n","@Message.ExtendedInfo":[{"Message":""},{"Message":"yes"}]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		words := errorWords(data)
		if strings.ContainsFunc(words, func(r rune) bool { return !unicode.IsPrint(r) }) || len([]rune(words)) > 201 {
			t.Errorf("error words %q", words)
		}
		var s system
		if decode(data, &s) != nil {
			return
		}
		if s.power() == fence.StateOff && s.PowerState != "Off" {
			t.Errorf("%q reads off", s.PowerState)
		}
		if _, err := s.resetTypeOf("ForceOff"); err == nil && !strings.HasPrefix(s.Actions.Reset.Target, "/") {
			t.Errorf("a reset would go to %q", s.Actions.Reset.Target)
		}
	})
}
