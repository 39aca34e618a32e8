package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// Options say what cloud to start. The zero value is an empty cloud; see [Cloud.World] to fill it by hand.
type Options struct {
	Hosts int    // host-01 …
	VMs   int    // vm-001 …, spread evenly; the first few are pets named db-1 …
	Seed  uint64 // of every random choice
	// MaxMicroversion of Nova, "2.93" unless set. The lowest is always 2.1.
	MaxMicroversion string
	// Redfish gives every n-th host a Redfish BMC instead of IPMI; 0: none.
	Redfish int
	// Zones: hosts are spread over so many availability zones; 0: one.
	Zones int
	// LocalDisks leaves image-booted VMs on their host's own disk instead of a shared store.
	LocalDisks bool
	// World sets timing, gate and the like; its Seed and Start are overwritten.
	World world.Options
	// Logger tells of each request at debug level; nil discards.
	Logger *slog.Logger
}

// Cloud is a running simulated cloud. Make one with [Start].
type Cloud struct {
	log    *slog.Logger
	ctx    context.Context // ends with Close; held requests and BMCs hang on it
	cancel context.CancelFunc
	wg     sync.WaitGroup
	begun  time.Time // wall clock with a monotonic reading: the world's time never jumps

	mu    sync.Mutex
	w     *world.World
	bmcs  map[string]*bmc
	conns map[*quietConn]struct{} // guarded by netMu

	netMu  sync.Mutex
	links  atomic.Pointer[links]
	stale  bool // links must be remade; guarded by mu
	kick   chan struct{}
	http   *http.Server
	base   string
	tokens tokenStore
	max    int // Nova's highest minor version
	ids    idSource
	tls    redfishTLS
}

// Start brings a cloud up on free loopback ports. ctx bounds only the start.
func Start(ctx context.Context, o Options) (*Cloud, error) {
	hi, err := parseMinor(or(o.MaxMicroversion, "2.93"))
	if err != nil {
		return nil, fmt.Errorf("cannot start the simulated cloud: %w", err)
	}
	begun := time.Now()
	o.World.Seed, o.World.Start = o.Seed, begun
	c := &Cloud{
		log: o.Logger, begun: begun, w: world.New(o.World), bmcs: map[string]*bmc{}, conns: map[*quietConn]struct{}{},
		kick: make(chan struct{}, 1), max: hi,
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.ids.seed(o.Seed)
	c.tokens.live = map[string]time.Time{}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	populate(c.w, o)
	c.w.Subscribe(func(e world.Event) { c.stale = c.stale || linkEvent(e.Kind) })
	c.relink()
	if err := c.serve(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cloud) serve(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("cannot listen for the simulated cloud's API: %w", err)
	}
	c.base = "http://" + l.Addr().String()
	c.http = &http.Server{Handler: c.routes(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug)}
	c.wg.Go(func() {
		if err := c.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			c.log.Error("the simulated cloud's API ended", "error", err)
		}
	})
	c.wg.Go(c.drive)
	if c.tls, err = newRedfishTLS(); err != nil {
		return err
	}
	for _, name := range c.w.HostNames() {
		b, err := c.startBMC(ctx, name)
		if err != nil {
			return fmt.Errorf("cannot start the BMC of %s: %w", name, err)
		}
		c.bmcs[name] = b
	}
	return nil
}

// Close ends everything within a few seconds. It may be called twice.
func (c *Cloud) Close() error {
	c.cancel()
	var errs []error
	if c.http != nil {
		if err := c.http.Close(); err != nil {
			errs = append(errs, fmt.Errorf("cannot close the simulated cloud's API: %w", err))
		}
	}
	for _, b := range c.bmcs {
		b.close()
	}
	c.netMu.Lock()
	open := c.conns
	c.conns = map[*quietConn]struct{}{}
	c.netMu.Unlock()
	for q := range open {
		q.shut()
	}
	c.wg.Wait()
	return errors.Join(errs...)
}

// World calls f with the world at the present moment, under its lock. f must not keep it.
func (c *Cloud) World(f func(*world.World)) {
	c.mu.Lock()
	c.w.Advance(c.now())
	f(c.w)
	if c.stale {
		c.relink()
	}
	c.mu.Unlock()
	select {
	case c.kick <- struct{}{}:
	default: // the driver has been told already
	}
}

// now is the wall clock, as it was at the start plus what has passed since.
func (c *Cloud) now() time.Time { return c.begun.Add(time.Since(c.begun)) }

// drive lets the world go on when nobody calls.
func (c *Cloud) drive() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.kick:
		case <-timer.C:
		}
		c.mu.Lock()
		c.w.Advance(c.now())
		if c.stale {
			c.relink()
		}
		next, any := c.w.Next()
		c.mu.Unlock()
		wait := time.Hour
		if any {
			wait = max(next.Sub(c.now()), 0)
		}
		timer.Reset(wait)
	}
}

// pause waits d, or until the cloud is closed.
func (c *Cloud) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
