package detect

import (
	"slices"
	"time"
)

// review is how often a silent host is looked at when nothing happens; exact times are scheduled besides.
const review = time.Second

// judge finds the first row of the table that the evidence matches now; Unknown when none does. `up` stands above
// most rows in the table because a pulse ends every silence; `degraded` alone is a verdict about a host that pulses.
func (d *Detector) judge(now time.Time, h *host) Verdict {
	switch {
	case !h.Protected:
		return Unknown
	case len(h.muted) > 0 && h.heard && !h.silent:
		return Contradiction
	case now.Before(h.leavingUntil):
		return Leaving
	case h.silent:
		return d.judgeSilent(now, h)
	case !h.heard:
		return Unknown
	case !h.bootAt.IsZero() && now.Sub(h.bootAt) < d.times.AgentDownAfter:
		return Rebooted // stays in sight for three pulses; then it is a host like any other
	case d.degradedPlane(now, h) != nil:
		return Degraded
	}
	return Up
}

func (d *Detector) judgeSilent(now time.Time, h *host) Verdict {
	if len(d.offDevices(now, h)) > 0 && d.silentEverywhere(now, h) {
		return Off // positive evidence: neither self-doubt nor a reconnect wave makes a machine read off
	}
	if d.inWave(now) || now.Sub(d.waveEnd(now)) < review { // first whoever hasn't come back is suspect, and counted as such
		return Unknown
	}
	switch {
	case d.isDead(now, h):
		return Dead
	case d.isIsolated(now, h):
		return Isolated
	case d.isHung(now, h):
		return Hung
	case d.isAgentDown(now, h):
		return AgentDown
	}
	return Unknown
}

// offDevices returns the devices of the first fence level that reads off as a whole: each of them bound, with a
// voice, read off twice at least OffReadGap apart since the silence began, and lastly off. Empty otherwise.
func (d *Detector) offDevices(now time.Time, h *host) []*device {
	for i := range h.devices {
		level, need := h.devices[i].Level, max(1, h.devices[i].Of)
		var off []*device
		for j := range h.devices {
			if dev := &h.devices[j]; dev.Level == level && d.readsOff(now, h, dev) {
				off = append(off, dev)
			}
		}
		if len(off) >= need {
			return off
		}
	}
	return nil
}

// readsOff: once `off` is in force it rests on those two readings until life, or a reading of on, belies them: that
// nobody reads the device any more, or can't, is no news.
func (d *Detector) readsOff(now time.Time, h *host, dev *device) bool {
	fresh := dev.State == PowerOff && now.Sub(dev.at) <= d.times.SlowProbeEvery
	return dev.quietOff.After(h.silentFrom.at) && dev.at.Sub(dev.quietOff) >= d.times.OffReadGap &&
		(fresh || h.verdict == Off)
}

// silentEverywhere tells whether each known plane was asked in vain since the last life. A plane that nobody could
// ask for as long as dead_after is waited for no longer: the reading is positive evidence.
func (d *Detector) silentEverywhere(now time.Time, h *host) bool {
	if d.silence(now, h.silentFrom) >= d.stretched(now, d.times.DeadTwoPlanes) {
		return true
	}
	return !slices.ContainsFunc(h.planes, func(p plane) bool { return !p.askedAt.After(h.silentFrom.at) })
}

// witnessed tells whether valid witnesses watched the plane long enough for a silence of deadAfter to be theirs.
func (d *Detector) witnessed(now time.Time, h *host, p *plane, deadAfter time.Duration) bool {
	return d.watching(now, h, p) &&
		d.silence(now, p.runFrom) >= d.stretched(now, d.times.witnessSpan(deadAfter))
}

func (d *Detector) validPlanes(now time.Time, h *host, deadAfter time.Duration) int {
	n := 0
	for i := range h.planes {
		if d.witnessed(now, h, &h.planes[i], deadAfter) {
			n++
		}
	}
	return n
}

// isDead needs silence of every kind for the whole time, and witnesses for it on two planes; on one plane, or while
// we suspect ourselves, for longer. Without a valid witness it never comes true.
func (d *Detector) isDead(now time.Time, h *host) bool {
	silence := d.silence(now, h.silentFrom)
	if !d.careful(now) && silence >= d.stretched(now, d.times.DeadTwoPlanes) && d.validPlanes(now, h, d.times.DeadTwoPlanes) >= 2 {
		return true
	}
	return silence >= d.stretched(now, d.times.DeadOnePlane) && d.validPlanes(now, h, d.times.DeadOnePlane) >= 1
}

