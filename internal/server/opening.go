package server

import (
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/store"
)

// serverMark is in every server's certificate and in no agent's: only servers may take part in the quorum's traffic.
const serverMark = "server.ninelives.internal"

// external: the database is an etcd of the operator's own.
func (c Config) external() bool { return len(c.Etcd.Endpoints) > 0 }

// openStore opens the database in this process, or the operator's own.
func (s *Server) openStore(pkiDir string) (store.Store, error) {
	if e := s.cfg.Etcd; s.cfg.external() {
		return store.OpenExternal(store.ExternalOptions{
			Name: s.cfg.Name, Endpoints: e.Endpoints, TLS: store.ClientTLS{CAFile: e.TLS.CA, CertFile: e.TLS.Cert, KeyFile: e.TLS.Key},
			Permit: s.times.Permit, Logger: s.log,
		})
	}
	return store.OpenEmbedded(s.cfg.storeOptions(pkiDir, s.times.Permit, s.log))
}

// storeOptions are those of the database in this process.
func (c Config) storeOptions(pkiDir string, permit time.Duration, log *slog.Logger) store.Options {
	o := store.Options{
		Name: c.Name, DataDir: filepath.Join(c.Data, "etcd"), Logger: log,
		CloseTimeout: 15 * time.Second, // etcd itself gives its last connections 9 s
		Heartbeat:    electionTimeout / 10, ElectionTimeout: electionTimeout, Permit: permit,
	}
	if len(c.Cluster.Initial) > 0 {
		o.Initial, o.ListenCluster = c.Cluster.Initial, c.Listen.Cluster
		o.TLS = store.PeerTLS{
			CertFile: filepath.Join(pkiDir, "server.crt"), KeyFile: filepath.Join(pkiDir, "server.key"),
			CAFile: filepath.Join(pkiDir, "ca.crt"), AllowedNames: []string{serverMark},
		}
	}
	return o
}

// names are what a server's certificate must be good for.
func (c Config) names() []string {
	out := []string{serverMark, "127.0.0.1", "::1", "localhost"}
	for _, a := range append(append([]string{c.Listen.Agents, c.Listen.Cluster}, c.Advertise...), c.Cluster.Initial[c.Name]) {
		if host, _, err := net.SplitHostPort(a); err == nil && host != "" && !slices.Contains(out, host) {
			if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
				out = append(out, host)
			}
		}
	}
	return out
}
