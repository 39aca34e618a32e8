package store

import (
	"os"
	"strings"
	"testing"
)

// A server that has voted beside others and has lost its database would vote again, with all it had acknowledged forgotten.
func TestAServerOfSeveralDoesNotBeginWithNothing(t *testing.T) {
	o, err := Options{
		Name: "a", DataDir: t.TempDir() + "/etcd", ListenCluster: "127.0.0.1:7402",
		Initial: map[string]string{"a": "127.0.0.1:7402", "b": "127.0.0.2:7402", "c": "127.0.0.3:7402"},
		TLS:     PeerTLS{CertFile: "c", KeyFile: "k", CAFile: "ca", AllowedNames: []string{"n"}},
	}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	begin := func() (*dataDir, error) {
		d, err := openDataDir(o)
		if err == nil {
			t.Cleanup(d.release)
		}
		return d, err
	}
	lose := func(d *dataDir) {
		t.Helper()
		d.release()
		if err := os.RemoveAll(o.DataDir); err != nil {
			t.Fatal(err)
		}
	}
	d, err := begin()
	if err != nil {
		t.Fatal(err)
	}
	lose(d) // nothing has run yet
	if d, err = begin(); err != nil {
		t.Fatal(err)
	}
	if err := d.note(o.Initial); err != nil {
		t.Fatal(err)
	}
	lose(d)
	if _, err := begin(); err == nil || !strings.Contains(err.Error(), "one of several") || !strings.Contains(err.Error(), "cluster replace") {
		t.Errorf("it began with nothing: %v", err)
	}
	if err := PrepareJoin(o, Ticket{Token: "t", Servers: o.Initial}); err != nil {
		t.Errorf("it can't join: %v", err)
	}
	lose(d)

	// The last one of a cluster that has shrunk has nobody to vote with.
	if err := os.Remove(d.member()); err != nil {
		t.Fatal(err)
	}
	if d, err = begin(); err != nil {
		t.Fatal(err)
	}
	if err := d.note(o.Initial); err != nil {
		t.Fatal(err)
	}
	if err := d.note(map[string]string{"a": "127.0.0.1:7402"}); err != nil {
		t.Fatal(err)
	}
	lose(d)
	if _, err := begin(); err != nil {
		t.Errorf("a server that was left alone can't begin: %v", err)
	}
}
