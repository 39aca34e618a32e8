package server

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// Config is server.yaml.
type Config struct {
	// Name is this server's name, unique among the servers; default: the machine's host name.
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

// LoadConfig reads server.yaml strictly: every mistake with file, line, column and what was probably meant.
func LoadConfig(path string) (Config, error) {
	c := DefaultConfig()
	f, err := yamlfile.Open(path, &c)
	if err != nil {
		return Config{}, err
	}
	return c, c.mistakes(f).Err()
}

// mistakes are those that reading the file doesn't find.
func (c Config) mistakes(f *yamlfile.File) (errs yamlfile.Errors) {
	for _, a := range []struct{ key, addr string }{{"listen.api", c.Listen.API}, {"listen.agents", c.Listen.Agents}, {"listen.cluster", c.Listen.Cluster}} {
		if _, _, err := net.SplitHostPort(a.addr); err != nil {
			errs = append(errs, f.Errorf(a.key, "%q is no address: it should be HOST:PORT", a.addr))
		}
	}
	errs = append(errs, c.wrongTimes(f)...)
	if n := len(c.Cluster.Initial); n > 0 {
		if _, ok := c.Cluster.Initial[c.Name]; !ok {
			errs = append(errs, f.Errorf("cluster.initial", "this server's name %q is not among the servers", c.Name))
		}
		if why := c.copied(ownAddresses()); why != "" {
			errs = append(errs, f.Errorf("name", "%s", why))
		}
		if n%2 == 0 {
			errs = append(errs, f.Errorf("cluster.initial", "%d servers: an even number has no more quorum than one server less; use one, three or five", n))
		}
	}
	if c.external() && len(c.Cluster.Initial) > 0 {
		errs = append(errs, f.Errorf("etcd", "the servers of an etcd of your own find each other there: leave cluster.initial out"))
	}
	for _, e := range c.Etcd.Endpoints {
		if u, err := url.Parse(e); err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
			errs = append(errs, f.Errorf("etcd.endpoints", "%q should be https://HOST:PORT (http only on loopback): whoever can write there can have hosts switched off", e))
		}
	}
	if host, _, err := net.SplitHostPort(c.Listen.API); err == nil && !loopback(host) && c.TLS.Cert == "" {
		errs = append(errs, f.Errorf("listen.api", "the API would be reachable in clear text on %s; give tls.cert and tls.key, or listen on loopback", c.Listen.API))
	}
	return errs
}

// wrongTimes are all times that can't be used, each at its key.
func (c Config) wrongTimes(f *yamlfile.File) (errs yamlfile.Errors) {
	_, err := c.times()
	if err == nil {
		return nil
	}
	all, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return yamlfile.Errors{f.Errorf("times", "%v", err)}
	}
	for _, one := range all.Unwrap() {
		at := "times"
		if w, ok := errors.AsType[*detect.WrongTime](one); ok {
			at += "." + w.Setting
		}
		errs = append(errs, f.Errorf(at, "%v", one))
	}
	return errs
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

func (c Config) check() error {
	if c.Name == "" {
		return fmt.Errorf("the server needs a name (name: in server.yaml)")
	}
	if c.Data == "" {
		return fmt.Errorf("the server needs a data directory (data: in server.yaml)")
	}
	return nil
}
