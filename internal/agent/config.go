package agent

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// DefaultConfigPath is where agent.yaml is looked for when nothing else is said.
const DefaultConfigPath = "/etc/ninelives/agent.yaml"

// Config is agent.yaml.
type Config struct {
	// Host is this host as Nova names it; "": nova.conf's host, else the host name. See HostName.
	Host string `yaml:"host"`
	// Servers are the agent ports of all servers, HOST:PORT.
	Servers []string `yaml:"servers"`
	// Planes are this host's addresses: management, storage, tenant. At least one.
	Planes map[string]string `yaml:"planes"`
	// Data is the directory (0700) of certificate, key and gate.
	Data string `yaml:"data"`
	// Identity replaces what DMI says of the machine, where the BMC calls it otherwise.
	Identity Identity `yaml:"identity"`
	// Labels say what this host shares with others: rack, pdu, switch.
	Labels map[string]string `yaml:"labels"`
	// ProbePort is the UDP port on which the agent answers probes; 0: any free one.
	ProbePort uint16 `yaml:"probe_port"`
	// NovaConf is nova-compute's configuration. nova-compute.conf and the directories nova.conf.d and
	// nova-compute.conf.d beside it are read as well, as Nova does.
	NovaConf string `yaml:"nova_conf"`
	// LibvirtHook is where libvirt looks for its qemu hook.
	LibvirtHook string `yaml:"libvirt_hook"`
	// Proc is where the proc file system is mounted.
	Proc string `yaml:"proc"`
	// Stores replaces what is found out about the stores of instance disks.
	Stores []StoreConfig `yaml:"stores"`
}

// Identity is what a fence device kills. With one field given the other isn't taken from DMI: hosts that share a serial
// (blades of one chassis, machines in a lab) would be taken for one machine.
type Identity struct {
	UUID   string `yaml:"uuid"`
	Serial string `yaml:"serial"`
}

// StoreConfig is a store of instance disks that the operator names.
type StoreConfig struct {
	Path string `yaml:"path"`
	// Kind is the file system's type, or rbd; "": found out.
	Kind string `yaml:"kind"`
	// Identity is the operator's word: hosts with the same kind and identity share their disks. "": found out.
	Identity string `yaml:"identity"`
}

// Planes and labels that have a meaning. A misspelt one would silently take away a witness.
func planeNames() []string { return []string{"management", "storage", "tenant"} }
func labelNames() []string { return []string{"rack", "pdu", "switch"} }

// DefaultConfig is what a file starts from.
func DefaultConfig() Config {
	return Config{
		Data: "/var/lib/ninelives-agent", ProbePort: 7403, NovaConf: "/etc/nova/nova.conf",
		LibvirtHook: "/etc/libvirt/hooks/qemu", Proc: "/proc",
	}
}

// LoadConfig reads agent.yaml strictly: every mistake with file, line, column and what was probably meant. It reads no
// other file.
func LoadConfig(path string) (Config, error) {
	c := DefaultConfig()
	f, err := yamlfile.Open(path, &c)
	if err != nil {
		return Config{}, err
	}
	if err := c.check(f.Errorf); err != nil {
		return Config{}, err
	}
	return c, nil
}

