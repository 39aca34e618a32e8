package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/server"
	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// Demo is a running demo. Make one with Start.
type Demo struct {
	o     Options
	log   *slog.Logger
	dir   string
	cloud *wire.Cloud
	truth *truth
	srv   *server.Server
	leads time.Time // since when its server leads, at the latest
	api   *client.Client
	url   string
	hosts map[string]*host

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	told    sync.Mutex
	stops   []func(context.Context) error // run last first
	once    sync.Once
	stopErr error
}

// policyText is what the demo's operator wants: the pets first. A returned host settles for 3 s, so that its
// readmission is in view.
const policyText = `rules:
  - name: pets
    match: {tag: automatic-recovery}
    priority: 900
    on_host_failure: resurrect
  - name: everyone else
    on_host_failure: resurrect
hosts:
  settle: 3s
`

// Start brings everything up and returns when the cloud is protected: every host up, its agent joined, its BMC bound
// and checked. ctx bounds the start only. On an error everything is taken down again.
func Start(ctx context.Context, o Options) (*Demo, error) {
	if err := Check(o, Script{}); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Demo{o: o, log: o.Logger, hosts: map[string]*host{}}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	if err := d.start(ctx); err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		return nil, errors.Join(err, d.Stop(stop))
	}
	return d, nil
}

