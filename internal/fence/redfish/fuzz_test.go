package redfish

import (
	"bytes"
	"io"
	"net/http"
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

// anything answers every request with one reply.
type anything struct {
	status int
	body   []byte
}

func (a anything) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(a.body)), Request: r}, nil
}

// FuzzDevice asks a service that answers everything with one reply: off is read only from a good answer that says so,
// and nothing counts as sent that never left.
func FuzzDevice(f *testing.F) {
	one := `{"Members":[{"@odata.id":"/redfish/v1/Systems/1"}],"PowerState":"Off","UUID":"4C4C4544-0032-4B10-8035-B4C04F385132","Actions":{"#ComputerSystem.Reset":{"target":"//elsewhere/x"}}}`
	for _, status := range []uint16{200, 204, 301, 401, 403, 404, 500} {
		f.Add(status, []byte(one), "")
		f.Add(status, []byte(`{"Members":[{"@odata.id":"%zz"}]}`), "")
		f.Add(status, []byte(`{"Members":[null,null],"PowerState":"Off"}`), "1")
		f.Add(status, []byte(`null`), "../x y")
	}
	f.Setenv("NINELIVES_FUZZ_PASSWORD", "s3cret-redfish")
	f.Fuzz(func(t *testing.T, status uint16, body []byte, system string) {
		a := anything{status: int(200 + status%400), body: body}
		opened, err := Open(fence.Spec{Driver: fence.DriverRedfish, Address: "192.0.2.1", Username: "u", PasswordEnv: "NINELIVES_FUZZ_PASSWORD", System: system}, fence.Options{})
		if err != nil {
			t.Fatal(err)
		}
		d, ok := opened.(*device)
		if !ok {
			t.Fatalf("%T is no device", opened)
		}
		d.client.Transport = a
		state, err := d.Power(t.Context())
		if err == nil && state == fence.StateOff && (a.status > 299 || !bytes.Contains(body, []byte("Off"))) || err != nil && state != fence.StateUnknown {
			t.Errorf("%d %q reads %s: %v", a.status, body, state, err)
		}
		if id, err := d.Identity(t.Context()); err == nil && id == (fence.Identity{}) {
			t.Error("no identity, and no error")
		}
		if err := d.Off(t.Context(), func() error { return nil }); err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the password is in %q", err)
		}
	})
}
