package detect

import (
	"slices"
	"time"
)

// onProbe takes an answer for life on its plane, and no answer for silence only from a valid witness.
func (d *Detector) onProbe(now time.Time, h *host, o Probe) {
	p := h.plane(o.Plane)
	if o.Answer != AnswerNone {
		m := d.markOf(now, o.Age)
		h.alive(m)
		if o.Answer == AnswerAgent && m.at.After(h.agent.at) {
			h.agent = m
		}
		if p != nil {
			if !d.answers(now, p) {
				p.lifeFrom = m
			}
			if m.at.After(p.life.at) {
				p.life = m
			}
			p.runFrom, p.runLast, p.witnesses = mark{}, time.Time{}, p.witnesses[:0]
		}
		return
	}
	if p == nil {
		return
	}
	p.askedAt = now
	if !o.Valid {
		return
	}
	if !d.watching(now, h, p) {
		p.runFrom, p.witnesses = d.mark(now), p.witnesses[:0]
	}
	p.runLast = now
	if len(p.witnesses) < maxWitnesses && !slices.Contains(p.witnesses, o.Prober) {
		p.witnesses = append(p.witnesses, o.Prober)
	}
}

// watching tells whether valid witnesses see the plane silent now: their last look is fresh, without a gap before
// it, and nothing lived there since the first. A pulse is life on management.
func (d *Detector) watching(now time.Time, h *host, p *plane) bool {
	if p.runLast.IsZero() || now.Sub(p.runLast) > d.times.WitnessWindow {
		return false
	}
	return p.name != Management || p.runFrom.at.After(h.pulse.at) || !h.heard
}

// onPower takes one reading. Only a bound device with a voice says anything.
func (d *Detector) onPower(now time.Time, h *host, o Power) {
	at := slices.IndexFunc(h.devices, func(v device) bool { return v.Device == o.Device })
	if at < 0 {
		if len(h.devices) == maxDevices {
			return
		}
		at = len(h.devices)
		h.devices = append(h.devices, device{})
	}
	dev := &h.devices[at]
	dev.Power, dev.at = o, now
	switch {
	case o.State == PowerOn:
		dev.onAt = now
		dev.offFrom, dev.quietOff = time.Time{}, time.Time{}
	case !o.Bound || h.isMuted(o.Device) || d.lagging(now, h, dev):
		dev.offFrom, dev.quietOff = time.Time{}, time.Time{}
	case o.State == PowerOff:
		if dev.offFrom.IsZero() {
			dev.offFrom = now
		}
		if !dev.quietOff.After(h.silentFrom.at) {
			dev.quietOff = now
		}
	}
}

// lagging tells whether the device may still be reading the off before the present boot.
func (d *Detector) lagging(now time.Time, h *host, dev *device) bool {
	return !h.bootAt.IsZero() && !dev.onAt.After(h.bootAt) && now.Sub(h.bootAt) < d.times.PowerLag
}

// name is the device in a sentence.
func (dev *device) name() string {
	kind := dev.Kind
	if kind == "" {
		kind = "BMC"
	}
	return kind + " " + dev.Device
}

// onService notes a reading of Nova's record; only a change that we saw happen is a report.
func (d *Detector) onService(now time.Time, h *host, o Service) {
	s := &h.service
	switch {
	case s.readAt.IsZero():
		s.changed = d.mark(now)
	case !o.UpdatedAt.Equal(s.value):
		s.changed, s.reported, s.after = d.mark(now), now, s.readAt
	}
	s.value, s.readAt = o.UpdatedAt, now
}
