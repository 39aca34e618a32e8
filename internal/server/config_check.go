package server

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// configCheck gathers the mistakes that reading server.yaml doesn't find: whatever would keep the server from starting, or
// the others from reaching it, is to be told with its line.
type configCheck struct {
	Config
	f    *yamlfile.File
	errs yamlfile.Errors
}

func (k *configCheck) fail(key, format string, args ...any) {
	k.errs = append(k.errs, k.f.Errorf(key, format, args...))
}

// mistakes are those that the text alone shows; nothing else is looked at but this machine's addresses.
func (c Config) mistakes(f *yamlfile.File) yamlfile.Errors {
	k := &configCheck{Config: c, f: f}
	k.self()
	k.listening()
	k.advertised()
	k.times()
	if len(c.Cluster.Initial) > 0 {
		k.cluster()
	}
	k.etcd()
	return k.errs
}

func (k *configCheck) self() {
	if k.Name == "" {
		k.fail("name", "the server needs a name of its own (name: server-1)")
	} else if why := badName(k.Name); why != "" {
		k.fail("name", "%s", why)
	}
	if k.Data == "" {
		k.fail("data", "the server needs a data directory (data: %s)", DefaultConfig().Data)
	}
}

// badName says why a server can't have a name: it stands in certificates, and in etcd's list of servers.
func badName(name string) string {
	if err := pki.ValidName(name); err != nil {
		return fmt.Sprintf("%v; a server's name stands in its certificate", err)
	}
	if strings.ContainsAny(name, "=,") {
		return fmt.Sprintf("the name %q may contain neither '=' nor ','", name)
	}
	return ""
}

func (k *configCheck) listening() {
	for _, a := range []struct{ key, addr string }{{"listen.api", k.Listen.API}, {"listen.agents", k.Listen.Agents}, {"listen.cluster", k.Listen.Cluster}} {
		host, port, err := net.SplitHostPort(a.addr)
		switch {
		case err != nil:
			k.fail(a.key, "%q is no address: it should be HOST:PORT", a.addr)
		case host != "" && net.ParseIP(host) == nil && pki.ValidName(host) != nil:
			k.fail(a.key, "%q is no address: %q is neither an IP address nor a host's name", a.addr, host)
		default:
			if _, err := net.LookupPort("tcp", port); err != nil {
				k.fail(a.key, "%q is no address: %q is no port", a.addr, port)
			}
		}
	}
	if host, _, err := net.SplitHostPort(k.Listen.API); err == nil && !loopback(host) && k.TLS.Cert == "" {
		k.fail("listen.api", "the API would be reachable in clear text on %s; give tls.cert and tls.key, or listen on loopback", k.Listen.API)
	}
}

func (k *configCheck) advertised() {
	for i, addr := range k.Advertise {
		if why := unreachable(addr); why != "" {
			k.fail(fmt.Sprintf("advertise[%d]", i), "%s; agents are to reach this server there (port %s, if it isn't translated)", why, portOf(k.Listen.Agents))
		}
	}
}

// unreachable says why nobody can reach an address as it is written; "" if somebody may.
func unreachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	n, bad := strconv.ParseUint(port, 10, 16)
	ip := net.ParseIP(host)
	switch {
	case err != nil || host == "" || port == "":
		return fmt.Sprintf("%q should be HOST:PORT", addr)
	case bad != nil || n == 0:
		return fmt.Sprintf("%q should be HOST:PORT with a port from 1 to 65535", addr)
	case ip != nil && ip.IsUnspecified():
		return fmt.Sprintf("%q stands for any address; it should be one of this server's", addr)
	case ip == nil && pki.ValidName(host) != nil:
		return fmt.Sprintf("%q should be HOST:PORT, and %q is neither an IP address nor a host's name", addr, host)
	}
	return ""
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr) // the address is told elsewhere
	return port
}

