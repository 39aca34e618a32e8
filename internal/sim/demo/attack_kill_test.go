//go:build attack

package demo

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// The server is killed at a moment of chance of a recovery and started again, up to three times: it completes, and
// nothing is doubled.
func TestAttackKill(t *testing.T) {
	for i := range *seeds {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprintf("seed-%d", seed), func(t *testing.T) {
			t.Parallel()
			a := newAttack(t, seed)
			a.r = rand.New(rand.NewPCG(seed, 0xdead))
			host := a.victims[0]
			a.doom(host, "cut")
			a.world(func(w *world.World) { w.PowerCut(host) })
			for range 1 + a.r.IntN(3) {
				pause(t.Context(), a.span(0, 9*time.Second))
				a.tell("** server killed")
				a.p.signal(syscall.SIGKILL)
				pause(t.Context(), a.span(0, 3*time.Second))
				if err := a.p.start(); err != nil {
					t.Fatal(err)
				}
				a.tell("** server started")
			}
			for end := time.Now().Add(2 * time.Minute); time.Now().Before(end) && len(a.d.truth.now().down) > 0; {
				pause(t.Context(), time.Second)
			}
			a.judge()
			if truth := a.d.truth.now(); len(truth.down) > 0 {
				t.Errorf("%d VMs are still down", len(truth.down))
			}
		})
	}
}