// ParseConfig is LoadConfig of text that was read already; path is used in messages.
func ParseConfig(path string, text []byte) (Config, error) {
	c := DefaultConfig()
	f, err := yamlfile.Parse(path, text, &c)
	if err != nil {
		return Config{}, err
	}
	if err := c.check(f.Errorf); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Check says what is wrong with a Config that wasn't read from a file.
func (c Config) Check() error {
	return c.check(func(key, format string, args ...any) *yamlfile.Error {
		return &yamlfile.Error{Path: "agent configuration", Message: key + ": " + fmt.Sprintf(format, args...)}
	})
}

type complain func(key, format string, args ...any) *yamlfile.Error

func (c Config) check(wrong complain) error {
	var errs yamlfile.Errors
	fail := func(key, format string, args ...any) { errs = append(errs, wrong(key, format, args...)) }
	if c.Host != "" {
		if err := pki.ValidName(c.Host); err != nil {
			fail("host", "%v", err)
		}
	}
	if len(c.Servers) == 0 {
		fail("servers", "no servers: name the agent port of each, such as servers: [10.0.0.1:7401]")
	}
	for i, s := range c.Servers {
		key := fmt.Sprintf("servers[%d]", i)
		host, port, err := net.SplitHostPort(s)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || perr != nil || n == 0 {
			fail(key, "%q is no address: it should be HOST:PORT, a server's agent port is usually 7401", s)
		} else if slices.Index(c.Servers, s) < i {
			fail(key, "%s is named twice", s)
		}
	}
	c.checkPlanes(fail)
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		if !slices.Contains(labelNames(), key) {
			fail("labels."+key, "unknown label %q%s", key, known(key, labelNames()))
		}
	}
	for _, p := range []struct{ key, path string }{
		{"data", c.Data}, {"nova_conf", c.NovaConf}, {"libvirt_hook", c.LibvirtHook}, {"proc", c.Proc},
	} {
		if !filepath.IsAbs(p.path) {
			fail(p.key, "%q is no absolute path", p.path)
		}
	}
	for i, s := range c.Stores {
		if !filepath.IsAbs(s.Path) && s.Kind != kindRBD {
			fail(fmt.Sprintf("stores[%d]", i), "path: %q is no absolute path", s.Path)
		}
		if s.Kind == kindRBD && s.Identity == "" {
			fail(fmt.Sprintf("stores[%d]", i), "a store of kind rbd needs identity: FSID/POOL")
		}
	}
	return errs.Err()
}

func (c Config) checkPlanes(fail func(key, format string, args ...any)) {
	if len(c.Planes) == 0 {
		fail("planes", "no planes: name this host's address on at least one, such as planes: {management: 10.0.0.11}")
	}
	owner := map[netip.Addr]string{}
	for _, plane := range slices.Sorted(maps.Keys(c.Planes)) {
		key := "planes." + plane
		if !slices.Contains(planeNames(), plane) {
			fail(key, "unknown plane %q%s", plane, known(plane, planeNames()))
		}
		a, err := netip.ParseAddr(c.Planes[plane])
		if err != nil || a.IsUnspecified() || a.IsMulticast() {
			fail(key, "%q is no IP address of a host", c.Planes[plane])
		} else if other := owner[a]; other != "" {
			// One address would count as two independent ways to see the host.
			fail(key, "%s is the address on plane %s already; a network is one plane", a, other)
		} else {
			owner[a] = plane
		}
	}
}

func known(got string, names []string) string {
	if near := yamlfile.Nearest(got, names); near != "" {
		return fmt.Sprintf(", did you mean %q?", near)
	}
	return fmt.Sprintf(", known here: %v", names)
}

// HostName is the host as Nova names it: Host, else nova.conf's host, else the machine's host name, as Nova itself does.
func (c Config) HostName() (string, error) {
	if c.Host != "" {
		return c.Host, nil
	}
	conf, err := readNovaConf(c.NovaConf)
	if err != nil {
		return "", fmt.Errorf("cannot tell this host's name in Nova: %w; set host: in agent.yaml", err)
	}
	if name := conf.get("DEFAULT", "host"); name != "" {
		return name, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("cannot tell this host's name: %w; set host: in agent.yaml", err)
	}
	return name, nil
}

// families are the IP versions of the planes.
func (c Config) families() (v4, v6 bool) {
	for _, address := range c.Planes {
		if a, err := netip.ParseAddr(address); err == nil {
			v4, v6 = v4 || a.Unmap().Is4(), v6 || a.Unmap().Is6()
		}
	}
	return v4, v6
}

var errNoIdentity = errors.New("the firmware tells neither a UUID nor a serial: set identity: {uuid: …} in agent.yaml to what the BMC says")
