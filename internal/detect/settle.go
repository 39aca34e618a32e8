package detect

import (
	"slices"
	"strings"
	"time"
)

// settle judges a host after something happened to it, appends what changed, and sets its next timer.
func (d *Detector) settle(now time.Time, h *host, changes []Change) []Change {
	v := d.judge(now, h)
	if v == Unknown && h.stands() {
		v = h.verdict
	}
	if !now.Before(h.leavingUntil) {
		h.leavingUntil = time.Time{}
	}
	suspect := h.Protected && h.silent && !judged(v) && h.leavingUntil.IsZero()
	if v != h.verdict || suspect != h.suspect || (h.news && h.Protected) {
		changes = append(changes, d.turn(now, h, v, suspect))
	}
	h.news = false
	h.calm = h.heard && !h.silent && !suspect && !h.offSeen() && h.leavingUntil.IsZero() &&
		(!h.Protected || v == Up || v == Degraded)
	d.schedule(h, d.nextLook(now, h))
	if _, watch := d.want(now, h); watch {
		d.watched[h] = struct{}{}
	} else {
		delete(d.watched, h)
	}
	d.calmDown(now)
	return changes
}

// turn puts a verdict and a suspicion into force and says so.
func (d *Detector) turn(now time.Time, h *host, v Verdict, suspect bool) Change {
	was := h.verdict
	d.verdicts[was]--
	d.verdicts[v]++
	if h.suspect != suspect {
		if suspect {
			d.suspects++
		} else {
			d.suspects--
		}
	}
	if h.suspect || was.Worse() || suspect || v.Worse() {
		h.troubled = now
		d.trouble[h] = struct{}{}
	}
	h.reason = d.reason(now, h, v, suspect)
	h.verdict, h.suspect, h.since = v, suspect, now
	c := Change{
		Host: h.Host, Verdict: v, Suspect: suspect, Boot: h.boot, LastLife: h.lastLife, Since: now,
		Reason: h.reason, Evidence: h.evidence(), Muted: slices.Clone(h.muted),
	}
	if v == Rebooted || (!h.bootAt.IsZero() && h.bootAt.Equal(now)) {
		c.OldBoot = h.oldBoot
	}
	return c
}

// withdraw takes back verdict and suspicion of a silent host.
func (d *Detector) withdraw(now time.Time, h *host, why string, changes []Change) []Change {
	if !judged(h.verdict) && !h.suspect {
		return changes
	}
	v := h.verdict
	if judged(v) {
		v = Unknown
	}
	c := d.turn(now, h, v, false)
	c.Reason, h.reason = why, why
	return append(changes, c)
}

// nextLook is when time alone may change the host's verdict; zero when it can't.
func (d *Detector) nextLook(now time.Time, h *host) time.Time {
	if !h.Protected {
		return time.Time{}
	}
	var next time.Time
	at := func(t time.Time) {
		if t.After(now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	// A silence that is due already is noted by the next Tick: it must not fall between the two.
	soon := func(t time.Time) {
		if t.Before(now) {
			t = now
		}
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	at(h.leavingUntil)
	switch {
	case h.silent:
		at(now.Add(review))
		for _, after := range []time.Duration{d.times.DeadTwoPlanes, d.times.DeadOnePlane} {
			at(d.reaches(now, h.silentFrom, after))
			at(d.reaches(now, h.managementLife(), after))
		}
		at(d.reaches(now, h.agentLife(), d.times.AgentDownAfter))
		at(d.reaches(now, h.agentLife(), d.times.HungAfter))
	case h.heard:
		soon(d.reaches(now, h.pulse, d.times.Suspect))
		if h.verdict == Rebooted {
			at(h.bootAt.Add(d.times.AgentDownAfter))
		}
		if d.stretch(now) > 0 {
			at(now.Add(review)) // doubt fades meanwhile
		}
		if h.verdict == Degraded {
			at(now.Add(review)) // its witnesses may fall silent themselves
		}
	case !h.awaited.IsZero():
		soon(d.missedFrom(now, h))
		early := d.awaitedFrom(now)
		if passed := now.Sub(early); passed >= 0 { // each review from then on, however often something is read of the host
			early = early.Add((passed/review + 1) * review)
		}
		soon(early)
	}
	return next
}

// reaches is when the silence since m will have lasted for a timeout.
func (d *Detector) reaches(now time.Time, m mark, timeout time.Duration) time.Time {
	return now.Add(d.stretched(now, timeout) - d.silence(now, m))
}

func sortByName(hosts []*host) {
	slices.SortFunc(hosts, func(a, b *host) int { return strings.Compare(a.Host, b.Host) })
}
