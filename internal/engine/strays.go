package engine

import (
	"cmp"
	"slices"
)

// A stray is a VM that was on its way to a host when that host died: Nova's order to start it there may still lie in the
// host's queue. It must not start there when the host returns, whatever has become of it by then.

// endAtProof ends an evacuation whose destination certainly runs nothing any more, and makes its VM a stray of it.
func (e *Engine) endAtProof(dest *Incident, r *Recovery, a *Attempt) {
	a.Ended, a.Why = e.now, "its destination "+dest.Host+" has a proof"
	dest.Strays = merge(dest.Strays, []string{r.VM.ID})
	e.touch(dest)
	e.touchVM(r)
}

// lateStrays finds the evacuations to a dead host that are called failed since it showed its last sign of life. It was not the
// host that ended them: Nova notes an evacuation in an earlier one's record (see inOldRecord), and what reads failed there can
// be that one's end, on another host.
func (e *Engine) lateStrays(in *Incident) {
	silent := cmp.Or(in.Stages.LastLife, in.Stages.Suspect)
	for _, vms := range e.vms {
		for _, r := range vms {
			if slices.ContainsFunc(r.Attempts, func(a Attempt) bool {
				return a.failed() && a.Answer != Refused && a.Ended.After(silent) && either(a.To, a.Target) == in.Host
			}) {
				in.Strays = merge(in.Strays, []string{r.VM.ID})
			}
		}
	}
}

// strayOnItsWay finds a stray whose resurrection elsewhere isn't settled. The host's nova-compute would end Nova's old order for
// it, in a record that the new evacuation may share.
func (e *Engine) strayOnItsWay(in *Incident) *Recovery {
	for _, id := range in.Strays {
		for _, o := range e.open {
			if r := e.vms[o.ID][id]; o != in && r != nil && !r.State.Settled() {
				return r
			}
		}
	}
	return nil
}
