package detect

import "time"

// doubtHalf is how fast a measured lateness is forgotten: a server that was slow is likely to be slow again soon.
const doubtHalf = 5 * time.Second

// fewHosts: with fewer, "most of them at once" says nothing about ourselves.
const fewHosts = 4

// doubt is what a detector thinks of itself.
type doubt struct {
	slept    time.Duration // all lateness so far: time that wasn't listened to
	worst    time.Duration // lateness that stretches all timeouts, halved every doubtHalf
	worstAt  time.Time
	lateAt   time.Time // last Late
	tookOver time.Time
	counted  time.Time // when backAgain last counted
	few      bool      // what it found
	returned time.Time // when last an agent was heard the first time since we took over

	relayLost time.Time // when another server last stopped telling what it hears

	total  int         // seen hosts
	starts []time.Time // silences begun within the last suspect window
	mass   bool        // most hosts fell silent together
	massAt time.Time
}

// late notes that our loop ran late. A lateness can't be longer than the time since the last one: else a caller's
// mistake could make us blind for ever.
func (d *Detector) late(now time.Time, by time.Duration) {
	if !d.lateAt.IsZero() {
		by = min(by, now.Sub(d.lateAt))
	}
	d.lateAt = now
	if by <= 0 {
		return
	}
	d.slept += by
	if by >= d.stretch(now) {
		d.worst, d.worstAt = by, now
	}
}

// stretch is what is added to every timeout now.
func (d *Detector) stretch(now time.Time) time.Duration {
	if d.worst == 0 {
		return 0
	}
	halvings := max(0, int(now.Sub(d.worstAt)/doubtHalf))
	if halvings > 20 {
		d.worst = 0
		return 0
	}
	return d.worst >> halvings
}

func (d *Detector) stretched(now time.Time, timeout time.Duration) time.Duration {
	return timeout + d.stretch(now)
}

func (d *Detector) mark(now time.Time) mark { return mark{at: now, slept: d.slept} }

// markOf is the mark of something that is at least as old as it says. It never lies before our takeover, or before we
// were last late: of the time before, this server counts no silence.
func (d *Detector) markOf(now time.Time, age time.Duration) mark {
	if age <= 0 {
		return d.mark(now)
	}
	at := now.Add(-age)
	for _, from := range [...]time.Time{d.tookOver, d.lateAt} {
		if at.Before(from) {
			at = from
		}
	}
	return mark{at: at, slept: d.slept}
}

// Doubts reports whether what this server doesn't hear means little: it was slow or paused a moment ago, or most hosts
// fell silent together. Such a server has no vote about others.
func (d *Detector) Doubts(now time.Time) bool { return d.mass || d.stretch(now) >= d.times.Pulse/2 }

// careful: the time of one plane applies, however many planes are watched. Most hosts fell silent together, or we have
// lost a part of our ears a moment ago.
func (d *Detector) careful(now time.Time) bool {
	return d.mass || !d.relayLost.IsZero() && now.Sub(d.relayLost) < d.times.StormWindow
}

// silence is how long we have listened in vain since m: what we slept in between doesn't count.
func (d *Detector) silence(now time.Time, m mark) time.Duration {
	return now.Sub(m.at) - (d.slept - m.slept)
}

// inWave tells whether agents may still be coming back after our takeover.
func (d *Detector) inWave(now time.Time) bool {
	return !d.tookOver.IsZero() && now.Before(d.waveEnd(now))
}

// waveEnd is when the wave after our takeover will have passed if nobody else comes back.
func (d *Detector) waveEnd(now time.Time) time.Time {
	end, most := d.tookOver.Add(d.stretched(now, d.times.ReconnectWave)), d.tookOver.Add(d.times.WaveMost)
	if d.returned.IsZero() || end.After(most) {
		return end
	}
	goesOn := d.returned.Add(d.times.WaveGap)
	switch {
	case goesOn.Before(end):
		return end
	case goesOn.After(most):
		return most
	}
	return goesOn
}

