package server

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/internal/store/etcdtest"
)

// TestServersOnAnEtcdOfOnesOwn: three servers on an etcd with TLS. The leader's way to it is cut: it may do nothing any
// more before another one leads, says so, and follows when it is mended; what it had sent meanwhile is refused.
func TestServersOnAnEtcdOfOnesOwn(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.Start(t, etcdtest.Options{TLS: true, TxnOps: store.MaxOps, MaxRequestBytes: 2 * store.MaxBytes})
	lines := map[string]*etcdtest.Line{}
	for _, name := range []string{"server-1", "server-2", "server-3"} {
		lines[name] = etcdtest.NewLine(t, etcd.Address)
	}
	x := startShaped(t, 1, func(name string, c *Config) {
		c.Cluster.Initial = nil
		c.Etcd = Etcd{Endpoints: []string{etcd.URL(lines[name].Address)}, TLS: EtcdTLS{CA: etcd.CA, Cert: etcd.Cert, Key: etcd.Key}}
	})
	first := x.servers[waitLeader(t, x.servers)]
	if reply, err := first.reign.Load().ask(t.Context(), engine.Asked{ID: "1", By: "admin", Verb: engine.Disarm, Reason: "rehearsal"}); err != nil || !reply.OK {
		t.Fatalf("disarm: %v %v", reply, err)
	}
	epoch := first.reign.Load().epoch
	lines[first.cfg.Name].Cut()
	delete(x.servers, first.cfg.Name)
	next := x.servers[waitLeader(t, x.servers)]
	if _, err := first.store.Commit(t.Context(), epoch); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("while %s leads, a commit of the one that is cut off ends with %v", next.cfg.Name, err)
	}
	x.servers[first.cfg.Name] = first
	if r := next.reign.Load(); r == nil || r.epoch <= epoch {
		t.Errorf("the next leader's reign is %+v, after epoch %d", r, epoch)
	} else {
		var sw engine.Switches
		if err := r.read(t.Context(), func(e *engine.Engine) { sw, _ = e.Switches() }); err != nil || sw.Armed || sw.Reason != "rehearsal" {
			t.Errorf("the next leader knows %+v (%v), expected it disarmed for the rehearsal", sw, err)
		}
	}
	waitFor(t, "the one that is cut off has ended its reign", func() bool { return first.reign.Load() == nil })
	if st, err := (&backend{s: first}).Status(t.Context()); err != nil || st.Servers.Quorum || st.Servers.Reason == "" {
		t.Errorf("without etcd, its status says %+v (%v)", st.Servers, err)
	}
	lines[first.cfg.Name].Mend()
	waitFor(t, "it follows", func() bool {
		return first.leadership().LeaderName == next.cfg.Name && next.reign.Load() != nil
	})
}

// TestEtcdWantsACertificate: a server that shows etcd none, or trusts another CA, says what is wrong.
func TestEtcdWantsACertificate(t *testing.T) {
	t.Parallel()
	etcd, other := etcdtest.Start(t, etcdtest.Options{TLS: true}), etcdtest.Start(t, etcdtest.Options{TLS: true})
	for want, tls := range map[string]EtcdTLS{
		"certificate required":          {CA: etcd.CA},
		"signed by unknown authority":   {CA: other.CA, Cert: etcd.Cert, Key: etcd.Key},
		"unknown certificate authority": {CA: etcd.CA, Cert: other.Cert, Key: other.Key},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			s, err := store.OpenExternal(store.ExternalOptions{
				Name: "a", Endpoints: []string{etcd.URL(etcd.Address)}, TLS: store.ClientTLS{CAFile: tls.CA, CertFile: tls.Cert, KeyFile: tls.Key},
			})
			if err != nil {
				t.Fatal(err)
			}
			waitFor(t, "status says why", func() bool {
				st := s.Status(t.Context())
				return !st.Quorum && strings.Contains(st.QuorumReason, want)
			})
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestExternalEtcdInTheConfiguration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"name: a\netcd: {endpoints: [\"https://10.0.0.1:2379\"]}\n":                                             "",
		"name: a\netcd: {endpoints: [\"http://127.0.0.1:2379\"]}\n":                                             "",
		"name: a\netcd: {endpoints: [\"http://10.0.0.1:2379\"]}\n":                                              "should be https://",
		"name: a\netcd: {endpoints: [\"10.0.0.1:2379\"]}\n":                                                     "should be https://",
		"name: a\netcd: {endpoints: [\"https://10.0.0.1:2379\"]}\ncluster: {initial: {a: \"10.0.0.1:7402\"}}\n": "leave cluster.initial out",
	} {
		file := filepath.Join(t.TempDir(), "server.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadConfig(file)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, expected %q", text, err, want)
		}
	}
}
