package engine

import (
	"fmt"
	"time"
)

// admit holds an incident until action may begin.
func (e *Engine) admit(in *Incident) {
	h := e.host(in.Host)
	if in.Verdict == Rebooted && in.Proof == nil {
		e.rebooted(in, h.now)
		return
	}
	if in.Verdict == Dead && e.now.Sub(in.Stages.Verdict) < e.cfg.Pulse {
		return // stragglers of the same event must be counted before the storm interlock answers
	}
	if locks := e.mayFence(in); len(locks) > 0 {
		e.block(in, locks)
		return
	}
	e.release(in)
	in.Phase = PhaseFencing
	e.touch(in)
	e.fence(in)
}

// fence climbs the ladder: level by level, then from the start with back-off, for ever, saying what it waits for.
func (e *Engine) fence(in *Incident) {
	key := "fence/" + in.ID
	if e.busy(key) {
		return
	}
	h := e.host(in.Host)
	if len(h.facts.Levels) == 0 {
		e.block(in, []Interlock{{Code: LockNoDevice, Reason: fmt.Sprintf(
			"no bound fence device for %s; once you are certain that it is off: ninelives host confirm-down %s --reason …", in.Host, in.Host)}})
		return
	}
	if e.now.Before(in.Fencing.Next) {
		return
	}
	if locks := e.mayFence(in); len(locks) > 0 {
		e.block(in, locks)
		return
	}
	if in.Fencing.Round == 0 {
		e.release(in)
	}
	if in.Fencing.Level >= len(h.facts.Levels) {
		in.Fencing.Level = 0
	}
	in.Fencing.Begun = true
	e.fences = append(e.fences, e.now)
	why := "make off stick"
	if in.Verdict != Off {
		why = "verdict " + string(in.Verdict)
	}
	e.do(key, Action{Do: Fence, Incident: in.ID, Host: in.Host, Level: in.Fencing.Level, Why: why})
	e.tell(in, fmt.Sprintf("fencing by %s (level %d): %s", h.facts.Levels[in.Fencing.Level], in.Fencing.Level+1, why))
}

func (e *Engine) fenceDone(ev FenceDone) {
	a := e.answeredBy(ev.Action)
	if a == nil {
		return
	}
	in := e.incidents[a.Incident]
	if in == nil || in.closed() {
		return
	}
	in.Fencing.Commands = merge(in.Fencing.Commands, ev.Devices)
	if ev.Proven {
		p := Proof{Kind: "power-off", Host: in.Host, Boot: in.Boot, At: e.now, Device: ev.Device, Devices: ev.Devices, Readings: ev.Readings}
		e.prove(in, p)
		return
	}
	e.fenceFailed(in, ev.Err)
}

func (e *Engine) fenceFailed(in *Incident, why string) {
	h := e.host(in.Host)
	f := &in.Fencing
	f.Why = why
	e.tell(in, fmt.Sprintf("level %d failed: %s", f.Level+1, why))
	if h.alive() && !h.now.Suspect && in.Proof == nil && in.Verdict != ByOperator {
		e.standDown(in, "the host is up again")
		return
	}
	f.Level++
	if f.Level < len(h.facts.Levels) {
		e.touch(in)
		return
	}
	f.Level = 0
	f.Round++
	wait := backoff(f.Round, 5*time.Second, time.Minute)
	f.Next = e.now.Add(wait)
	e.block(in, []Interlock{{Code: LockFenceRetry, Reason: fmt.Sprintf(
		"%s can't be fenced: %s. Tried again without end (round %d failed); or, once you are certain that it is off: ninelives host confirm-down %s --reason …",
		in.Host, why, f.Round, in.Host)}})
}

// prove records that the failed boot has ended. From here on its VMs may be started elsewhere.
func (e *Engine) prove(in *Incident, p Proof) {
	in.Proof = &p
	if in.Phase == PhaseOpen || in.Phase == PhaseFencing || in.Phase == PhaseAlert {
		in.Phase = PhaseTakingOut
	}
	in.Stages.Proof = e.now
	in.Revoked = ""
	e.host(in.Host).cleared = e.now
	e.release(in)
	e.tell(in, "proof: "+p.String())
	delete(e.polled, "list/"+in.ID)
	e.polled["power/"+in.ID] = e.now
}

// recheckPower keeps the proof honest while VMs are queued: a third party's power cycle must not go unnoticed.
// It reports whether a reading of this leader's own is recent enough to act on.
func (e *Engine) recheckPower(in *Incident) bool {
	if in.Proof.Kind != "power-off" {
		return true
	}
	if e.every("power/"+in.ID, 10*time.Second) {
		e.do("power/"+in.ID, Action{Do: ReadPower, Incident: in.ID, Host: in.Host, Why: "is it still off?"})
	}
	_, busy := e.inflight["power/"+in.ID]
	return !busy || !in.Stages.Proof.Before(e.cfg.Takeover)
}

func (e *Engine) powerRead(ev PowerRead) {
	a := e.answeredBy(ev.Action)
	if a == nil || a.Incident == "" {
		return
	}
	in := e.incidents[a.Incident]
	if in == nil || in.closed() || in.Proof == nil || in.Return.PowerOn || in.Return.Boot != "" {
		return
	}
	for _, r := range ev.Readings {
		if r.State == "on" && in.Phase == PhaseResurrecting {
			e.tell(in, fmt.Sprintf("%s reads on again, and it wasn't us: fencing once more before anything else starts", r.Device))
			in.Phase, in.Fencing.Level, in.Fencing.Next = PhaseFencing, 0, zeroTime
			e.touch(in)
			return
		}
	}
}

// backoff doubles from first up to limit.
func backoff(n int, first, limit time.Duration) time.Duration {
	d := first
	for ; n > 1 && d < limit; n-- {
		d *= 2
	}
	return min(d, limit)
}

func merge(a, b []string) []string {
	for _, s := range b {
		found := false
		for _, t := range a {
			found = found || s == t
		}
		if !found {
			a = append(a, s)
		}
	}
	return a
}
