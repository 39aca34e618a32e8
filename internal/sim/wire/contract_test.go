package wire_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud/contract"
	"github.com/ninelives-ha/ninelives/internal/cloud/openstack"
	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// quick is a cloud whose machines boot in no time.
func quick() world.Options {
	short := world.Span{Min: 20 * time.Millisecond, Max: 60 * time.Millisecond}
	return world.Options{Timing: world.Timing{
		Schedule: short, Evacuate: short, PowerOff: short, Boot: short, ComputeStart: short, GuestStart: short, Delete: short,
	}}
}

func start(t *testing.T, o wire.Options) *wire.Cloud {
	t.Helper()
	c, err := wire.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func login(c *wire.Cloud) openstack.Login {
	return openstack.Login{AuthURL: c.AuthURL(), Username: wire.Username, Password: wire.Password, ProjectName: wire.ProjectName, Region: wire.Region}
}

// The simulator keeps the contract that the real Nova keeps, at each end of the supported range of releases.
func TestContract(t *testing.T) {
	for _, mv := range []string{"2.79", "2.93", "2.96"} {
		t.Run(mv, func(t *testing.T) {
			t.Parallel()
			c := start(t, wire.Options{Hosts: 3, VMs: 6, Seed: 1, MaxMicroversion: mv, World: quick()})
			contract.Run(t, contract.Harness{
				Login: login(c), Hosts: []string{"host-01", "host-02"}, Patience: 10 * time.Second,
				KillHost:   act(c, func(w *world.World, host string) { w.PowerCut(host) }),
				ReturnHost: act(c, func(w *world.World, host string) { w.PowerOn(host) }),
				BootVM: func(_ context.Context, name, host string) (id string, err error) {
					c.World(func(w *world.World) {
						id = w.AddVM(world.VMSpec{Name: name, Host: host, Image: w.VMByName("vm-001").Image}).ID
					})
					return id, nil
				},
				DeleteVM: act(c, func(w *world.World, id string) {
					if e := w.Do(world.Caller{}, id, "delete"); e != nil {
						panic(fmt.Sprint(id, e))
					}
				}),
			})
			c.World(func(w *world.World) {
				if d := w.DoubleRuns(); len(d) > 0 {
					t.Errorf("ran twice: %v", d)
				}
			})
		})
	}
}

func act(c *wire.Cloud, do func(*world.World, string)) func(context.Context, string) error {
	return func(_ context.Context, arg string) error {
		c.World(func(w *world.World) { do(w, arg) })
		return nil
	}
}
