package store

import (
	"log/slog"
	"time"
)

// Options say how to open an Embedded store.
type Options struct {
	Name    string // this server's name, required
	DataDir string // made if absent (0700), required; belongs to this server alone

	// Initial are the cluster addresses (host:port) of the servers that the cluster
	// begins with, by name, this one included: one, three or five. Others may join
	// later (AddServer). Empty: a single server that opens no port at all; nobody can
	// join it before it has an address here.
	Initial map[string]string
	// ListenCluster is where this server listens for the others (host:port).
	// Empty: its own address of Initial.
	ListenCluster string
	// ClusterToken keeps two clusters apart that know each other's addresses by
	// mistake; the same on all servers. Default "ninelives".
	ClusterToken string

	// TLS for the traffic between servers: required with more than one.
	TLS PeerTLS
	// InsecureLoopback allows plain traffic between servers, if all addresses of
	// Initial are loopback ones. For tests only.
	InsecureLoopback bool

	Heartbeat       time.Duration // default 100 ms
	ElectionTimeout time.Duration // default 1 s, at least 5 heartbeats

	// Permit is how long permits are good. Default and upper bound: PermitFor.
	Permit time.Duration
	Clock  Clock // default SystemClock

	CallTimeout  time.Duration // bound of each call; default 5 s
	StartTimeout time.Duration // bound of OpenEmbedded; default 30 s
	CloseTimeout time.Duration // bound of Close; default 10 s

	// Compaction is how much history watches can go back; default 1 h.
	Compaction time.Duration
	// QuotaBytes is where the database stops taking writes; default 2 GiB.
	QuotaBytes int64

	Logger *slog.Logger // default: nothing is logged

	lone bool // Initial was empty
}

// PeerTLS are the PEM files of the mutual TLS between servers. They are read
// again at each connection: renewal needs no restart.
type PeerTLS struct {
	CertFile, KeyFile string
	CAFile            string
	// AllowedNames: a peer's certificate must carry one of these DNS names. Agents
	// have certificates of the same CA; without this, any agent could join the
	// quorum's traffic. Required.
	AllowedNames []string
}
