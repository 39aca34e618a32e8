package store

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"syscall"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
)

func (s *Embedded) config() *embed.Config {
	cfg := embed.NewConfig()
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newEtcdLog(s.o.Logger, &s.closing, s.etcdFatal))
	cfg.Name = s.o.Name
	cfg.Dir = s.dir.etcd()
	cfg.InitialClusterToken = s.o.ClusterToken
	cfg.PeerTLSInfo = s.peerTLS()
	scheme := s.o.scheme()
	var initial []string
	for name, addr := range s.dir.id.Servers {
		initial = append(initial, name+"="+scheme+"://"+addr)
	}
	cfg.InitialCluster = strings.Join(initial, ",")
	if s.dir.id.Joins {
		cfg.ClusterState = embed.ClusterStateFlagExisting
	}
	cfg.AdvertisePeerUrls = []url.URL{{Scheme: scheme, Host: s.o.Initial[s.o.Name]}}
	cfg.ListenPeerUrls = nil
	if !s.o.lone {
		cfg.ListenPeerUrls = []url.URL{{Scheme: scheme, Host: s.o.ListenCluster}}
	}
	// No client port. An address must be advertised all the same: etcd takes a
	// server that advertises none for one that never ran, and would let a second
	// one of the same name, or one with a lost disk, in under its identity.
	cfg.ListenClientUrls, cfg.ListenClientHttpUrls = nil, nil
	cfg.AdvertiseClientUrls = []url.URL{{Scheme: "unix", Host: "in-process"}}
	cfg.TickMs = uint(s.o.Heartbeat.Milliseconds())
	cfg.ElectionMs = uint(s.o.ElectionTimeout.Milliseconds())
	cfg.MaxTxnOps = MaxOps
	cfg.MaxRequestBytes = 2 * MaxBytes // keys' prefixes and protobuf come on top
	cfg.AutoCompactionMode = embed.CompactorModePeriodic
	cfg.AutoCompactionRetention = s.o.Compaction.String()
	cfg.QuotaBackendBytes = s.o.QuotaBytes
	return cfg
}

// scheme is that of the peers' URLs.
func (o Options) scheme() string {
	if o.peerTLS().Empty() {
		return "http"
	}
	return "https"
}

func (s *Embedded) peerTLS() transport.TLSInfo { return s.o.peerTLS() }

func (o Options) peerTLS() transport.TLSInfo {
	if o.TLS.CertFile == "" || o.lone {
		return transport.TLSInfo{}
	}
	return transport.TLSInfo{
		CertFile:         o.TLS.CertFile,
		KeyFile:          o.TLS.KeyFile,
		TrustedCAFile:    o.TLS.CAFile,
		ClientCertAuth:   true,
		AllowedHostnames: o.TLS.AllowedNames,
		// The name is what is trusted. Comparing a caller's IP with its certificate
		// would ask the DNS in the middle of a failover, and break behind NAT.
		SkipClientSANVerify: true,
	}
}

// bootstrapped: the others have seen this member with data. etcd has no type for it.
func bootstrapped(err error) bool {
	return strings.Contains(err.Error(), "has already been bootstrapped")
}

// startProblem adds what an operator can do about it.
func (s *Embedded) startProblem(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("cluster address %s is taken by another program: %w", s.o.ListenCluster, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("cluster address %s isn't one of this machine: %w", s.o.ListenCluster, err)
	case errors.Is(err, syscall.ENOSPC) && s.failure.Load() == nil:
		return fmt.Errorf("the disk of data directory %s is full; free some of it, then start the server again: %w", s.o.DataDir, err)
	case errors.Is(err, errDamaged), strings.Contains(err.Error(), "invalid database"): // etcd has no type for it
		return fmt.Errorf("%w in data directory %s. Is this the only server: put a backup of the directory back, or move it away and begin with nothing; are there others: leave this one stopped, they go on without it", err, s.o.DataDir)
	case bootstrapped(err):
		return fmt.Errorf("the other servers know a server %q with data, and this one has none in %s: do two servers have this name? Or, if its disk was lost, on a server that works: ninelives cluster replace %s; then, here: ninelives server join (%w)", s.o.Name, s.o.DataDir, s.o.Name, err)
	}
	return err
}
