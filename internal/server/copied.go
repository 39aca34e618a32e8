package server

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
)

// copied says in words that this machine is another server than its file says, "" if it isn't or can't be told. A
// server.yaml that was copied to the second controller without another name makes two servers of one name: both vote
// with one voice, and the quorum may forget what it had promised. Names of hosts aren't resolved: a server must start
// while DNS is down.
func (c Config) copied(local []netip.Addr) string {
	own, named := c.Cluster.Initial[c.Name], c.Name
	if own != "" {
		named += " (" + own + ")"
	}
	for _, name := range slices.Sorted(maps.Keys(c.Cluster.Initial)) {
		addr := c.Cluster.Initial[name]
		if name == c.Name || addr == own {
			continue
		}
		if addr == c.Listen.Cluster {
			return fmt.Sprintf("listen.cluster is %s, the address of %s, but this server is named %s: was the file copied? Two servers of one name would vote twice; write name: %s", addr, name, named, name)
		}
		if here(addr, local) && elsewhere(own, local) {
			return fmt.Sprintf("%s is at %s, which is no address of this machine, but %s of %s is: was the file copied? Two servers of one name would vote twice; write name: %s", c.Name, own, addr, name, name)
		}
	}
	return ""
}

func here(addr string, local []netip.Addr) bool {
	ap, err := netip.ParseAddrPort(addr)
	return err == nil && slices.Contains(local, ap.Addr().Unmap())
}

func elsewhere(addr string, local []netip.Addr) bool {
	ap, err := netip.ParseAddrPort(addr)
	return err == nil && !ap.Addr().IsLoopback() && !ap.Addr().IsUnspecified() && !slices.Contains(local, ap.Addr().Unmap())
}

// ownAddresses are this machine's; none if they can't be read.
func ownAddresses() []netip.Addr {
	var out []netip.Addr
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}
