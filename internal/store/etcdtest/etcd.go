// Package etcdtest runs an etcd for tests, as an operator would: a process's worth of it on loopback, with a client port.
package etcdtest

import (
	"net"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// Options say how etcd is run. The zero Options: as it comes, in clear text.
type Options struct {
	TLS             bool // and a client must show a certificate
	TxnOps          uint // 0: etcd's default
	MaxRequestBytes uint
}

// Etcd is one that runs.
type Etcd struct {
	Address       string // host:port
	CA, Cert, Key string // PEM files for a client; "" without TLS
}

// URL is how a client names an address of this etcd.
func (e Etcd) URL(address string) string {
	if e.CA == "" {
		return "http://" + address
	}
	return "https://" + address
}

// Start runs an etcd until the test ends.
func Start(t testing.TB, o Options) Etcd {
	t.Helper()
	e := Etcd{Address: freePort(t)}
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel = t.TempDir(), "panic"
	scheme := "http"
	if o.TLS {
		scheme = "https"
		e.CA, e.Cert, e.Key = certificates(t)
		cfg.ClientTLSInfo = transport.TLSInfo{CertFile: e.Cert, KeyFile: e.Key, TrustedCAFile: e.CA, ClientCertAuth: true}
	}
	client, peer := url.URL{Scheme: scheme, Host: e.Address}, url.URL{Scheme: "http", Host: freePort(t)}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	if o.TxnOps > 0 {
		cfg.MaxTxnOps = o.TxnOps
	}
	if o.MaxRequestBytes > 0 {
		cfg.MaxRequestBytes = o.MaxRequestBytes
	}
	run, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(run.Close)
	<-run.Server.ReadyNotify()
	return e
}

// certificates are good for etcd's end and a client's.
func certificates(t testing.TB) (ca, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	authority, err := pki.Init(dir, "etcd", time.Now())
	if err == nil {
		_, err = authority.EnsureServer(dir, "etcd", []string{"127.0.0.1"}, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "ca.crt"), filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
