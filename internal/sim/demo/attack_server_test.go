//go:build attack

package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/cloud/openstack"
	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/fence/agents"
	"github.com/ninelives-ha/ninelives/internal/fence/ipmi"
	"github.com/ninelives-ha/ninelives/internal/fence/redfish"
	"github.com/ninelives-ha/ninelives/internal/probe"
	"github.com/ninelives-ha/ninelives/internal/server"
	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/internal/store/etcdtest"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// childEnv makes this test binary a server, so that it can be killed and stopped like one.
const childEnv = "NINELIVES_ATTACK_SERVER"

type childOptions struct {
	Name, Data, AuthURL, Probes, API, Agents, Cluster string
	Initial                                           map[string]string
	Etcd                                              server.Etcd
	Knows                                             int // see server.Options
}

func TestMain(m *testing.M) {
	if o := os.Getenv(childEnv); o != "" {
		if err := child(o); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child is the server process: all of `ninelives server` but its prober, which asks the world over HTTP.
func child(text string) error {
	var o childOptions
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cl, err := openstack.Open(openstack.Options{Logger: log, Version: "attack", Login: &openstack.Login{
		AuthURL: o.AuthURL, Username: wire.Username, Password: wire.Password, ProjectName: wire.ProjectName, Region: wire.Region,
	}})
	if err != nil {
		return err
	}
	cfg := server.DefaultConfig()
	cfg.Name, cfg.Data, cfg.Cluster.Initial, cfg.Etcd = o.Name, o.Data, o.Initial, o.Etcd
	cfg.Listen = server.Listen{API: o.API, Agents: o.Agents, Cluster: o.Cluster}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector())
	s, err := server.New(server.Options{
		Registry: registry, Config: cfg, Cloud: cl, Prober: farProber{o.Probes}, Logger: log, Version: "attack", ProbeAllPlanes: true, Knows: o.Knows,
		Drivers: fence.Drivers{fence.DriverIPMI: ipmi.Open, fence.DriverRedfish: redfish.Open, fence.DriverAgent: agents.New(agents.DefaultDir).Open},
	})
	if err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	select {
	case <-term:
	case err = <-s.Failed():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return errors.Join(err, s.Stop(ctx))
}

// farProber is the server's own prober in another process.
type farProber struct{ url string }

func (f farProber) Probe(ctx context.Context, plane detect.Plane, address string, _ uint32) detect.Answer {
	left := 2 * time.Second
	if d, ok := ctx.Deadline(); ok {
		left = time.Until(d) - 50*time.Millisecond
	}
	q := url.Values{"plane": {string(plane)}, "address": {address}, "for": {left.String()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"?"+q.Encode(), nil)
	if err != nil {
		return detect.AnswerNone
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return detect.AnswerNone
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.Header.Get("Answer") {
	case "agent":
		return detect.AnswerAgent
	case "kernel":
		return detect.AnswerKernel
	}
	return detect.AnswerNone
}

func (d *Demo) probes(w http.ResponseWriter, r *http.Request) {
	left, _ := time.ParseDuration(r.URL.Query().Get("for"))
	ctx, cancel := context.WithTimeout(r.Context(), left)
	defer cancel()
	a, _ := d.cloud.Prober("").Probe(ctx, probe.Target{Plane: r.URL.Query().Get("plane"), Address: r.URL.Query().Get("address")})
	w.Header().Set("Answer", map[probe.Answer]string{probe.Agent: "agent", probe.Kernel: "kernel"}[a])
}

// process is the server under attack.
type process struct {
	o     childOptions
	line  *etcdtest.Line // its way to an etcd of the operator's own; nil: it has etcd inside
	env   []string
	log   *os.File
	cmd   *exec.Cmd
	ended chan error
}

func (p *process) start() error {
	text, err := json.Marshal(p.o)
	if err != nil {
		return err
	}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(append(os.Environ(), childEnv+"="+string(text)), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.ended = make(chan error, 1)
	cmd, ended := p.cmd, p.ended
	go func() { ended <- cmd.Wait() }()
	return nil
}

func (p *process) signal(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s)
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		<-p.ended
		p.ended <- nil // for whoever asks again
	}
}

// nextPort lies below the range that the kernel takes for outgoing connections, which would take a port that is free
// just now before the server comes to it.
var nextPort atomic.Int32

func freePort() string {
	for {
		addr := fmt.Sprintf("127.0.0.1:%d", 20_000+(int(nextPort.Add(1))+os.Getpid()*30)%10_000)
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
}

// attackStart is Start with the server in a process of its own.
func attackStart(t *testing.T, o Options) (*Demo, *process) {
	t.Helper()
	c := attackServers(t, o, cast{servers: 1})
	return c.d, c.servers[0]
}

// cast says which servers there are, and who they are once they run.
type cast struct {
	servers  int
	apart    bool // on an etcd of the operator's own
	cuttable bool // the network between them can be cut
	knows    int  // see server.Options
}

// playing are the servers of a demo, each a process.
type playing struct {
	d       *Demo
	ca      *pki.CA
	bundle  string
	servers []*process
	net     *network // nil: it can't be cut
}

// attackServers is Start with several servers, each in a process of its own.
func attackServers(t *testing.T, o Options, c cast) *playing {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	d := &Demo{o: o, log: slog.New(slog.DiscardHandler), hosts: map[string]*host{}, dir: t.TempDir()}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	d.cloud, err = wire.Start(ctx, wire.Options{Hosts: o.Hosts, VMs: o.VMs, Seed: o.Seed, Redfish: o.Redfish, World: world.Options{Gated: true}})
	must(err)
	probes := httptest.NewServer(http.HandlerFunc(d.probes))
	dir := filepath.Join(os.TempDir(), "ninelives-attack")
	must(os.MkdirAll(dir, 0o755))
	log, err := os.Create(filepath.Join(dir, strings.NewReplacer("/", "-").Replace(t.Name())+".log"))
	must(err)
	ca, err := pki.NewInMemory("attack", time.Now())
	must(err)
	bundle := filepath.Join(d.dir, "bundle")
	must(ca.Export(bundle))
	play := &playing{d: d, ca: ca, bundle: bundle}
	for i := range c.servers {
		name := fmt.Sprintf("server-%d", i+1)
		p := &process{log: log, o: childOptions{
			Name: name, Data: filepath.Join(d.dir, name), AuthURL: d.cloud.AuthURL(), Probes: probes.URL, API: freePort(), Agents: freePort(), Cluster: freePort(),
			Knows: c.knows,
		}}
		play.servers = append(play.servers, p)
		_, err := pki.Import(filepath.Join(p.o.Data, "pki"), bundle)
		must(err)
	}
	play.wire(t, c)
	all := play.servers
	var urls, ports []string
	for _, p := range all {
		must(p.start())
		urls, ports = append(urls, "http://"+p.o.API), append(ports, p.o.Agents)
	}
	p := all[0]
	t.Cleanup(func() {
		for _, p := range all {
			p.signal(syscall.SIGCONT)
			p.signal(syscall.SIGKILL)
		}
		end, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := d.endHosts(end); err != nil {
			t.Error(err)
		}
		_ = d.cloud.Close()
		probes.Close()
		_ = log.Close()
	})
	d.url = strings.Join(urls, ",")
	for d.api == nil {
		if token, err := os.ReadFile(filepath.Join(p.o.Data, "admin.token")); err == nil {
			d.api, err = client.New(d.url, strings.TrimSpace(string(token)), nil)
			must(err)
		}
		pause(ctx, 50*time.Millisecond)
		must(ctx.Err())
	}
	for {
		if st, err := d.api.Status(ctx); err == nil && st.Leads && st.Hosts.Total >= o.Hosts {
			break
		}
		pause(ctx, 100*time.Millisecond)
		must(ctx.Err())
	}
	must(d.arm(ctx))
	for _, name := range o.names() {
		h, err := newHost(d.cloud, name, filepath.Join(d.dir, "hosts"), ports...)
		must(err)
		h.log = slog.New(slog.NewTextHandler(log, nil))
		d.hosts[name] = h
	}
	d.truth = newTruth(d.cloud, d.wake)
	for _, h := range d.hosts {
		h.truth = d.truth
		must(h.issue(ca))
		d.running.Go(func() { h.run(d.ctx) })
	}
	must(d.importDevices(ctx))
	must(d.settle(ctx))
	return play
}

// wire says how the servers reach their records.
func (x *playing) wire(t *testing.T, c cast) {
	t.Helper()
	initial, listens := map[string]string{}, map[string]string{}
	var etcd etcdtest.Etcd
	if c.apart {
		etcd = etcdtest.Start(t, etcdtest.Options{TLS: true, TxnOps: store.MaxOps, MaxRequestBytes: 2 * store.MaxBytes})
	}
	for i, p := range x.servers {
		switch {
		case c.apart:
			p.line = etcdtest.NewLine(t, etcd.Address)
			p.o.Etcd = server.Etcd{Endpoints: []string{etcd.URL(p.line.Address)}, TLS: server.EtcdTLS{CA: etcd.CA, Cert: etcd.Cert, Key: etcd.Key}}
		case c.servers > 1:
			p.o.Initial, listens[p.o.Name], initial[p.o.Name] = initial, p.o.Cluster, p.o.Cluster
			if c.cuttable { // an address that only the proxies know the way to
				initial[p.o.Name] = fmt.Sprintf("10.99.0.%d:7402", i+1)
			}
		}
	}
	if c.cuttable {
		x.net = newNetwork(t, listens, initial)
		for _, p := range x.servers {
			p.env = x.net.environment(p.o.Name)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
