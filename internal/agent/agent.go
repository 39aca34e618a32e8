// Package agent is the daemon on a compute host: it pulses to every server, is a witness for other hosts, reports the
// QEMU processes and the stores of its own, and keeps the gate: which VMs must not start here.
//
// It is a library: New binds the probe port, Start and Stop begin and end it, and the world (network, machine, prober)
// is handed in, so that a thousand agents run inside one test.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/ninelives-ha/ninelives/internal/probe"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// dataFormat is the version of the data directory.
const dataFormat = 1

// Prober asks other hosts for life; *probe.Prober is the real one. The error explains a silence.
type Prober interface {
	Probe(ctx context.Context, t probe.Target) (probe.Answer, error)
}

// Options is what New needs. Only Config must be given.
type Options struct {
	Config  Config
	Version string       // of ninelives, told to servers
	Logger  *slog.Logger // nil: none
	// Dial opens connections to servers; nil: net.Dialer.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Prober asks other hosts for life; nil: ICMP and UDP from the addresses of the planes.
	Prober Prober
	// Machine is this host; nil: the real one.
	Machine Machine
	// ProbeConn is where the agent answers probes; nil: Config.ProbePort on all addresses. It is the agent's from then on.
	ProbeConn net.PacketConn
	// Credentials are this host's; nil: those in Config.Data, where Join stores them.
	Credentials *pki.Credentials
	// Metrics; nil: none.
	Metrics prometheus.Registerer
}

// ErrNotJoined says that this host has no credentials yet.
var ErrNotJoined = errors.New("this host has not joined")

// Agent is one host's daemon.
type Agent struct {
	o       Options
	log     *slog.Logger
	host    string
	boot    transport.Boot
	machine Machine
	id      pki.Machine
	prober  Prober
	echo    *probe.Echo
	gate    *keeper
	metrics *metrics

	ctx    context.Context //nolint:containedctx // of all goroutines, from Start to Stop
	cancel context.CancelFunc
	wg     sync.WaitGroup
	slots  chan struct{} // one for each order that is worked on
	dialed chan struct{} // closed when up is set
	up     *transport.Uplinks
	greet  chan string // servers that were just reached
	kick   chan struct{}

	facts  atomic.Pointer[Facts] // as last read
	list   lister
	stores shelf
	alerts alerts

	mu      sync.Mutex
	state   phase
	stopped chan struct{} // closed when Stop or Kill has ended everything
	release func() error  // of the data directory
}

type phase int

const (
	made phase = iota
	running
	ending
)

// New checks the configuration, learns which machine this is, and binds the probe port. Close with Stop, also when
// Start is never called.
func New(o Options) (*Agent, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a, err := newAgent(o)
	if err != nil {
		return nil, fmt.Errorf("cannot set up the agent: %w", err)
	}
	return a, nil
}

func newAgent(o Options) (*Agent, error) {
	if err := o.Config.Check(); err != nil {
		return nil, err
	}
	host, err := o.Config.HostName()
	if err != nil {
		return nil, err
	}
	if o.Machine == nil {
		o.Machine = NewMachine(o.Config)
	}
	boot, err := o.Machine.Boot()
	if err != nil {
		return nil, err
	}
	id, err := o.Machine.Identity()
	if err != nil {
		return nil, err
	}
	if o.Prober == nil {
		if o.Prober, err = probe.New(probe.Options{Sources: o.Config.Planes, Logger: o.Logger}); err != nil {
			return nil, err
		}
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	echo, err := listen(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Agent{
		o: o, log: o.Logger, host: host, boot: boot, machine: o.Machine, id: id.Normal(), prober: o.Prober, echo: echo,
		gate: newKeeper(o.Config.Data, boot.String(), o.Logger), metrics: m,
		ctx: ctx, cancel: cancel, slots: make(chan struct{}, ordersMost), dialed: make(chan struct{}),
		greet: make(chan string, greetMost), kick: make(chan struct{}, 1), stopped: make(chan struct{}),
	}, nil
}

func listen(o Options) (*probe.Echo, error) {
	if o.ProbeConn != nil {
		return probe.NewEcho(o.ProbeConn), nil
	}
	v4, v6 := o.Config.families()
	return probe.Listen(o.Config.ProbePort, v4, v6)
}

// Host is this host as Nova names it.
func (a *Agent) Host() string { return a.host }

// ProbePort is the UDP port on which the agent answers probes.
func (a *Agent) ProbePort() uint32 { return a.echo.Port() }

// Servers tells how each server stands to this agent; nil before Start.
func (a *Agent) Servers() []transport.ServerState {
	select {
	case <-a.dialed:
		return a.up.States()
	default:
		return nil
	}
}

// Start begins to pulse, report and obey. It returns at once; servers need not be there yet.
func (a *Agent) Start() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != made {
		return errors.New("cannot start the agent: it was started or stopped before")
	}
	if err := a.start(); err != nil {
		return fmt.Errorf("cannot start the agent of %s: %w", a.host, err)
	}
	a.state = running
	a.log.Info("agent started", "host", a.host, "boot", a.boot.String(), "machine", a.id.String(), "probe_port", a.ProbePort())
	return nil
}

func (a *Agent) start() error {
	creds, err := a.credentials()
	if err != nil {
		return err
	}
	release, err := lockData(a.o.Config.Data)
	if err != nil {
		return err
	}
	a.gate.begin()
	dir := a.o.Config.Data
	save := func(c *pki.Credentials) error { return c.Save(dir, transport.AgentFiles) }
	up, err := transport.Dial(transport.AgentOptions{
		Servers: a.o.Config.Servers, Credentials: creds, DialContext: a.o.Dial, Hello: a.hello, Handler: ear{a}, Logger: a.log,
		SaveRenewed: save, Known: loadKnown(dir, a.log), SaveKnown: func(k transport.Known) error { return saveKnown(dir, k) },
	})
	if err != nil {
		return errors.Join(err, release())
	}
	a.up, a.release = up, release
	close(a.dialed)
	up.Start()
	a.wg.Go(a.watchGuests)
	a.wg.Go(a.watchStores)
	a.wg.Go(a.greetServers)
	return nil
}

func (a *Agent) credentials() (*pki.Credentials, error) {
	creds, err := a.o.Credentials, error(nil)
	if creds == nil {
		creds, err = pki.LoadCredentials(a.o.Config.Data, transport.AgentFiles)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s has no credentials. On a server: ninelives token create %s; then here: ninelives agent --token TOKEN",
			ErrNotJoined, a.o.Config.Data, a.host)
	case err != nil:
		return nil, err
	case creds.Identity.Name != a.host:
		return nil, fmt.Errorf("the credentials in %s are for host %s; as %s it has to join first (ninelives token create %s)",
			a.o.Config.Data, creds.Identity.Name, a.host, a.host)
	case creds.Identity.Machine != a.id:
		// Not an error here: the server has the last word, and says what an operator has to do.
		a.log.Error("the certificate is for another machine; the servers will refuse this agent",
			"certificate", creds.Identity.Machine.String(), "machine", a.id.String())
	}
	return creds, nil
}

