//go:build e2e || bench

package rig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Namespaces of servers are named so that the lab doesn't take them for hosts'.
const serverNet = "nlc-"

// SetUpThree is SetUp with three servers, each in a network namespace of its own with a leg on both planes, as on three
// controllers. The first has a small disk of its own (Disk).
func SetUpThree(t *testing.T) *Rig { return setUp(t, (*Rig).threeServers) }

// Disk is where the first of three servers keeps its data: a file system of 192 MiB, which holds a database and its
// logs, and little more.
func (f *Rig) Disk() string { return filepath.Join(f.dir(), "server-1", "disk") }

// Bundle is the cluster's CA for further servers.
func (f *Rig) Bundle() string { return filepath.Join(f.dir(), "bundle") }

func (f *Rig) threeServers(t *testing.T, binary string) {
	t.Helper()
	certificate(t, f.dir(), "10.77.0.2", "10.77.0.3", "10.77.0.4")
	var urls []string
	for n := 1; n <= 3; n++ {
		p := f.member(t, binary, n)
		f.Servers = append(f.Servers, p)
		urls = append(urls, p.apiURL)
	}
	first := f.Servers[0]
	if r := (&Product{Binary: binary, Config: first.Config}).Run("server", "init", "--data", first.DataDir(), "--name", "lab", "--bundle-out", f.Bundle()); r.Code != 0 {
		t.Fatalf("server init: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	t.Cleanup(func() {
		for _, p := range f.Servers {
			p.Kill()
		}
	})
	first.Start(t)
	for _, p := range f.Servers[1:] {
		p.Start(t, "--bundle", f.Bundle())
	}
	for _, p := range f.Servers {
		p.Ready(t, 60*time.Second)
	}
	token, err := first.adminToken()
	if err != nil {
		t.Fatal(err)
	}
	f.Main = &Product{
		Binary: binary, Config: first.Config, dir: f.dir(), apiURL: strings.Join(urls, ","), token: token, caFile: first.caFile,
	}
	if err := f.Main.connect(); err != nil {
		t.Fatal(err)
	}
	f.Leader(t)
}

// member makes the namespace and the server.yaml of the n-th server.
func (f *Rig) member(t *testing.T, binary string, n int) *Product {
	t.Helper()
	name := fmt.Sprintf("server-%d", n)
	dir := filepath.Join(f.dir(), name)
	address := fmt.Sprintf("10.77.0.%d", 1+n)
	p := &Product{
		Binary: binary, Name: name, Address: address, dir: dir, Config: filepath.Join(dir, "server.yaml"), net: serverNet + name,
		apiURL: "https://" + address + ":7400", agents: address + ":7401", caFile: filepath.Join(f.dir(), "api.crt"),
	}
	data := filepath.Join(dir, "data")
	if n == 1 {
		data = filepath.Join(f.Disk(), "data")
		if err := os.MkdirAll(f.Disk(), 0o755); err != nil {
			t.Fatal(err)
		}
		command(t, "mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", f.Disk())
	}
	text := fmt.Sprintf("name: %s\ndata: %s\nlisten: {api: \"%s:7400\", agents: %q, cluster: \"%s:7402\"}\n", name, data, address, p.agents, address)
	text += fmt.Sprintf("tls: {cert: %s, key: %s}\n", p.caFile, filepath.Join(f.dir(), "api.key"))
	text += "cluster: {initial: {server-1: \"10.77.0.2:7402\", server-2: \"10.77.0.3:7402\", server-3: \"10.77.0.4:7402\"}}\n"
	text += fmt.Sprintf("cloud: {name: lab, config: %s}\ntimes: {hung_after: 70s}\n", filepath.Join(f.Lab.Run, "clouds.yaml"))
	f.Put(t, p.Config, text)
	plug(t, p.net, n)
	return p
}

// plug gives a namespace a leg on each plane.
func plug(t *testing.T, ns string, n int) {
	t.Helper()
	command(t, "ip", "netns", "add", ns)
	t.Cleanup(func() { command(t, "ip", "netns", "del", ns) })
	command(t, "ip", "-n", ns, "link", "set", "lo", "up")
	for i, plane := range []struct{ bridge, net string }{{"nl-mgmt", "10.77.0"}, {"nl-stor", "10.78.0"}} {
		port, leg := fmt.Sprintf("nlc%d-%d", n, i), fmt.Sprintf("leg%d", i)
		mac := fmt.Sprintf("02:4e:4c:01:%02x:%02x", i, n) // the same at each run: nobody's ARP cache goes stale
		command(t, "ip", "link", "add", port, "type", "veth", "peer", "name", leg, "address", mac, "netns", ns)
		command(t, "ip", "link", "set", port, "master", plane.bridge, "up")
		command(t, "ip", "-n", ns, "addr", "add", fmt.Sprintf("%s.%d/24", plane.net, 1+n), "dev", leg)
		command(t, "ip", "-n", ns, "link", "set", leg, "up")
	}
}

func command(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// leftovers takes back what a run that was killed left in the machine: namespaces of servers, their disk.
func (f *Rig) leftovers(t *testing.T) {
	t.Helper()
	all, err := filepath.Glob("/run/netns/" + serverNet + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range all {
		command(t, "ip", "netns", "del", filepath.Base(ns))
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[1]; strings.HasPrefix(at, f.dir()+"/") {
			command(t, "umount", "-l", at)
		}
	}
}

// certificate makes the certificate of the API, its own CA, for all servers.
func certificate(t *testing.T, dir string, addresses ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the lab's servers"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, a := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(a))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"api.crt": {Type: "CERTIFICATE", Bytes: der}, "api.key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Leader waits until one of the servers says that it leads, and returns it.
func (f *Rig) Leader(t testing.TB) *Product {
	t.Helper()
	var leader *Product
	Within(t, 60*time.Second, "one server leads", func() string {
		for _, p := range f.Servers {
			if s, err := p.OwnStatus(); err == nil && s.Leads {
				leader = p
				return ""
			}
		}
		return "none says so"
	})
	return leader
}

// Drop cuts a server off from addresses, in both directions.
func (p *Product) Drop(t testing.TB, addresses ...string) {
	t.Helper()
	for _, a := range addresses {
		p.inside(t, "iptables", "-w", "5", "-I", "INPUT", "-s", a, "-j", "DROP")
		p.inside(t, "iptables", "-w", "5", "-I", "OUTPUT", "-d", a, "-j", "DROP")
	}
}

// Pass ends every Drop.
func (p *Product) Pass(t testing.TB) { p.inside(t, "iptables", "-w", "5", "-F") }

// Own runs a command of the command line on the server's own machine.
func (p *Product) Own(t testing.TB, args ...string) {
	t.Helper()
	p.inside(t, append([]string{p.Binary}, args...)...)
}

// AgentsAddress is where the agents reach it.
func (p *Product) AgentsAddress() string { return p.agents }

func (p *Product) inside(t testing.TB, args ...string) {
	t.Helper()
	command(t, append([]string{"nsenter", "--net=/run/netns/" + p.net}, args...)...)
}