// isIsolated: its life on another plane is the second view, so two planes' time applies.
func (d *Detector) isIsolated(now time.Time, h *host) bool {
	p := h.plane(Management)
	after := d.times.DeadTwoPlanes
	if d.careful(now) {
		after = d.times.DeadOnePlane
	}
	return p != nil && d.silence(now, h.managementLife()) >= d.stretched(now, after) &&
		d.witnessed(now, h, p, after) && d.alivePlane(now, h) != nil
}

// managementLife is the last life on management: a pulse, or an answer.
func (h *host) managementLife() mark {
	if p := h.plane(Management); p != nil && p.life.at.After(h.pulse.at) {
		return p.life
	}
	return h.pulse
}

// agentLife is the last life of the agent: a pulse, or its answer to a probe.
func (h *host) agentLife() mark {
	if h.agent.at.After(h.pulse.at) {
		return h.agent
	}
	return h.pulse
}

// answers tells whether the plane answered a moment ago. Twice the witness window: a lost probe or two don't end a
// life.
func (d *Detector) answers(now time.Time, p *plane) bool {
	return !p.life.at.IsZero() && now.Sub(p.life.at) <= 2*d.times.WitnessWindow
}

// alivePlane returns a plane that has answered for a while, nil if none has. A frozen host that comes back answers on
// one plane before the others, and its kernel before its agent: that moment is no verdict.
func (d *Detector) alivePlane(now time.Time, h *host) *plane {
	for i := range h.planes {
		if p := &h.planes[i]; d.answers(now, p) && d.silence(now, p.lifeFrom) >= d.times.WitnessWindow {
			return p
		}
	}
	return nil
}

// answeringPlane returns a plane that answered a moment ago, nil if none did.
func (d *Detector) answeringPlane(now time.Time, h *host) *plane {
	for i := range h.planes {
		if p := &h.planes[i]; d.answers(now, p) {
			return p
		}
	}
	return nil
}

// isHung needs a fresh reading of Nova's record: a Nova that we can't ask says nothing about its services.
func (d *Detector) isHung(now time.Time, h *host) bool {
	after := d.stretched(now, d.times.HungAfter)
	s := &h.service
	return d.alivePlane(now, h) != nil && d.silence(now, h.agentLife()) >= after &&
		!s.readAt.IsZero() && now.Sub(s.readAt) <= d.times.ServiceFresh && d.silence(now, s.changed) >= after
}

// isAgentDown needs a report that certainly came after the agent fell silent, so two readings since then: one from before
// says nothing about now, and a host may have frozen between its report and our reading of it.
func (d *Detector) isAgentDown(now time.Time, h *host) bool {
	s := &h.service
	return d.alivePlane(now, h) != nil && d.silence(now, h.agentLife()) >= d.stretched(now, d.times.AgentDownAfter) &&
		s.after.After(h.agentLife().at) && now.Sub(s.reported) <= d.times.ServiceFresh
}

// degradedPlane returns a plane other than management that valid witnesses see silent while the host pulses, nil if
// none is. Time in which the whole host was silent doesn't count: a host that was frozen isn't degraded.
func (d *Detector) degradedPlane(now time.Time, h *host) *plane {
	after := d.stretched(now, d.times.DeadTwoPlanes)
	for i := range h.planes {
		p := &h.planes[i]
		if p.name == Management || !d.witnessed(now, h, p, d.times.DeadTwoPlanes) {
			continue
		}
		from := p.life
		if from.at.IsZero() {
			from = p.runFrom
		}
		if d.silence(now, from) >= after && d.silence(now, h.back) >= after {
			return p
		}
	}
	return nil
}

// stands tells whether the verdict in force holds although no row matches now: what it rested on was not belied.
func (h *host) stands() bool {
	if !h.Protected {
		return false
	}
	switch h.verdict {
	case Off, Dead:
		return !h.silentFrom.at.After(h.since)
	case Isolated:
		return !h.managementLife().at.After(h.since)
	case Hung, AgentDown:
		return !h.agentLife().at.After(h.since)
	case Up, Rebooted, Degraded:
		return h.heard // a suspicion is shown beside it; a new leader has heard nobody yet
	case Unknown, Contradiction, Leaving:
		return true
	}
	return false
}

// judged tells whether v is a verdict about a silent host.
func judged(v Verdict) bool { return v.Worse() || v == AgentDown }