func (d *Demo) start(ctx context.Context) (err error) {
	if d.dir, err = os.MkdirTemp("", "ninelives-demo-"); err != nil {
		return fmt.Errorf("the demo needs a temporary directory: %w", err)
	}
	d.stops = append(d.stops, func(context.Context) error { return os.RemoveAll(d.dir) })
	began := time.Now()
	d.cloud, err = wire.Start(ctx, wire.Options{
		Hosts: d.o.Hosts, VMs: d.o.VMs, Seed: d.o.Seed, Redfish: d.o.Redfish, World: world.Options{Gated: true}, Logger: d.log,
	})
	if err != nil {
		return err
	}
	// The server ends first, so that it doesn't take the end of the agents for a disaster.
	d.stops = append(d.stops, func(context.Context) error { return d.cloud.Close() }, d.endHosts)
	d.tell("A simulated cloud: %d hosts with their BMCs, %d VMs; Keystone at %s.", d.o.Hosts, d.o.VMs, d.cloud.AuthURL())
	d.tell("It lets in user %s with password %s, project %s, domain %s.", wire.Username, wire.Password, wire.ProjectName, wire.Domain)
	if err := d.startServer(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{d.arm, d.startHosts, d.importDevices, d.settle} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	d.tell("%d hosts up, each can be fenced. It took %.1f s.", d.o.Hosts, time.Since(began).Seconds())
	return nil
}

// arm applies the policy and lets the server act: a new one is disarmed.
func (d *Demo) arm(ctx context.Context) error {
	if _, err := d.api.ApplyPolicy(ctx, api.File{Path: "demo.yaml", Source: policyText}); err != nil {
		return fmt.Errorf("the demo's policy was not accepted: %w", err)
	}
	_, err := d.api.Arm(ctx, api.ArmRequest{Force: true, Reason: "the demo"}) // by force: its hosts haven't joined yet
	return err
}

// startHosts lets the first host join with a one-time token, as an operator would, and gives the others credentials of
// the same CA: hundreds of joins would be the slowest part of the demo.
func (d *Demo) startHosts(ctx context.Context) error {
	for _, name := range d.o.names() {
		h, err := newHost(d.cloud, name, filepath.Join(d.dir, "hosts"), d.srv.AgentsAddr().String())
		if err != nil {
			return fmt.Errorf("cannot set up %s: %w", name, err)
		}
		h.log, h.version = d.log, d.o.Version
		d.hosts[name] = h
	}
	d.truth = newTruth(d.cloud, d.wake)
	ca, err := pki.Load(filepath.Join(d.dir, "server", "pki"))
	if err != nil {
		return err
	}
	for i, name := range d.o.names() {
		h := d.hosts[name]
		h.truth = d.truth
		if i == 0 {
			if err := d.join(ctx, h); err != nil {
				return err
			}
		} else if err := h.issue(ca); err != nil {
			return err
		}
		d.running.Go(func() { h.run(d.ctx) })
	}
	return nil
}

func (d *Demo) join(ctx context.Context, h *host) error {
	token, err := d.api.CreateToken(ctx, h.name, time.Hour)
	if err != nil {
		return fmt.Errorf("no token for %s: %w", h.name, err)
	}
	return h.join(ctx, token.Token)
}

// importDevices writes a devices.yaml, its passwords in files beside it, and imports it.
func (d *Demo) importDevices(ctx context.Context) error {
	text, err := d.devicesYAML()
	if err != nil {
		return fmt.Errorf("cannot write the BMCs' passwords: %w", err)
	}
	if _, err := d.api.ImportDevices(ctx, api.File{Path: filepath.Join(d.dir, "devices.yaml"), Source: text}); err != nil {
		return fmt.Errorf("the BMCs were not accepted: %w", err)
	}
	return nil
}

// settle waits until every host is up and protected, and its VMs are known.
func (d *Demo) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	why := ""
	for {
		now := d.unsettled(ctx, why)
		if now == "" {
			return nil
		}
		if now != why {
			d.log.Debug("not settled yet", "why", now)
		}
		why = now
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("the demo was interrupted: %w", ctx.Err())
			}
			return fmt.Errorf("the demo's cloud did not settle: %s", why)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// unsettled says what is still missing.
func (d *Demo) unsettled(ctx context.Context, before string) string {
	hosts, err := d.api.Hosts(ctx)
	if err != nil {
		if ctx.Err() != nil && before != "" {
			return before
		}
		return err.Error()
	}
	vms := 0
	for _, h := range hosts {
		vms += h.VMs
		switch {
		case h.Verdict != "up" || h.Suspect:
			return fmt.Sprintf("%s is %s: %s", h.Name, or(string(h.Verdict), "not seen yet"), h.Reason)
		case h.Unprotected != "":
			return fmt.Sprintf("%s is not protected: %s", h.Name, h.Unprotected)
		case len(h.Levels) == 0:
			return h.Name + " can't be fenced yet"
		case h.Agent.GateClosed:
			return h.Name + "'s gate is closed"
		case len(h.Agent.Stores) == 0:
			return h.Name + " has not said where its disks lie"
		}
	}
	if len(hosts) < d.o.Hosts || vms < d.o.VMs {
		return fmt.Sprintf("%d of %d hosts and %d of %d VMs are known", len(hosts), d.o.Hosts, vms, d.o.VMs)
	}
	return ""
}

// wake tells a host that its machine's power or boot has changed. It is called under the world's lock.
func (d *Demo) wake(name string) {
	select {
	case d.hosts[name].wake <- struct{}{}:
	default:
	}
}

// endHosts ends what runs on the hosts and whoever listens.
func (d *Demo) endHosts(ctx context.Context) error {
	d.cancel()
	ended := make(chan struct{})
	go func() { d.running.Wait(); close(ended) }()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the hosts' agents did not end in time: %w", ctx.Err())
	}
}

// Stop ends everything and removes what was stored. It may be called more than once.
func (d *Demo) Stop(ctx context.Context) error {
	d.once.Do(func() {
		for _, stop := range slices.Backward(d.stops) {
			d.stopErr = errors.Join(d.stopErr, stop(ctx))
		}
	})
	return d.stopErr
}

// Token is the API's admin token.
func (d *Demo) Token() string { return d.srv.AdminToken() }

// tell adds a line to the story.
func (d *Demo) tell(format string, args ...any) {
	if d.o.Tell == nil {
		return
	}
	d.told.Lock()
	defer d.told.Unlock()
	d.o.Tell(fmt.Sprintf(format, args...))
}

func or(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
