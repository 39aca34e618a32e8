package world_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

func smallCloud(seed uint64, gated bool) *world.World {
	w := world.New(world.Options{Seed: seed, Gated: gated})
	w.AddStore("nfs", true)
	for i := range 5 {
		w.AddHost(world.HostSpec{Name: fmt.Sprintf("h%d", i+1), Store: "nfs"})
	}
	for i := range 15 {
		w.AddVM(world.VMSpec{Name: fmt.Sprintf("vm-%d", i+1), Host: fmt.Sprintf("h%d", i%5+1)})
	}
	return w
}

// open says whether any move of the VM may still change something.
func open(w *world.World, vm string) bool {
	page, _, _ := w.Migrations(world.MigrationQuery{VM: vm})
	return slices.ContainsFunc(page, world.Migration.Open)
}

// careful evacuates as Ninelives does: only from a machine without power, only
// VMs with nothing under way.
func careful(w *world.World, host string) {
	if w.Host(host).On {
		return
	}
	yes := true
	_, _, _ = w.UpdateService(world.Caller{}, w.Host(host).ServiceID, world.ServiceUpdate{ForcedDown: &yes})
	page, _, _ := w.Servers(world.ServerQuery{Host: host})
	for _, v := range page {
		if !open(w, v.ID) {
			_ = w.Evacuate(world.Caller{}, v.ID, "", false)
		}
	}
}

// returns powers a host on once nothing is on its way off it.
func returns(w *world.World, host string) {
	page, _, _ := w.Migrations(world.MigrationQuery{Source: host})
	if slices.ContainsFunc(page, world.Migration.Open) {
		return
	}
	w.PowerOn(host)
}

// act does one of the things that may happen to a cloud.
func act(w *world.World, op int, host, vm string) {
	switch op {
	case 0:
		w.PowerCut(host)
	case 1, 2:
		careful(w, host)
	case 3:
		returns(w, host)
	case 4:
		w.CutPlane(host, world.Management)
	case 5:
		w.HealPlane(host, world.Management)
	case 6:
		w.Freeze(host)
	case 7:
		w.Thaw(host)
	case 8:
		w.KillCompute(host)
	case 9:
		w.StartCompute(host)
	case 10:
		if !open(w, vm) {
			_ = w.LiveMigrate(world.Caller{}, vm, "")
		}
	case 11:
		_ = w.BMCSet(host, false)
	case 12:
		no := false
		_, _, _ = w.UpdateService(world.Caller{}, w.Host(host).ServiceID, world.ServiceUpdate{ForcedDown: &no})
	case 13:
		w.Hang(host)
	case 14:
		w.Unhang(host)
	case 15:
		_ = w.Do(world.Caller{}, vm, "stop")
	case 16:
		if len(w.VMIDs()) > 10 {
			_ = w.Do(world.Caller{}, vm, "delete")
		}
	}
}

// No schedule of faults makes the world report a double run as long as
// evacuations come only after the power went.
func TestNoDoubleRunWithoutCarelessness(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := smallCloud(rapid.Uint64().Draw(t, "seed"), false)
		now := w.Now()
		ids := w.VMIDs()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond)
			w.Advance(now)
			act(w, rapid.IntRange(0, 16).Draw(t, "op"), fmt.Sprintf("h%d", rapid.IntRange(1, 5).Draw(t, "host")), ids[rapid.IntRange(0, len(ids)-1).Draw(t, "vm")])
			sound(t, w)
		}
		w.Advance(now.Add(time.Minute))
		sound(t, w)
	})
}

// sound is what must hold at every moment.
func sound(t *rapid.T, w *world.World) {
	if d := w.DoubleRuns(); len(d) > 0 {
		t.Fatalf("ran twice: %v\nhistory: %v", d[0], w.History(d[0].VM))
	}
	if l := w.Lost(); len(l) > 0 {
		t.Fatalf("lost on a shared store: %v", l)
	}
	for _, id := range w.VMIDs() {
		for _, c := range w.Copies(id) {
			if h := w.Host(c.Host); !h.On || h.Boot != c.Boot {
				t.Fatalf("%s has a copy on %s in boot %s, but that machine is on=%t in boot %s", id, c.Host, c.Boot, h.On, h.Boot)
			}
		}
	}
}

