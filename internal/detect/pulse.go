package detect

import (
	"fmt"
	"slices"
	"time"
)

// onPulse is the hot path: for a calm host it only moves marks.
func (d *Detector) onPulse(now time.Time, p Pulse) []Change {
	h := d.hosts[p.Host]
	if h == nil {
		return nil
	}
	m := d.markOf(now, p.Age)
	fresh := h.touch(m.at, p)
	if h.calm && p.Boot == h.boot {
		h.hear(m)
		return nil
	}
	if h.isGhost(p.Boot) {
		if !m.at.Before(h.bootAt) {
			d.ghost(now, h, p, m)
		} // else it is old: it was heard before a newer boot was
		return d.settle(now, h, nil)
	}
	d.takePulse(now, h, p.Boot, m)
	// The agent was started again, or reached another server, long after its goodbye: the shutdown isn't happening.
	if fresh && !h.leavingUntil.IsZero() && now.Sub(h.goodbye) > d.times.InFlight {
		h.leavingUntil = time.Time{}
	}
	return d.settle(now, h, nil)
}

// hear notes a pulse, unless a later one is known.
func (h *host) hear(m mark) {
	if !m.at.Before(h.pulse.at) {
		h.pulse = m
	}
	h.alive(m)
}

// takePulse takes a pulse that isn't a ghost's for life, and learns its boot. One that is older than a suspicion takes
// to arise ends no silence.
func (d *Detector) takePulse(now time.Time, h *host, boot string, m mark) {
	switch {
	case boot == "" || boot == h.boot || h.isMuted(agentVoice):
		d.contradictDevices(m.at, h)
	case h.boot == "":
		h.boot = boot
	default:
		d.newBoot(now, h, boot)
	}
	if !h.seen {
		h.seen = true
		d.countSeen(h, +1)
	}
	h.hear(m)
	if !h.awaited.IsZero() {
		if h.awaited = (time.Time{}); d.inWave(now) { // one that is over doesn't begin again: it would take verdicts back
			d.returned = now
		}
	}
	if h.silent && d.silence(now, m) >= d.times.Suspect {
		h.heard = true
		return
	}
	if h.silent || !h.heard {
		h.back = m
	}
	h.heard, h.silent, h.lost = true, false, ""
}

// newBoot closes the life of the boot before. Readings and goodbyes of that life say nothing about this one.
func (d *Detector) newBoot(now time.Time, h *host, boot string) {
	h.ended = append(h.ended, h.boot)
	if len(h.ended) > maxEnded {
		h.ended = slices.Delete(h.ended, 0, 1)
	}
	h.oldBoot, h.boot, h.bootAt, h.news = h.boot, boot, now, true
	h.ghostFrom, h.ghostLast = time.Time{}, time.Time{}
	h.leavingUntil = time.Time{}
	for i := range h.devices {
		h.devices[i].offFrom, h.devices[i].quietOff = time.Time{}, time.Time{}
	}
}

// isGhost tells whether a pulse comes from a boot that has ended. Once the agent's voice is lost, every pulse is the
// same: life that proves nothing.
func (h *host) isGhost(boot string) bool {
	return boot != "" && boot != h.boot && !h.isMuted(agentVoice) && slices.Contains(h.ended, boot)
}

// ghost handles a pulse of an ended boot. One that was late on its way comes alone or in one burst; when they go on
// for a whole pulse, two machines claim to be this host, or we have mistaken which boot is the newer one. Either way
// something lives there: it delays every verdict, but never says `up` or `rebooted`.
func (d *Detector) ghost(now time.Time, h *host, p Pulse, m mark) {
	if h.ghostFrom.IsZero() || now.Sub(h.ghostLast) > d.times.DeadOnePlane {
		h.ghostFrom = now
	}
	h.ghostLast = now
	h.alive(m)
	if now.Sub(h.ghostFrom) < d.times.Pulse {
		return
	}
	h.mute(agentVoice, fmt.Sprintf("boot %s pulses still, %s after boot %s took its place: two machines claim to be this host",
		p.Boot, seconds(now.Sub(h.bootAt)), h.boot))
	d.takePulse(now, h, p.Boot, m)
}

// contradictDevices takes the voice of each device whose off reading this pulse belies. The pulse must come later
// than one that was on its way when a sender really died, and be of the boot that was known when off was read.
func (d *Detector) contradictDevices(at time.Time, h *host) {
	for i := range h.devices {
		dev := &h.devices[i]
		if dev.offFrom.IsZero() || at.Sub(dev.offFrom) < d.times.InFlight {
			continue
		}
		h.mute(dev.Device, fmt.Sprintf("%s read off, and the host pulsed %s later with the same boot", dev.name(), seconds(at.Sub(dev.offFrom))))
		dev.offFrom, dev.quietOff = time.Time{}, time.Time{}
	}
}

// onStreamLost begins the suspicion at once when no other stream of the host is alive. A server that goes away takes
// one stream of every host with it: the other streams speak for the hosts.
func (d *Detector) onStreamLost(now time.Time, h *host, o StreamLost) {
	at := slices.IndexFunc(h.streams, func(s stream) bool { return s.id == o.Stream && s.server == o.Server })
	if at < 0 {
		return
	}
	h.streams = slices.Delete(h.streams, at, at+1)
	for _, s := range h.streams {
		if now.Sub(s.last) < d.times.Suspect {
			return
		}
	}
	if h.silent || !h.heard || !h.Protected {
		return
	}
	lost := "stream closed"
	if o.Reset {
		lost = "stream reset"
	}
	d.fallSilent(now, h, lost)
}

// onGoodbye believes a shutdown that is announced, for Times.Leaving. Pulses that follow on the streams of that
// life don't end it: an agent may well pulse until it is stopped.
func (d *Detector) onGoodbye(now time.Time, h *host, o Goodbye) {
	if h.isGhost(o.Boot) {
		return
	}
	d.takePulse(now, h, o.Boot, d.mark(now))
	h.goodbye, h.leavingUntil = now, now.Add(d.times.Leaving)
}

// clear gives a voice back.
func (h *host) clear(voice string) {
	if voice == "" {
		voice = agentVoice
		h.ended, h.ghostFrom = nil, time.Time{}
	}
	h.muted = slices.DeleteFunc(h.muted, func(m string) bool { return m == voice })
}
