package server

import (
	"fmt"
	"net"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// Config is server.yaml.
type Config struct {
	// Name is this server's name, unique among the servers.
	Name string `yaml:"name"`
	// Data is where the database, the CA and the admin token lie (0700).
	Data   string `yaml:"data"`
	Listen Listen `yaml:"listen"`
	// Cluster names all servers; absent: this is the only one.
	Cluster Cluster `yaml:"cluster"`
	// Etcd is an etcd of the operator's own, instead of the one in this process.
	Etcd  Etcd  `yaml:"etcd"`
	Cloud Cloud `yaml:"cloud"`
	// Host is the compute host, as Nova names it, on whose machine this server runs; "" if on none. It is never fenced.
	Host  string `yaml:"host"`
	Times Times  `yaml:"times"`
	TLS   TLS    `yaml:"tls"`
	// Advertise are the addresses that agents are told to reach this server at, host:port; default: listen.agents
	// where that names an address, else the host of its cluster address with that port.
	Advertise []string `yaml:"advertise"`

	// Ended are the certificates named above that have ended, each where it is named. A server starts with them all the same:
	// what it protects must not depend on who looks at it.
	Ended yamlfile.Errors `yaml:"-"`
}

// Listen are the ports of a server.
type Listen struct {
	API     string `yaml:"api"`
	Agents  string `yaml:"agents"`
	Cluster string `yaml:"cluster"`
}

// Cluster lists the servers: name → cluster address.
type Cluster struct {
	Initial map[string]string `yaml:"initial"`
}

// Etcd says how an etcd of the operator's own is reached.
type Etcd struct {
	Endpoints []string `yaml:"endpoints"` // https://HOST:2379
	TLS       EtcdTLS  `yaml:"tls"`
}

// EtcdTLS are PEM files: the CA that signed etcd's certificate, and this server's own for it.
type EtcdTLS struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Cloud says which cloud: a name of clouds.yaml, or none for OS_* of the environment.
type Cloud struct {
	Name   string `yaml:"name"`
	Config string `yaml:"config"` // path of clouds.yaml; default: where every OpenStack client looks
}

// TLS is the certificate of the API port; needed when it isn't on loopback.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Times are the safety times an operator may set; detect.Derive checks them against their floors.
type Times struct {
	Pulse      yamlfile.Duration `yaml:"pulse"`
	DeadAfter  yamlfile.Duration `yaml:"dead_after"`
	HungAfter  yamlfile.Duration `yaml:"hung_after"`
	Leaving    yamlfile.Duration `yaml:"leaving"`
	RequestTTL yamlfile.Duration `yaml:"request_ttl"`
}

// DefaultConfig is what a file starts from.
func DefaultConfig() Config {
	return Config{
		Data:   "/var/lib/ninelives",
		Listen: Listen{API: "127.0.0.1:7400", Agents: "0.0.0.0:7401", Cluster: "127.0.0.1:7402"},
	}
}

// LoadConfig reads server.yaml strictly, and the certificates that it names: every mistake with file, line, column and what
// was probably meant.
func LoadConfig(path string) (Config, error) {
	c := DefaultConfig()
	f, err := yamlfile.Open(path, &c)
	if err != nil {
		return Config{}, err
	}
	files := readFiles(c, f, time.Now())
	c.Ended = files.ended
	return c, f.All(append(c.mistakes(f), files.errs...))
}

func (c Config) times() (detect.Times, error) {
	return detect.Derive(detect.Config{
		Pulse: c.Times.Pulse.Std(), DeadAfter: c.Times.DeadAfter.Std(), HungAfter: c.Times.HungAfter.Std(),
		Leaving: c.Times.Leaving.Std(), RequestTTL: c.Times.RequestTTL.Std(), ElectionTimeout: electionTimeout,
	})
}

// electionTimeout is etcd's. Leadership moves within about two of it; half of it bounds a permit.
const electionTimeout = 2 * time.Second

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// servers are the agent ports that agents are told of.
func (c Config) servers(agents net.Addr) []string {
	if len(c.Advertise) > 0 {
		return c.Advertise
	}
	if host, _, err := net.SplitHostPort(agents.String()); err == nil && !net.ParseIP(host).IsUnspecified() {
		return []string{agents.String()}
	}
	return nil
}

// check is for configurations that weren't read from a file.
func (c Config) check() error {
	if c.Name == "" {
		return fmt.Errorf("the server needs a name (name: in server.yaml)")
	}
	if c.Data == "" {
		return fmt.Errorf("the server needs a data directory (data: in server.yaml)")
	}
	return nil
}
