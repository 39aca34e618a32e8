package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/planted"
)

// admit holds an incident until action may begin.
func (e *Engine) admit(in *Incident) {
	if in.Verdict == Rebooted && in.Proof == nil {
		e.rebooted(in, e.host(in.Host).now)
		return
	}
	if e.straggling(in) {
		return
	}
	locks := e.mayFence(in)
	if e.switches.Shadow && len(locks) == 1 && !in.held(LockShadow) {
		e.tell(in, "in shadow mode; otherwise now: "+e.wouldDo(in))
	}
	e.block(in, locks)
	if len(locks) == 0 {
		in.Phase = PhaseFencing
		e.touch(in)
		if planted.OffSticks && in.Verdict == Off {
			e.prove(in, Proof{Kind: "power-off", Host: in.Host, Boot: in.Boot, At: e.now})
			return
		}
		e.fence(in)
	}
}

// straggling: other hosts may have failed in the same event and not be suspect yet; they must be counted before the storm
// interlock answers. Suspects are what it counts, and a host is suspect seconds after its last life: a verdict that took
// a silence of dead_after has outlasted the stragglers, and waits no more. Both are asked for, the silence and a
// suspicion that we have heard of for as long: a new leader is told of old silences and of fresh suspicions.
func (e *Engine) straggling(in *Incident) bool {
	if in.Verdict == Off || in.Verdict == ByOperator {
		return false // exempt, up to a limit
	}
	h := e.host(in.Host)
	known := func(at time.Time) bool { return !at.IsZero() && e.now.Sub(at) >= e.cfg.Stragglers }
	if known(h.now.LastLife) && known(h.suspected) {
		return false
	}
	return e.now.Sub(in.Stages.Verdict) < e.cfg.Pulse
}

// fence climbs the ladder: level by level, then from the start with back-off, for ever, saying what it waits for.
func (e *Engine) fence(in *Incident) {
	if e.busy("fence/" + in.ID) {
		return
	}
	h := e.host(in.Host)
	if e.endedByItself(in, h) {
		return
	}
	e.lookForFence(in, h)
	locks := e.mayFence(in)
	if len(h.facts.Levels) == 0 {
		locks = append(locks, Interlock{Code: LockNoDevice, Reason: fmt.Sprintf(
			"no bound fence device for %s; once you are certain that it is off: ninelives host confirm-down %s --reason …", in.Host, in.Host)})
	}
	e.block(in, locks)
	if len(locks) > 0 || e.now.Before(in.Fencing.Next) {
		return
	}
	f := &in.Fencing
	if f.Level >= len(h.facts.Levels) {
		f.Level = 0
	}
	level := h.facts.Levels[f.Level]
	f.At, f.Trying = e.now, merge(f.Trying, strings.Split(level, devicesJoined))
	if _, counted := e.fences[in.Host]; !counted { // a retry doesn't count anew
		e.fences[in.Host] = e.now
	}
	why := "make off stick"
	if in.Verdict != Off {
		why = "verdict " + string(in.Verdict)
	}
	e.do("fence/"+in.ID, Action{Do: Fence, Incident: in.ID, Host: in.Host, Level: f.Level, Why: why})
	e.tell(in, fmt.Sprintf("fencing by %s (level %d): %s", level, f.Level+1, why))
}

// endedByItself: a fence once more was due, and meanwhile the host came back with a new boot behind its closed gate and
// with no guest. The boot that failed has ended, which is all that the fence was to make certain of. One that is under way
// is waited for: its off may still arrive. An operator who asked for a fence gets it all the same.
func (e *Engine) endedByItself(in *Incident, h *host) bool {
	if in.Proof == nil || in.Revoked != "" || in.Verdict == ByOperator || in.Return.Boot == "" || h.now.Boot != in.Return.Boot ||
		!h.pulses() || !h.empty(in.Return) {
		return false
	}
	in.Phase, in.Fencing.Round, in.Fencing.Next = PhaseTakingOut, 0, zeroTime
	e.work(in)
	e.tell(in, "no further fence is needed: boot "+short(in.Return.Boot)+" says that its gate is closed and that no guest runs")
	e.touch(in)
	e.takeOut(in)
	return true
}

// lookForFence reads the power of a host whose fence an earlier leader has begun and nobody has answered: when it reads
// off, that leader's verdict did its work, and the fence is finished without waiting for a new one.
func (e *Engine) lookForFence(in *Incident, h *host) {
	if len(in.Fencing.Trying) == 0 || !in.Fencing.At.Before(e.cfg.Takeover) || in.Proof != nil || h.pulses() || !in.foundOff.IsZero() {
		return
	}
	e.repeat(in, "power/"+in.ID, time.Second, Action{Do: ReadPower, Incident: in.ID, Host: in.Host, Why: "an earlier leader had begun to switch it off"})
}

