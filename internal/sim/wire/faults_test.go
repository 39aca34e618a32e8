package wire_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/cloud/openstack"
	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

func client(t *testing.T, c *wire.Cloud) *openstack.Client {
	t.Helper()
	l := login(c)
	cl, err := openstack.Open(openstack.Options{Login: &l, WriteTimeout: 400 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if _, err := cl.Capabilities(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cl
}

func dead(c *wire.Cloud, host string) (vms []string) {
	c.World(func(w *world.World) {
		vms = w.Guests(host)
		w.PowerCut(host)
		yes := true
		_, _, _ = w.UpdateService(world.Caller{}, w.Host(host).ServiceID, world.ServiceUpdate{ForcedDown: &yes})
	})
	return vms
}

func intent() cloud.Intent { return cloud.Intent{Permit: permitted} }

func records(c *wire.Cloud, vm string) (n int) {
	c.World(func(w *world.World) {
		page, _, _ := w.Migrations(world.MigrationQuery{VM: vm})
		n = len(page)
	})
	return n
}

func TestNovaFaults(t *testing.T) {
	c := start(t, wire.Options{Hosts: 3, VMs: 9, Seed: 4, World: quick()})
	cl := client(t, c)
	vms := dead(c, "host-01")
	set := func(change func(*world.APIFaults)) {
		c.World(func(w *world.World) { w.SetAPIFaults(change) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()

	t.Run("outage", func(t *testing.T) {
		c.World(func(w *world.World) { w.NovaOutage(time.Hour) })
		if _, err := cl.Services(ctx); !errors.Is(err, cloud.ErrUnavailable) {
			t.Errorf("read: %v", err)
		}
		if _, err := cl.Evacuate(ctx, intent(), vms[0], cloud.Evacuate{}); !errors.Is(err, cloud.ErrUnanswered) {
			t.Errorf("write: %v", err)
		}
		if n := records(c, vms[0]); n != 0 {
			t.Errorf("%d records after a 503", n)
		}
		set(func(f *world.APIFaults) { *f = world.APIFaults{} })
	})
	t.Run("answer lost", func(t *testing.T) {
		set(func(f *world.APIFaults) { f.LoseNext = 1 })
		if _, err := cl.Evacuate(ctx, intent(), vms[0], cloud.Evacuate{}); !errors.Is(err, cloud.ErrUnanswered) {
			t.Errorf("got %v", err)
		}
		if n := records(c, vms[0]); n != 1 {
			t.Errorf("%d records, want exactly the one that Nova accepted", n)
		}
	})
	t.Run("late delivery", func(t *testing.T) {
		set(func(f *world.APIFaults) { f.HoldNext, f.HoldFor = 1, 700*time.Millisecond })
		if _, err := cl.Evacuate(ctx, intent(), vms[1], cloud.Evacuate{}); !errors.Is(err, cloud.ErrUnanswered) {
			t.Errorf("got %v", err)
		}
		if n := records(c, vms[1]); n != 0 {
			t.Fatalf("%d records before the proxy delivered", n)
		}
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for records(c, vms[1]) == 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatal("the proxy never delivered")
			}
		}
	})
	t.Run("token revoked", func(t *testing.T) {
		c.RevokeTokens()
		if _, err := cl.Services(ctx); err != nil {
			t.Errorf("a read must log in again by itself: %v", err)
		}
	})
}

// Nova pages by its own max_limit, whatever is asked for, and the client follows.
func TestPaging(t *testing.T) {
	o := quick()
	o.MaxLimit = 7
	c := start(t, wire.Options{Hosts: 3, VMs: 40, Seed: 5, World: o})
	cl := client(t, c)
	seen := map[string]bool{}
	if err := cl.AllServers(t.Context(), func(s cloud.Server) error { seen[s.ID] = true; return nil }); err != nil || len(seen) != 40 {
		t.Fatalf("%d servers, %v; want 40", len(seen), err)
	}
	c.World(func(w *world.World) { w.CellDown("cell1", true) })
	list, err := cl.ServersOn(t.Context(), "host-01")
	if err != nil || len(list.Servers) != 0 {
		t.Fatalf("a cell that doesn't answer is left out without a word; got %d, %v", len(list.Servers), err)
	}
}
