package store

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// loneAddress is what a single server calls its address; nothing listens there.
const loneAddress = "127.0.0.1:7402"

// withDefaults is o with its defaults, or an error that says what is wrong with it.
func (o Options) withDefaults() (Options, error) {
	if o.Name == "" {
		return o, errors.New("the server's name is missing")
	}
	if strings.ContainsAny(o.Name, "=, \t\n") {
		return o, fmt.Errorf("the server's name %q may contain neither '=', ',' nor blanks", o.Name)
	}
	if o.DataDir == "" {
		return o, errors.New("the data directory is missing")
	}
	setDefault(&o.ClusterToken, "ninelives")
	setDefault(&o.Heartbeat, 100*time.Millisecond)
	setDefault(&o.ElectionTimeout, time.Second)
	setDefault(&o.CallTimeout, 5*time.Second)
	setDefault(&o.StartTimeout, 30*time.Second)
	setDefault(&o.CloseTimeout, 10*time.Second)
	setDefault(&o.Compaction, time.Hour)
	setDefault(&o.QuotaBytes, 2<<30)
	if o.Clock == nil {
		o.Clock = SystemClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.lone = len(o.Initial) == 0; o.lone {
		o.Initial = map[string]string{o.Name: loneAddress}
	}
	for _, check := range []func(*Options) error{checkTimes, checkInitial, checkListen, checkPeerTLS} {
		if err := check(&o); err != nil {
			return o, err
		}
	}
	return o, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func checkTimes(o *Options) error {
	if o.Heartbeat < time.Millisecond || o.ElectionTimeout < 5*o.Heartbeat || o.ElectionTimeout > 50*time.Second {
		return fmt.Errorf("an election timeout of %v with a heartbeat of %v doesn't work: it must be 5 heartbeats or more, 50 s at most", o.ElectionTimeout, o.Heartbeat)
	}
	servers := 1
	if !o.lone {
		servers = max(3, len(o.Initial)) // others may join
	}
	bound := PermitFor(servers, o.ElectionTimeout)
	setDefault(&o.Permit, bound)
	if o.Permit < 0 || o.Permit > bound {
		return fmt.Errorf("permits of %v are refused: with %d servers and an election timeout of %v another leader could act before they end; at most %v", o.Permit, servers, o.ElectionTimeout, bound)
	}
	return nil
}

func checkInitial(o *Options) error {
	names := slices.Sorted(maps.Keys(o.Initial))
	if _, ours := o.Initial[o.Name]; !ours {
		return fmt.Errorf("this server's name %q isn't among the cluster's servers: %s", o.Name, strings.Join(names, ", "))
	}
	seen := map[string]string{}
	for _, name := range names {
		addr := o.Initial[name]
		host, port, err := net.SplitHostPort(addr)
		if err != nil || host == "" || port == "" || port == "0" {
			return fmt.Errorf("the address %q of %s must be host:port", addr, name)
		}
		if other, taken := seen[addr]; taken {
			return fmt.Errorf("%s and %s have the same address %s", other, name, addr)
		}
		seen[addr] = name
	}
	return nil
}

func checkListen(o *Options) error {
	if o.lone {
		return nil
	}
	setDefault(&o.ListenCluster, o.Initial[o.Name])
	host, port, err := net.SplitHostPort(o.ListenCluster)
	if err != nil || port == "" {
		return fmt.Errorf("the cluster address %q to listen on must be IP:port", o.ListenCluster)
	}
	if host == "" {
		o.ListenCluster = net.JoinHostPort("0.0.0.0", port)
	} else if _, err := netip.ParseAddr(host); err != nil {
		return fmt.Errorf("the cluster address %q to listen on must begin with an IP address of this server, not with a name", o.ListenCluster)
	}
	return nil
}

func checkPeerTLS(o *Options) error {
	if o.lone {
		return nil
	}
	t := o.TLS
	if t.CertFile == "" && t.KeyFile == "" && t.CAFile == "" && o.InsecureLoopback {
		for name, addr := range o.Initial {
			ap, err := netip.ParseAddrPort(addr)
			if err != nil || !ap.Addr().IsLoopback() {
				return fmt.Errorf("without TLS only loopback addresses are allowed, not %s of %s", addr, name)
			}
		}
		return nil
	}
	if t.CertFile == "" || t.KeyFile == "" || t.CAFile == "" {
		return errors.New("servers talk by mutual TLS only: certificate, key and CA are needed")
	}
	if len(t.AllowedNames) == 0 {
		return errors.New("no name is given that servers' certificates carry: any agent's certificate would be let in")
	}
	return nil
}