// foundFence: what the devices say that an earlier leader had begun to switch off.
func (e *Engine) foundFence(in *Incident, ev PowerRead) {
	off := func(device string) bool {
		return slices.ContainsFunc(ev.Readings, func(r Reading) bool { return r.Device == device && r.State == "off" })
	}
	for i, level := range e.host(in.Host).facts.Levels {
		devices := strings.Split(level, devicesJoined)
		tried := slices.ContainsFunc(devices, func(d string) bool { return slices.Contains(in.Fencing.Trying, d) })
		if tried && !slices.ContainsFunc(devices, func(d string) bool { return !off(d) }) {
			in.foundOff, in.Fencing.Level = e.now, i
			e.tell(in, level+" reads off: the fence that an earlier leader had begun is finished")
			return
		}
	}
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
	if !ev.Unanswered {
		in.Fencing.Trying = nil
	}
	if ev.Proven || planted.Proof && ev.Sent {
		e.prove(in, Proof{
			Kind: "power-off", Host: in.Host, Boot: in.Boot, At: e.now, Device: ev.Device, Devices: ev.Devices, Readings: ev.Readings,
		})
		return
	}
	e.fenceFailed(in, ev.Err)
}

func (e *Engine) fenceFailed(in *Incident, why string) {
	h := e.host(in.Host)
	f := &in.Fencing
	in.foundOff = zeroTime
	e.tell(in, fmt.Sprintf("level %d failed: %s", f.Level+1, why))
	if in.Phase != PhaseFencing {
		return // an operator's word has come meanwhile
	}
	if h.alive() && !h.now.Suspect && in.Proof == nil && in.Verdict != ByOperator && !in.Unhealthy {
		if h.now.Boot != "" && h.now.Boot != in.Boot {
			e.rebooted(in, h.now)
		} else {
			e.standDown(in, "the host is up again")
		}
		return
	}
	f.Level++
	if f.Level < len(h.facts.Levels) {
		e.touch(in)
		return
	}
	f.Level = 0
	if planted.GivesUp {
		f.Next = e.now.Add(time.Hour)
		return
	}
	f.Round++
	f.Next = e.now.Add(backoff(f.Round, 5*time.Second, time.Minute))
	e.fail(in, LockFenceRetry, "%s can't be fenced: %s. Tried again without end (round %d failed); or, once you are certain that it is off: ninelives host confirm-down %s --reason …",
		in.Host, why, f.Round, in.Host)
}

// prove records that the failed boot has ended. From here on its VMs may be started elsewhere.
func (e *Engine) prove(in *Incident, p Proof) {
	in.Proof, in.Earlier = &p, nil
	if in.Phase == PhaseOpen || in.Phase == PhaseFencing || in.Phase == PhaseAlert {
		in.Phase = PhaseTakingOut
	}
	in.Stages.Proof, in.Revoked = e.now, ""
	e.lateStrays(in)
	in.Fencing.Round, in.Fencing.Next = 0, zeroTime
	e.host(in.Host).cleared, e.recount = e.now, true
	e.work(in)
	e.tell(in, "proof: "+p.String())
	e.mark(in, "list", zeroTime)
	e.mark(in, "power/"+in.ID, e.now)
	e.mark(in, "powered", e.now)
}

// recheckPower keeps the proof honest while VMs are queued: a third party's power cycle must not go unnoticed.
// It reports whether this leader has a reading of its own, or asked for one in vain.
func (e *Engine) recheckPower(in *Incident) bool {
	if in.Proof.Kind != "power-off" || in.Return.Boot != "" || in.Return.PowerOn {
		return true
	}
	e.repeat(in, "power/"+in.ID, 10*time.Second, Action{Do: ReadPower, Incident: in.ID, Host: in.Host, Why: "is it still off?"})
	return !e.last(in, "powered").IsZero()
}

func (e *Engine) powerRead(ev PowerRead) {
	a := e.answeredBy(ev.Action)
	if a == nil || a.Incident == "" {
		return
	}
	in := e.incidents[a.Incident]
	if in == nil || in.closed() {
		return
	}
	if in.Phase == PhaseFencing && in.Proof == nil {
		e.foundFence(in, ev)
		return
	}
	e.mark(in, "powered", e.now)
	if !in.fenced() || in.Return.PowerOn || in.Return.Boot != "" || in.Phase != PhaseResurrecting || a.Begun.Before(in.Stages.Proof) {
		return
	}
	for _, r := range ev.Readings {
		if r.State == "on" && slices.Contains(in.Proof.Devices, r.Device) {
			e.fenceAgain(in, r.Device+" reads on again, and it wasn't us")
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

// devicesJoined stands between the names of a level's devices in HostFacts.Levels.
const devicesJoined = " + "

func merge(a, b []string) []string {
	a = slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}
