package wire_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// A cloud of the demo's largest size comes up, answers and ends.
func TestDozensOfHosts(t *testing.T) {
	c := start(t, wire.Options{Hosts: 48, VMs: 600, Seed: 6, Zones: 2, Redfish: 4, World: quick()})
	cl := client(t, c)
	list, err := cl.ServersOn(t.Context(), "host-48")
	if err != nil || len(list.Servers) < 12 {
		t.Fatalf("%d servers, %v; want 12 or 13", len(list.Servers), err)
	}
	services, err := cl.Services(t.Context())
	if err != nil || len(services) != 48 || services[0].Zone != "az1" || services[1].Zone != "az2" {
		t.Fatalf("%d services, %v: %+v", len(services), err, services[:2])
	}
	for i := range 48 {
		if d := c.BMC(fmt.Sprintf("host-%02d", i+1)); d.Address == "" || d.Password == "" {
			t.Fatalf("BMC %d: %+v", i+1, d.Address)
		}
	}
	vms := dead(c, "host-48")
	for _, id := range vms {
		if _, err := cl.Evacuate(t.Context(), intent(), id, cloud.Evacuate{}); err != nil {
			t.Fatal(err)
		}
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var down, twice int
		c.World(func(w *world.World) { down, twice = len(w.VMsDown()), len(w.DoubleRuns()) })
		if down == 0 && twice == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("%d down, %d twice", down, twice)
		}
	}
}