// missedFrom is when a host that hasn't been heard since our takeover is silent.
func (d *Detector) missedFrom(now time.Time, h *host) time.Time {
	from := h.awaited.Add(d.stretch(now))
	if end := d.waveEnd(now); end.After(from) {
		return end
	}
	return from
}

// backAgain tells whether so few hosts are missing after our takeover that they are dead rather than on their way: agents are
// linked to every server, so that a takeover costs them no more than a pulse. Then a missing host is suspect before the
// reconnect wave has passed: its BMC is asked, and the silence of its planes. At most one host in fifty, or two, and never as
// many as are there: while a wave does go on, nobody asks for thousands of hosts that come by themselves.
func (d *Detector) backAgain(now time.Time) bool {
	if now.Before(d.awaitedFrom(now)) {
		return false
	}
	if now.Equal(d.counted) {
		return d.few
	}
	missing, back := 0, 0
	for _, h := range d.hosts {
		switch {
		case !h.Protected:
		case h.heard:
			back++
		case !h.awaited.IsZero():
			missing++
		}
	}
	d.counted, d.few = now, missing < back && missing <= max(2, back/50)
	return d.few
}

// awaitedFrom is when whoever had a link to us at our takeover has pulsed.
func (d *Detector) awaitedFrom(now time.Time) time.Time {
	return d.tookOver.Add(d.stretched(now, 2*d.times.Suspect))
}

// takeover drops every silence: this server's own ears may have missed what others heard. Verdicts about living
// hosts stay; those about silent ones must be found again.
func (d *Detector) takeover(now time.Time) []Change {
	d.tookOver, d.returned, d.mass, d.starts = now, time.Time{}, false, d.starts[:0]
	d.batch = d.batch[:0]
	for _, h := range d.hosts {
		d.batch = append(d.batch, h)
	}
	sortByName(d.batch)
	var changes []Change
	for _, h := range d.batch {
		wasSilent := h.silent
		h.silent, h.heard, h.lost, h.streams = false, false, "", h.streams[:0]
		for i := range h.planes {
			p := &h.planes[i]
			*p = plane{name: p.name}
		}
		for i := range h.devices {
			h.devices[i].offFrom, h.devices[i].quietOff = time.Time{}, time.Time{}
		}
		h.service, h.awaited = service{}, time.Time{}
		d.await(now, h)
		if wasSilent {
			changes = d.withdraw(now, h, "a new leader counts only the silence that it heard itself", changes)
		}
		changes = d.settle(now, h, changes)
	}
	return changes
}

// await starts the wait for a host that the records know, or that we heard before, and that hasn't pulsed since
// our takeover.
func (d *Detector) await(now time.Time, h *host) {
	if d.tookOver.IsZero() || h.heard || !h.awaited.IsZero() || !h.Protected || (h.boot == "" && !h.seen) {
		return
	}
	h.awaited = now.Add(d.times.ReconnectWave)
	h.pulse, h.agent, h.silentFrom = d.mark(now), d.mark(now), d.mark(now)
}

// fallSilent begins a silence and, when most seen hosts began theirs within one suspect window, our self-doubt.
func (d *Detector) fallSilent(now time.Time, h *host, lost string) {
	h.silent, h.lost = true, lost
	if !h.seen {
		return
	}
	window := d.stretched(now, d.times.Suspect)
	kept := d.starts[:0]
	for _, at := range d.starts {
		if now.Sub(at) <= window {
			kept = append(kept, at)
		}
	}
	d.starts = append(kept, now)
	if d.total >= fewHosts && 2*len(d.starts) > d.total {
		d.mass, d.massAt = true, now
	}
}

// calmDown ends the self-doubt when most hosts are heard again, or have been judged.
func (d *Detector) calmDown(now time.Time) {
	if d.mass && 2*d.suspects <= d.total && now.Sub(d.massAt) > d.times.Suspect {
		d.mass = false
	}
}
