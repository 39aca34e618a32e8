package detect

import (
	"fmt"
	"strings"
	"time"
)

// seconds prints a duration as people say it in a reason.
func seconds(t time.Duration) string { return fmt.Sprintf("%.1f s", t.Seconds()) }

// reason puts a verdict or suspicion into words; called only when it changes.
func (d *Detector) reason(now time.Time, h *host, v Verdict, suspect bool) string {
	if suspect {
		return d.suspectReason(now, h, v)
	}
	switch v {
	case Contradiction:
		return h.why
	case Up:
		return d.upReason(now, h)
	case Leaving:
		return fmt.Sprintf("said that it is shutting down; left alone for %v", d.times.Leaving)
	case Off:
		return d.offReason(now, h)
	case Rebooted:
		return fmt.Sprintf("pulses with boot %s: boot %s has ended", h.boot, h.oldBoot)
	case Dead:
		return d.silenceReason(now, h)
	case Isolated, Hung, AgentDown, Degraded:
		if why := d.planesReason(now, h, v); why != "" {
			return why
		}
		return h.reason // the verdict stands, what it stood on was dropped by a takeover
	case Unknown:
	}
	if !h.Protected {
		return "not protected"
	}
	return "not heard yet"
}

// planesReason is why a host is what its planes show, "" if they don't show it now.
func (d *Detector) planesReason(now time.Time, h *host, v Verdict) string {
	if v == Degraded {
		if p := d.degradedPlane(now, h); p != nil {
			return fmt.Sprintf("pulses, but silent on %s to %s", p.name, strings.Join(p.witnesses, ", "))
		}
		return ""
	}
	alive, p := d.alivePlane(now, h), h.plane(Management)
	if alive == nil || p == nil {
		return ""
	}
	switch v {
	case Isolated:
		return fmt.Sprintf("silent on management for %s to %s; alive on %s",
			seconds(d.silence(now, h.managementLife())), strings.Join(p.witnesses, ", "), alive.name)
	case Hung:
		return fmt.Sprintf("its kernel answers on %s; agent silent for %s, nova-compute without a report for %s",
			alive.name, seconds(d.silence(now, h.agentLife())), seconds(d.silence(now, h.service.changed)))
	default: // AgentDown
		return fmt.Sprintf("its kernel answers on %s and nova-compute reports; agent silent for %s",
			alive.name, seconds(d.silence(now, h.agentLife())))
	}
}

func (d *Detector) upReason(now time.Time, h *host) string {
	switch {
	case h.verdict == Unknown && !h.suspect:
		return "pulses"
	case h.suspect || judged(h.verdict):
		return "pulses again"
	case h.verdict == Degraded:
		for i := range h.planes {
			if p := &h.planes[i]; p.name != Management && now.Sub(p.life.at) > 2*d.times.WitnessWindow {
				return fmt.Sprintf("pulses; %s: nobody can see it", p.name)
			}
		}
		return "pulses; all planes answer"
	case h.verdict == Leaving:
		return "pulses, though it said that it was shutting down"
	}
	return "pulses"
}

func (d *Detector) suspectReason(now time.Time, h *host, v Verdict) string {
	var s string
	switch {
	case v == Unknown && judged(h.verdict):
		s = fmt.Sprintf("it answered: %s no longer holds", h.verdict)
		if p := d.answeringPlane(now, h); p != nil {
			s = fmt.Sprintf("it answered on %s: %s no longer holds", p.name, h.verdict)
		}
	case h.lost != "":
		s = "management: " + h.lost
	case !h.awaited.IsZero():
		s = fmt.Sprintf("management: nothing since this server took over, %s ago", seconds(now.Sub(h.pulse.at)))
	default:
		s = fmt.Sprintf("management: nothing for %s", seconds(d.silence(now, h.pulse)))
	}
	if d.mass {
		s += fmt.Sprintf("; %d of %d hosts fell silent together: this server suspects itself and the network first",
			len(d.starts), d.total)
	}
	return s
}

