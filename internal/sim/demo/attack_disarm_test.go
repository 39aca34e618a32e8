//go:build attack

package demo

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// After the reply to disarm nothing dangerous reaches Nova or a BMC: at whatever moment of a recovery it comes, and
// also when a BMC's login takes so long that the fence was decided well before.
func TestAttackDisarm(t *testing.T) {
	for i := range *seeds {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			d, _ := attackStart(t, Options{Hosts: 5, VMs: 40, Seed: uint64(i), Redfish: i % 3})
			slow := time.Duration(i%4) * 400 * time.Millisecond
			d.cloud.World(func(w *world.World) {
				w.SetBMC("host-02", func(b *world.BMC) { b.Slow = slow })
				w.SetAPIFaults(func(f *world.APIFaults) { f.Slow = slow / 4 })
				w.PowerCut("host-02")
			})
			// Spread over suspicion, fence, taking out, evacuations and power-on.
			pause(t.Context(), 1500*time.Millisecond+time.Duration(i)*700*time.Millisecond%(14*time.Second))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if _, err := d.api.Disarm(ctx, "attack"); err != nil {
				t.Fatal(err)
			}
			replied := time.Now()
			pause(t.Context(), 12*time.Second)
			before := map[string]int{}
			d.cloud.World(func(w *world.World) {
				for _, e := range w.Events() {
					switch e.Kind {
					case "bmc-order", "evacuate-accepted", "service", "action":
						if e.At.After(replied.Add(slow)) { // what a slow one has received before, it still does
							t.Errorf("%.3f s after the reply: %s %s %s", e.At.Sub(replied).Seconds(), e.Kind, e.Host, e.Text)
						} else {
							before[e.Kind]++
						}
					}
				}
			})
			t.Logf("before the reply: %v", before)
		})
	}
}
