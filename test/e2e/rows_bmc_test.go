//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/test/rig"
)

// bmcAlreadyOff: a BMC that answers "off" with an error because it is off already is no failure.
func bmcAlreadyOff(r *row) {
	boot := r.bootOf()
	r.Lab.Do(r, "bmc", r.host, "already-off")
	r.Cleanup(func() { r.Lab.Do(r, "bmc", r.host, "normal") })
	r.strike("host", r.host, "off")
	r.awaitVerdict(engine.Off, 30*time.Second)
	r.awaitBack(2*time.Minute, r.vms)
	if did := r.Lab.BMC(r, r.host, r.fault); !slices.Contains(did, "refused: already off") {
		r.Errorf("the BMC was told %v, expected an off that it refused", did)
	}
	r.Lab.Do(r, "bmc", r.host, "normal")
	r.readmitted(2*time.Minute, boot)
}

// bmcLate: off is taken at once and done 8 s later; nothing starts elsewhere before it was read.
func bmcLate(r *row) {
	const late = 8 * time.Second
	boot := r.bootOf()
	r.Lab.Do(r, "bmc", r.host, "late", "8")
	r.Cleanup(func() { r.Lab.Do(r, "bmc", r.host, "normal") })
	r.strike("host", r.host, "freeze")
	r.awaitVerdict(engine.Dead, time.Minute)
	in := r.awaitPhase(2*time.Minute, engine.PhaseTakingOut, engine.PhaseResurrecting, engine.PhaseRecovered)
	if took := in.Stages.Proof.Sub(in.Stages.Verdict); took < late {
		r.Errorf("proof %v after the verdict, but the machine runs for %v after its off", took, late)
	}
	r.awaitBack(2*time.Minute, r.vms)
	r.fenced()
	r.Lab.Do(r, "bmc", r.host, "normal")
	r.readmitted(2*time.Minute, boot)
}

// bmcForeign: the BMC of another machine is refused and nobody is killed. The frozen host stays as it is, and lives on.
func bmcForeign(r *row) {
	boot := r.bootOf()
	r.Lab.Do(r, "bmc", r.host, "wrong-identity")
	r.Cleanup(func() { r.Lab.Do(r, "bmc", r.host, "normal") })
	r.strike("host", r.host, "freeze")
	r.awaitVerdict(engine.Dead, time.Minute)
	rig.Within(r, time.Minute, "the fence is refused", func() string {
		in, _, err := r.Main.Incident(r.host, r.fault)
		for _, l := range in.Interlocks {
			if (l.Code == engine.LockFenceRetry || l.Code == engine.LockNoDevice) && strings.Contains(l.Reason, "confirm-down") {
				return ""
			}
		}
		return asText(in.Interlocks, err)
	})
	time.Sleep(20 * time.Second) // several rounds
	if did := r.Lab.BMC(r, r.host, r.fault); len(did) > 0 {
		r.Errorf("the BMC of another machine was told %v", did)
	}
	if tr := r.Lab.Truth(r)[r.host]; tr.State != "frozen" || tr.Boot != boot {
		r.Errorf("%s is %+v, expected it frozen still", r.host, tr)
	}
	r.Lab.Do(r, "host", r.host, "thaw")
	r.awaitPhase(time.Minute, engine.PhaseClosed)
	r.untouched()
}