func (k *configCheck) cluster() {
	n := len(k.Cluster.Initial)
	switch {
	case k.external():
		k.fail("etcd", "the servers of an etcd of your own find each other there: leave cluster.initial out")
	case n%2 == 0:
		k.fail("cluster.initial", "%d servers: an even number has no more quorum than one server less; use one, three or five", n)
	case n > 5:
		k.fail("cluster.initial", "%d servers: each decision would wait for more of them, and five survive the loss of two; use one, three or five", n)
	}
	distinct := k.entries()
	own, ours := k.Cluster.Initial[k.Name]
	switch why := k.copied(ownAddresses()); {
	case !ours && k.Name != "":
		k.fail("cluster.initial", "this server's name %q is not among the servers", k.Name)
	case !distinct: // whose address is wrong must be told first
	case why != "":
		k.fail("name", "%s", why)
	case ours && unreachable(own) == "":
		k.listensAt(own)
	}
}

// entries looks at each server of cluster.initial; false: two have one address.
func (k *configCheck) entries() (distinct bool) {
	distinct = true
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(k.Cluster.Initial)) {
		at, addr := fmt.Sprintf("cluster.initial[%q]", name), k.Cluster.Initial[name]
		if why := badName(name); why != "" && name != k.Name {
			k.fail(at, "%s", why)
		}
		if why := unreachable(addr); why != "" {
			k.fail(at, "%s; the other servers are to reach %s there (port %s, as in its listen.cluster)", why, name, either(portOf(k.Listen.Cluster), "7402"))
			continue
		}
		if ap, err := netip.ParseAddrPort(addr); err == nil {
			addr = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()).String()
		}
		if other, twice := seen[addr]; twice {
			k.fail(at, "%s and %s have the same address %s; each server has its own", other, name, addr)
			distinct = false
		}
		seen[addr] = name
	}
	return distinct
}

// listensAt holds listen.cluster against the address at which the others look for this server. A name may mean any address,
// and behind address translation the machine doesn't have the one that the others use: it then listens on 0.0.0.0. Another
// literal address is in practice one that was forgotten (the default listens on loopback), and nobody would be heard there.
func (k *configCheck) listensAt(own string) {
	host, port, err := net.SplitHostPort(k.Listen.Cluster)
	if err != nil {
		return // told already
	}
	wantHost, wantPort, _ := net.SplitHostPort(own) // it was looked at
	listens, err := netip.ParseAddr(host)
	if host != "" && err != nil {
		k.fail("listen.cluster", "%q should begin with an IP address of this machine, or 0.0.0.0, not with a name", k.Listen.Cluster)
		return
	}
	if port != wantPort {
		k.fail("listen.cluster", "listen.cluster is %s, but the other servers look for %s at %s (cluster.initial): the ports must be the same", k.Listen.Cluster, k.Name, own)
		return
	}
	want, err := netip.ParseAddr(wantHost)
	if host != "" && err == nil && !listens.IsUnspecified() && listens.Unmap() != want.Unmap() {
		k.fail("listen.cluster", "listen.cluster is %s, but the other servers look for %s at %s (cluster.initial): listen there, or on 0.0.0.0:%s where addresses are translated", k.Listen.Cluster, k.Name, own, port)
	}
}

func (k *configCheck) etcd() {
	e := k.Etcd
	if len(e.Endpoints) == 0 && (e.Endpoints != nil || e.TLS != (EtcdTLS{})) {
		k.fail("etcd", "no endpoint of your etcd is named: give etcd.endpoints, or leave etcd out to use the database in this process")
	}
	for i, text := range e.Endpoints {
		u, err := url.Parse(text)
		if err != nil || unreachable(u.Host) != "" || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
			k.fail(fmt.Sprintf("etcd.endpoints[%d]", i), "%q should be https://HOST:PORT (http only on loopback): whoever can write there can have hosts switched off", text)
		}
	}
}

// times are all that can't be used, each at its key.
func (k *configCheck) times() {
	_, err := k.Config.times()
	if err == nil {
		return
	}
	all, ok := err.(interface{ Unwrap() []error })
	if !ok {
		k.fail("times", "%v", err)
		return
	}
	for _, one := range all.Unwrap() {
		at := "times"
		if w, ok := errors.AsType[*detect.WrongTime](one); ok {
			at += "." + w.Setting
		}
		k.fail(at, "%v", one)
	}
}