// offReason counts seconds from the last life.
func (d *Detector) offReason(now time.Time, h *host) string {
	var parts []string
	for _, dev := range d.offDevices(now, h) {
		parts = append(parts, fmt.Sprintf("%s read off at %s and %s", dev.name(),
			seconds(dev.quietOff.Sub(h.silentFrom.at)), seconds(dev.at.Sub(h.silentFrom.at))))
	}
	var silent, unasked []string
	for i := range h.planes {
		if p := &h.planes[i]; p.askedAt.After(h.silentFrom.at) {
			silent = append(silent, string(p.name))
		} else {
			unasked = append(unasked, string(p.name))
		}
	}
	if len(silent) > 0 {
		parts = append(parts, "silent on "+strings.Join(silent, ", "))
	}
	for _, p := range unasked {
		parts = append(parts, p+": nobody could ask it")
	}
	return strings.Join(parts, "; ")
}

// silenceReason names the planes with a valid witness, and those that nobody can see.
func (d *Detector) silenceReason(now time.Time, h *host) string {
	var silent, witnesses, unknown []string
	for i := range h.planes {
		p := &h.planes[i]
		if !d.watching(now, h, p) {
			unknown = append(unknown, string(p.name))
			continue
		}
		silent = append(silent, string(p.name))
		for _, w := range p.witnesses {
			if !strings.Contains(" "+strings.Join(witnesses, " ")+" ", " "+w+" ") {
				witnesses = append(witnesses, w)
			}
		}
	}
	s := fmt.Sprintf("silent on %s for %s to %s", strings.Join(silent, ", "),
		seconds(d.silence(now, h.silentFrom)), strings.Join(witnesses, ", "))
	for _, p := range unknown {
		s += fmt.Sprintf("; %s: nobody can see it", p)
	}
	return s
}

// evidence lists the latest observation of each source since the last life, and that life itself.
func (h *host) evidence() []Evidence {
	var es []Evidence
	if h.seen && h.heard {
		es = append(es, Evidence{Kind: KindPulse, Source: h.lastServer(), Plane: Management, At: h.pulse.at, Says: "last pulse, boot " + h.boot})
	}
	if h.lost != "" {
		es = append(es, Evidence{Kind: KindStream, Plane: Management, Says: h.lost})
	}
	if !h.goodbye.IsZero() && !h.leavingUntil.IsZero() {
		es = append(es, Evidence{Kind: KindGoodbye, Source: agentVoice, At: h.goodbye, Says: "shutting down"})
	}
	for i := range h.planes {
		p := &h.planes[i]
		if !p.life.at.IsZero() {
			es = append(es, Evidence{Kind: KindWitness, Plane: p.name, At: p.life.at, Says: "last answer"})
		}
		for _, w := range p.witnesses {
			es = append(es, Evidence{Kind: KindWitness, Source: w, Plane: p.name, At: p.runLast, Says: "no answer"})
		}
	}
	for i := range h.devices {
		dev := &h.devices[i]
		says := "reads " + dev.state()
		if !dev.Bound {
			says += ", unbound: doesn't count"
		} else if h.isMuted(dev.Device) {
			says += ", has no voice: doesn't count"
		}
		es = append(es, Evidence{Kind: KindPower, Source: dev.Device, Via: dev.Via, At: dev.at, Says: says})
	}
	if s := &h.service; !s.readAt.IsZero() {
		es = append(es, Evidence{Kind: KindService, Source: "nova", At: s.changed.at, Says: "nova-compute's last report as we saw it"})
	}
	return es
}

func (dev *device) state() string {
	if dev.State == PowerUnknown {
		return "unknown"
	}
	return string(dev.State)
}

// lastServer is the server that heard the last pulse.
func (h *host) lastServer() string {
	var last stream
	for _, s := range h.streams {
		if s.last.After(last.last) {
			last = s
		}
	}
	return last.server
}
