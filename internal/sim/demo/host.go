package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/agent"
	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// host plays a compute host's init system: in each boot of the machine it starts the agent and the gate, and it takes
// both away, without a word to anybody, when the boot ends.
type host struct {
	name    string
	cloud   *wire.Cloud
	truth   *truth
	config  agent.Config
	yaml    string           // the agent.yaml that config was read from
	creds   *pki.Credentials // nil: those that joining left in the data directory
	log     *slog.Logger
	version string
	wake    chan struct{} // the machine's power or boot has changed
	hooked  string        // the gate's record that libvirt's hook was last asked about
	running sync.WaitGroup
}

// newHost writes a host's agent.yaml and reads it as the agent would.
func newHost(c *wire.Cloud, name, dir string, servers ...string) (*host, error) {
	h := &host{name: name, cloud: c, yaml: filepath.Join(dir, name, "agent.yaml"), wake: make(chan struct{}, 1)}
	text := fmt.Sprintf("host: %s\nservers: [%s]\ndata: %s\nproc: %s\nnova_conf: %s\nlibvirt_hook: %s\nplanes:\n", name, strings.Join(servers, ", "),
		filepath.Join(dir, name, "data"), filepath.Join(dir, name, "proc"), filepath.Join(dir, name, "nova.conf"), filepath.Join(dir, name, "hook"))
	for _, p := range world.Planes() {
		text += fmt.Sprintf("  %s: %s\n", p, c.Address(name, p))
	}
	if err := os.MkdirAll(filepath.Join(dir, name, "data"), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(h.yaml, []byte(text), 0o600); err != nil {
		return nil, err
	}
	var err error
	h.config, err = agent.LoadConfig(h.yaml)
	return h, err
}

// run lives the host's lives until ctx ends.
func (h *host) run(ctx context.Context) {
	defer h.running.Wait()
	for {
		boot := h.boot()
		life, end := context.WithCancel(ctx)
		if boot != "" {
			h.running.Go(func() { h.live(life) })
		}
		for h.boot() == boot {
			select {
			case <-ctx.Done():
				end()
				return
			case <-h.wake:
			}
		}
		end()
	}
}

// boot is the present boot, "" while its programs are killed. It is asked under the world's lock: a change is told
// before it is in the table of links.
func (h *host) boot() string {
	killed := false
	h.cloud.World(func(w *world.World) { killed = w.Host(h.name).AgentKilled })
	if killed {
		return ""
	}
	return h.cloud.Boot(h.name)
}

// live is one boot: the agent runs, the gate waits for its word, the libvirt hook refuses what it says.
func (h *host) live(ctx context.Context) {
	m := newMachine(ctx, h.cloud, h.name)
	err := h.boots(m.boot)
	var a *agent.Agent
	if err == nil {
		a, err = h.start(m)
	}
	if err != nil {
		h.log.Error("an agent did not start", "host", h.name, "error", err)
		return
	}
	var gate sync.WaitGroup
	gate.Go(func() { h.gate(ctx) })
	<-ctx.Done()
	gate.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := a.Kill(ctx); err != nil {
		h.log.Error("an agent did not end", "host", h.name, "error", err)
	}
}

func (h *host) start(m *machine) (*agent.Agent, error) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0") // it answers nobody: probes are answered by the truth
	if err != nil {
		return nil, err
	}
	a, err := agent.New(agent.Options{
		Config: h.config, Version: h.version, Logger: h.log.With("host", h.name), Dial: h.dial(), Prober: h.cloud.Prober(h.name),
		Machine: m, ProbeConn: conn, Credentials: h.creds,
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := a.Start(); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return nil, errors.Join(err, a.Stop(ctx))
	}
	return a, nil
}

// dial goes over the management plane, in the boot that runs now.
func (h *host) dial() func(ctx context.Context, addr string) (net.Conn, error) {
	dial := h.cloud.Dialer(h.name, world.Management)
	return func(ctx context.Context, addr string) (net.Conn, error) { return dial(ctx, "tcp", addr) }
}

// join trades a token for credentials, as `ninelives agent --token` does.
func (h *host) join(ctx context.Context, token string) error {
	if err := agent.Join(ctx, h.config, token, newMachine(ctx, h.cloud, h.name), h.dial()); err != nil {
		return fmt.Errorf("%s cannot join: %w", h.name, err)
	}
	return nil
}

// issue gives the host credentials without a token.
func (h *host) issue(ca *pki.CA) error {
	id, err := newMachine(context.Background(), h.cloud, h.name).Identity()
	if err != nil {
		return err
	}
	h.creds, err = ca.IssueAgent(h.name, id, time.Now())
	return err
}