// Stop says goodbye to the servers and ends everything. It returns when all has ended or ctx has, and is the same when
// called again. A goodbye says that the host leaves only if the machine really shuts down.
func (a *Agent) Stop(ctx context.Context) error {
	return a.end(ctx, func() error {
		if a.machine.ShuttingDown(ctx) {
			return a.up.Goodbye(ctx, agentv1.Leaving_LEAVING_HOST, "the host shuts down")
		}
		return a.up.Goodbye(ctx, agentv1.Leaving_LEAVING_AGENT, "the agent was stopped")
	})
}

// Kill ends everything at once and says nothing to anybody, as a power cut or kill -9 would: for simulators.
func (a *Agent) Kill(ctx context.Context) error {
	return a.end(ctx, func() error { a.up.Close(); return nil })
}

// end runs the clean-ups, last made first, each once.
func (a *Agent) end(ctx context.Context, goodbye func() error) error {
	a.mu.Lock()
	before := a.state
	a.state = ending
	a.mu.Unlock()
	if before == ending {
		return a.awaitEnd(ctx)
	}
	type cleanUp struct {
		name string
		run  func() error
	}
	steps := []cleanUp{{"metrics", a.metrics.close}, {"probe port", a.echo.Close}}
	if before == running {
		steps = append(steps, cleanUp{"data directory", a.release}, cleanUp{"loops", func() error { a.cancel(); a.wg.Wait(); return nil }}, cleanUp{"links", goodbye})
	}
	failed := make(chan error, 1)
	go func() {
		defer close(a.stopped)
		defer a.cancel()
		var errs []error
		for _, s := range slices.Backward(steps) {
			if err := s.run(); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			}
		}
		failed <- errors.Join(errs...)
	}()
	if err := a.awaitEnd(ctx); err != nil {
		return err
	}
	if err := <-failed; err != nil {
		return fmt.Errorf("the agent of %s did not stop cleanly: %w", a.host, err)
	}
	return nil
}

func (a *Agent) awaitEnd(ctx context.Context) error {
	select {
	case <-a.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the agent of %s did not stop in time: %w", a.host, ctx.Err())
	}
}

// Join trades a one-time token for this host's credentials and stores them in cfg.Data. The key is made here and never
// leaves; the CA is the one whose fingerprint the token carries. machine nil: the real one.
func Join(ctx context.Context, cfg Config, token string, machine Machine, dial func(ctx context.Context, addr string) (net.Conn, error)) error {
	if err := cfg.Check(); err != nil {
		return err
	}
	host, err := cfg.HostName()
	if err != nil {
		return err
	}
	if machine == nil {
		machine = NewMachine(cfg)
	}
	id, err := machine.Identity()
	if err != nil {
		return fmt.Errorf("cannot join as host %s: %w", host, err)
	}
	_, err = transport.Join(ctx, transport.JoinOptions{
		Servers: cfg.Servers, Token: token, Host: host, Machine: id, Dir: cfg.Data, DialContext: dial,
	})
	return err
}

// Joined is true if cfg.Data holds credentials: `ninelives agent --token` joins only when it is false.
func Joined(cfg Config) (bool, error) {
	_, err := pki.LoadCredentials(cfg.Data, transport.AgentFiles)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// dataFile is a file of the agent's own.
func dataFile(dir, name string) string { return filepath.Join(dir, name) }

// sinceBoot is how long the machine has been on, suspended time included: the gate's clock, which several processes of
// one boot share. It can't fail on a Linux that runs Go; a time that stood still would only prolong the hunt.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
