package server

import (
	"net/netip"
	"strings"
	"testing"
)

// A server.yaml copied to another controller without another name is noticed by the machine's own addresses.
func TestCopiedConfig(t *testing.T) {
	initial := map[string]string{"server-1": "10.0.0.1:7402", "server-2": "10.0.0.2:7402", "server-3": "ctl3:7402"}
	second := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.2")}
	loops := map[string]string{"server-1": "127.0.0.1:7402", "server-2": "127.0.0.1:7412", "server-3": "127.0.0.1:7422"}
	for _, c := range []struct {
		what, name, listen string
		initial            map[string]string
		local              []netip.Addr
		want               string // "": fine
	}{
		{"copied", "server-1", "0.0.0.0:7402", initial, second, "name: server-2"},
		{"listens as another", "server-1", "10.0.0.2:7402", initial, nil, "name: server-2"},
		{"right", "server-2", "0.0.0.0:7402", initial, second, ""},
		{"a name that isn't resolved", "server-3", "0.0.0.0:7402", initial, second, ""},
		{"behind NAT: no address of the list is here", "server-1", "0.0.0.0:7402", initial, []netip.Addr{netip.MustParseAddr("192.168.0.7")}, ""},
		{"read elsewhere: addresses unknown", "server-1", "0.0.0.0:7402", initial, nil, ""},
		{"three on one machine", "server-1", "127.0.0.1:7402", loops, second, ""},
		{"three on one machine, one copied", "server-1", "127.0.0.1:7412", loops, second, "name: server-2"},
		{"one server", "server-1", "127.0.0.1:7402", nil, second, ""},
	} {
		got := Config{Name: c.name, Listen: Listen{Cluster: c.listen}, Cluster: Cluster{Initial: c.initial}}.copied(c.local)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, expected …%s…", c.what, got, c.want)
		}
	}
}