// The planted carelessness is always found: evacuated with its power on.
func TestCarelessnessIsSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := smallCloud(rapid.Uint64().Draw(t, "seed"), false)
		host := fmt.Sprintf("h%d", rapid.IntRange(1, 5).Draw(t, "host"))
		switch rapid.IntRange(0, 3).Draw(t, "fault") {
		case 0:
			w.Freeze(host)
		case 1:
			w.CutPlane(host, world.Management)
		case 2:
			w.Hang(host)
		case 3: // nothing at all: forced down for no reason
		}
		yes := true
		_, _, _ = w.UpdateService(world.Caller{}, w.Host(host).ServiceID, world.ServiceUpdate{ForcedDown: &yes})
		page, _, _ := w.Servers(world.ServerQuery{Host: host})
		for _, v := range page {
			if err := w.Evacuate(world.Caller{}, v.ID, "", false); err != nil {
				t.Fatal(err)
			}
		}
		w.Advance(w.Now().Add(30 * time.Second))
		if got := len(w.DoubleRuns()); got != len(page) {
			t.Fatalf("%d double runs seen, want %d", got, len(page))
		}
		w.PowerCut(host)
		w.PowerOn(host)
		for _, d := range w.DoubleRuns() { // never forgotten, and its end is known
			if d.To.IsZero() {
				t.Fatalf("still open after the power went: %v", d)
			}
		}
	})
}

// The same seed and calls give the same history; another seed gives another.
func TestReplay(t *testing.T) {
	trace := func(seed uint64, step time.Duration) string {
		w := smallCloud(seed, true)
		rng := rand.New(rand.NewPCG(7, 7))
		now, ids := w.Now(), w.VMIDs()
		for range 200 {
			next := now.Add(time.Duration(1+rng.IntN(3)) * time.Second)
			for now.Before(next) { // how finely time is cut must not matter
				now = now.Add(step)
				w.Advance(now)
			}
			act(w, rng.IntN(17), fmt.Sprintf("h%d", 1+rng.IntN(5)), ids[rng.IntN(len(ids))])
		}
		return w.TraceHash()
	}
	first := trace(1, time.Second)
	if again := trace(1, time.Second); again != first {
		t.Errorf("the same seed gave %s, then %s", first, again)
	}
	if finer := trace(1, 10*time.Millisecond); finer != first {
		t.Error("the history depends on how often Advance is called")
	}
	if other := trace(2, time.Second); other == first {
		t.Error("another seed gave the same history")
	}
}

// The scheduler counts only what was claimed, so a burst piles up; Nova's pages are bounded.
func TestSchedulerPilesUp(t *testing.T) {
	w := world.New(world.Options{Seed: 1})
	w.AddStore("nfs", true)
	for i := range 6 {
		w.AddHost(world.HostSpec{Name: fmt.Sprintf("h%d", i+1), Store: "nfs", RAM: 256<<10 - i})
	}
	for i := range 24 {
		w.AddVM(world.VMSpec{Name: fmt.Sprintf("vm-%d", i+1), Host: "h6"})
	}
	w.PowerCut("h6")
	careful(w, "h6")
	w.Advance(w.Now().Add(time.Minute))
	most := 0
	for i := range 5 {
		most = max(most, w.Used(fmt.Sprintf("h%d", i+1)).VMs)
	}
	if most <= 24/5+1 {
		t.Errorf("the fullest destination got %d of 24: real Nova piles up", most)
	}
	if down := w.VMsDown(); len(down) != 0 {
		t.Errorf("still down: %v", down)
	}
}
