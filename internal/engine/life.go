package engine

import (
	"fmt"
	"time"
)

// silentWithin is how long a host may count as heard after its proof: a pulse that was under way, and the suspicion
// that follows the last one. Who pulses longer was not switched off.
const silentWithin = 10 * time.Second

// lifeAfterProof: life of the boot that the proof says has ended revokes it; a new boot confirms that the old copies
// are gone, but going on then needs the host's gate reported closed and no guest on it (see mayWrite). A suspicion alone
// is none: a new leader suspects whoever it hasn't heard since it took over.
func (e *Engine) lifeAfterProof(in *Incident, h *host) {
	ev := h.now
	switch {
	case ev.Verdict == "" && ev.Suspect && ev.LastLife.After(in.Proof.At), ev.Verdict == Isolated, ev.Verdict == Hung, ev.Verdict == AgentDown:
		e.doubted(in, ev)
	case !h.pulses() || ev.Boot != "" && ev.Boot == in.Return.Boot:
	case in.Phase == PhaseRecovered && ev.Boot != "" && (in.Proof.Boot == "" || in.Proof.Boot != ev.Boot):
		e.back(in, ev) // which boot had failed may be unknown, but nothing waits to be started elsewhere
	case !in.Proof.covers(ev.Boot) && in.Revoked != "": // whatever lived, the boot that failed has ended by now
		in.Planned = false // what its VMs did meanwhile isn't known
		e.rebooted(in, ev)
	case !in.Proof.covers(ev.Boot):
		e.back(in, ev)
	case e.justProved(in):
		// Its last pulse may be older than the proof; stillPulsing has an eye on it.
	default:
		e.revoke(in, fmt.Sprintf("boot %s of %s lives: %s", short(ev.Boot), in.Host, ev.Reason))
	}
}

func (e *Engine) back(in *Incident, ev Assessed) {
	in.Return.Boot, in.Return.Seen, in.Return.Healthy, in.Return.Lived = ev.Boot, e.now, zeroTime, false
	e.tell(in, "the host is back with a new boot, "+short(ev.Boot))
	for _, r := range e.recoveries(in) {
		if r.Restart && r.VM.Host == in.Host && (r.State == Verifying || r.State == Recovered) && r.To == in.Host {
			e.setState(r, Held, "its host rebooted again before it was taken back") // stayed restarts it on this boot
		}
	}
}

// openedByHand reports whether an operator has opened the returned host's gate: whatever still waits to be brought
// back elsewhere may start there at any moment.
func (e *Engine) openedByHand(in *Incident) bool {
	r := e.host(in.Host).report
	return in.Return.Boot != "" && r.Boot == in.Return.Boot && r.ByHand && !r.GateClosed
}

// leaveToHand: nothing more is sent elsewhere from a host whose gate was opened by hand; what is left comes up there.
func (e *Engine) leaveToHand(in *Incident) {
	if !e.openedByHand(in) {
		return
	}
	for _, r := range e.recoveries(in) {
		if (r.State == Queued || r.State == Failed) && r.Open() == nil {
			if r.Restart {
				e.setState(r, Held, "the gate of "+in.Host+" was opened by hand: it is restarted there")
			} else {
				e.setState(r, Skipped, "the gate of "+in.Host+" was opened by hand; it was not running before")
			}
		}
	}
}

func (e *Engine) revoke(in *Incident, but string) {
	if in.Revoked == "" {
		in.Revoked = fmt.Sprintf("%s, but %s", in.Proof, but)
		e.noteMode(in, "contradicted: "+in.Revoked)
	}
}

// justProved: this leader has recorded the proof, a moment ago.
func (e *Engine) justProved(in *Incident) bool {
	return in.Proof.Kind == "power-off" && !in.Proof.At.Before(e.cfg.Takeover) && e.now.Sub(in.Proof.At) < silentWithin &&
		(in.Phase == PhaseTakingOut || in.Phase == PhaseResurrecting)
}

// stillPulsing reports whether detection has yet to notice that a host, proved to be off a moment ago, is silent:
// nothing is sent meanwhile. If it goes on for long, the host was never off.
func (e *Engine) stillPulsing(in *Incident) bool {
	h := e.host(in.Host)
	if !in.fenced() || !h.pulses() || in.Return.Boot != "" || in.Revoked != "" {
		return false
	}
	if e.now.Sub(in.Proof.At) >= silentWithin {
		if in.Proof.covers(h.now.Boot) {
			e.revoke(in, fmt.Sprintf("boot %s of %s pulses on", short(h.now.Boot), in.Host))
		} else {
			e.back(in, h.now)
		}
	}
	return true
}

// doubted: something of the fenced host gave a sign of life without saying which boot it is. A device can be asked
// again; an operator's word can't. Once every VM is settled, somebody may be switching the host on.
func (e *Engine) doubted(in *Incident, ev Assessed) {
	if in.Phase != PhaseTakingOut && in.Phase != PhaseResurrecting || in.Return.Boot != "" || in.Return.PowerOn || in.Revoked != "" {
		return
	}
	if in.Proof.Kind != "power-off" {
		e.revoke(in, ev.Reason)
		return
	}
	e.fenceAgain(in, "a sign of life after the proof ("+ev.Reason+")")
}

func (e *Engine) fenceAgain(in *Incident, why string) {
	e.tell(in, why+": fencing once more before anything else starts")
	in.Phase, in.Fencing.Level, in.Fencing.Next = PhaseFencing, 0, zeroTime
	e.touch(in)
}

// failedAgain: the returned host died while it was being taken back. What had been restarted there has died with it. One
// that had said before that nothing runs there, its gate closed, needs no other fence until its VMs are settled.
func (e *Engine) failedAgain(in *Incident) {
	h := e.host(in.Host)
	bad := h.now.Verdict == Off || h.now.Verdict == Dead
	waits := in.Phase == PhaseRecovered || (in.Phase == PhaseTakingOut || in.Phase == PhaseResurrecting) && !h.empty(in.Return)
	if !bad || in.Return.Boot == "" || !in.fenced() || !waits {
		return
	}
	e.tell(in, fmt.Sprintf("failed again while coming back, verdict %s: %s", h.now.Verdict, h.now.Reason))
	in.Verdict, in.Reason, in.Evidence, in.Unhealthy = h.now.Verdict, h.now.Reason, h.now.Evidence, false
	if in.Return.PutBack {
		in.Out.Done = false // Nova may believe it up again
	}
	e.beginAnew(in, PhaseOpen)
	e.count(h)
}

// livesOn: the returned host was judged dead while it settled, nothing proved it, and the same boot lives. Every VM of the
// boot before is settled by the earlier proof, so it goes on settling; what Nova counts there is listed and looked at
// anew. An operator who asked for the fence gets it all the same.
func (e *Engine) livesOn(in *Incident) {
	h := e.host(in.Host)
	waits := in.Phase == PhaseAlert || in.Phase == PhaseOpen || in.Phase == PhaseFencing
	if in.Earlier == nil || !waits || in.Verdict == ByOperator || e.busy("fence/"+in.ID) ||
		!h.alive() || h.now.Suspect || h.now.Boot == "" || h.now.Boot != in.Boot {
		return
	}
	in.Proof, in.Earlier = in.Earlier, nil
	in.Return = Return{Boot: in.Boot, Seen: e.now, Lived: true}
	in.Phase, in.Planned, in.Fencing.Round, in.Fencing.Next = PhaseRecovered, false, 0, zeroTime
	e.mark(in, "list", zeroTime)
	e.work(in)
	e.tell(in, "boot "+short(in.Boot)+" lives on: taking it back begins anew")
}
