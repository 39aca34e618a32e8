package wire_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/fence/ipmi"
	"github.com/ninelives-ha/ninelives/internal/fence/redfish"
	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

func open(t *testing.T, c *wire.Cloud, host string) fence.Device {
	t.Helper()
	d := c.BMC(host)
	dir := t.TempDir()
	spec := fence.Spec{Driver: d.Driver, Address: d.Address, Username: d.User, PasswordFile: filepath.Join(dir, "password")}
	files := map[string][]byte{spec.PasswordFile: []byte(d.Password)}
	if d.Driver == fence.DriverRedfish {
		spec.CAFile = filepath.Join(dir, "ca.pem")
		files[spec.CAFile] = c.RedfishCA()
	}
	for name, text := range files {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	drivers := fence.Drivers{fence.DriverIPMI: ipmi.Open, fence.DriverRedfish: redfish.Open}
	dev, err := drivers.Open(spec, fence.Options{Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dev.Close() })
	return dev
}

func permitted() error { return nil }

// Both kinds of BMC are driven by our own drivers, over the real protocols.
func TestBMC(t *testing.T) {
	c := start(t, wire.Options{Hosts: 4, VMs: 8, Seed: 2, Redfish: 2, World: quick()})
	for _, tc := range []struct{ host, other, driver string }{
		{"host-01", "host-03", fence.DriverIPMI}, {"host-02", "host-04", fence.DriverRedfish},
	} {
		t.Run(tc.driver, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			dev := open(t, c, tc.host)
			if dev.Driver() != tc.driver {
				t.Fatalf("%s has a BMC of kind %s, want %s", tc.host, dev.Driver(), tc.driver)
			}
			var uuid string
			var guests int
			c.World(func(w *world.World) { uuid, guests = w.Host(tc.host).Identity, len(w.Guests(tc.host)) })
			if h := dev.Check(ctx); !h.OK() || !h.Found.Match(fence.Identity{UUID: uuid}) || guests == 0 {
				t.Fatalf("check: %+v, want the identity %s; %d guests", h, uuid, guests)
			}
			if err := dev.Off(ctx, permitted); err != nil {
				t.Fatal(err)
			}
			becomes(t, ctx, dev, fence.StateOff)
			c.World(func(w *world.World) {
				if w.Host(tc.host).On || len(w.Guests(tc.host)) != 0 {
					t.Errorf("%s reads off, but is on or runs %v", tc.host, w.Guests(tc.host))
				}
				w.SetBMC(tc.host, func(b *world.BMC) { b.RefusesOff = true })
			})
			if err := dev.Off(ctx, permitted); err != nil {
				t.Logf("off when off already: %v", err) // a driver may read it as success or not
			}
			c.World(func(w *world.World) {
				w.SetBMC(tc.host, func(b *world.BMC) { b.Lag = time.Hour })
			})
			if s, err := dev.Power(ctx); err != nil || s != fence.StateOn {
				t.Errorf("a BMC whose reading lags by an hour says %s, %v", s, err)
			}
			c.World(func(w *world.World) {
				w.SetBMC(tc.host, func(b *world.BMC) {
					*b = world.BMC{Driver: b.Driver, User: b.User, Password: b.Password, Machine: tc.host}
				})
			})
			if err := dev.On(ctx, permitted); err != nil {
				t.Fatal(err)
			}
			becomes(t, ctx, dev, fence.StateOn)
			faults(t, ctx, c, dev, tc.host, tc.other)
		})
	}
}

func faults(t *testing.T, ctx context.Context, c *wire.Cloud, dev fence.Device, host, other string) {
	t.Helper()
	set := func(change func(*world.BMC)) {
		c.World(func(w *world.World) { w.SetBMC(host, change) })
	}
	set(func(b *world.BMC) { b.Lying = true })
	if err := dev.Off(ctx, permitted); err != nil {
		t.Errorf("a lying BMC refused: %v", err)
	}
	if s, err := dev.Power(ctx); err != nil || s != fence.StateOn {
		t.Errorf("after a lie: %s, %v; want on", s, err)
	}
	set(func(b *world.BMC) { b.Lying, b.Machine = false, other })
	var id, machine string
	c.World(func(w *world.World) { machine = w.Host(other).Identity })
	found, err := dev.Identity(ctx)
	if id = found.UUID; err != nil || !found.Match(fence.Identity{UUID: machine}) {
		t.Errorf("a swapped cable shows %s, %v; want %s", id, err, machine)
	}
	set(func(b *world.BMC) { b.Machine, b.Dead = host, true })
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if s, err := dev.Power(short); err == nil || s != fence.StateUnknown {
		t.Errorf("a dead BMC says %s, %v", s, err)
	}
	refused := errors.New("lapsed")
	if err := dev.Off(short, func() error { return refused }); err == nil {
		t.Error("off without a permit was accepted by a dead BMC")
	}
}

func becomes(t *testing.T, ctx context.Context, dev fence.Device, want fence.State) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := dev.Power(ctx)
		if err == nil && s == want {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s never became %s: %s, %v", dev.ID(), want, s, err)
		}
	}
}
