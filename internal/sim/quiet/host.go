package quiet

import (
	"fmt"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/witness"
)

// reportEvery is how often nova-compute reports.
const reportEvery = 10 * time.Second

// host is one compute host as it is.
type host struct {
	c     *cloud
	at    int
	name  string
	peer  witness.Peer
	phase time.Duration // of its pulses within a second
	boot  string
	boots int
	power detect.PowerState

	frozen, cut  int // how many troubles of that kind hold now
	lostIn       [len(planes)]int
	lostOut      [len(planes)]int
	planeTrouble int           // planes in trouble
	troubledAt   time.Duration // end of the last trouble of any kind
	planeAt      [len(planes)]time.Duration

	reportPhase time.Duration
	reported    time.Duration // nova-compute's last report

	dead     bool
	diedAt   time.Duration
	expected detect.Verdict // of its death
	link     link
}

// quiet: nothing troubles the host or its link, and a pulse or a probe is a matter of luck alone.
func (h *host) quiet() bool { return h.frozen == 0 && h.cut == 0 && h.planeTrouble == 0 }

// hears and speaks: does the plane carry packets to the host and from it?
func (h *host) hears(p int) bool  { return h.frozen == 0 && h.cut == 0 && h.lostIn[p] == 0 }
func (h *host) speaks(p int) bool { return h.frozen == 0 && h.cut == 0 && h.lostOut[p] == 0 }

// live gives it a new boot; its agent dials after d.
func (h *host) live(d time.Duration) {
	h.boots++
	h.boot = fmt.Sprintf("%s/%d", h.name, h.boots)
	h.dead, h.frozen, h.power = false, 0, detect.PowerOn
	h.link, h.troubledAt = link{h: h, life: h.boots}, h.c.now
	h.c.in(d, h.link.dial(0))
}

// trouble befalls the host, unless it is dead.
func (h *host) trouble(t Trouble) {
	if h.dead {
		return
	}
	long, plane := t.Long(h.c.rng), h.c.rng.IntN(len(planes))
	switch t.What {
	case Freeze:
		h.hold(&h.frozen, long, h.thaw)
	case Cut:
		h.hold(&h.cut, long, func() {})
	case Plane, Deaf, Mute:
		if !h.cutPlane(plane, long, t.What != Mute, t.What != Deaf) {
			return
		}
	}
	h.c.result.Troubles[t.What]++
}

func (h *host) hold(what *int, long time.Duration, after func()) {
	*what++
	life := h.boots
	h.c.in(long, func() {
		if h.boots != life && what == &h.frozen {
			return // it died meanwhile, and lives anew
		}
		*what--
		h.troubledAt = h.c.now
		after()
	})
}

func (h *host) cutPlane(p int, long time.Duration, in, out bool) bool {
	if h.dead || !h.c.o.Overlap && h.planeTrouble > 0 {
		return false
	}
	h.planeTrouble++
	change := func(by int) {
		if in {
			h.lostIn[p] += by
		}
		if out {
			h.lostOut[p] += by
		}
	}
	change(+1)
	h.c.in(long, func() {
		change(-1)
		h.planeTrouble--
		h.troubledAt, h.planeAt[p] = h.c.now, h.c.now
	})
	return true
}

// thaw: an agent that was frozen pulses at once; its ticker has kept one beat for it.
func (h *host) thaw() {
	if h.frozen == 0 {
		h.link.thaw()
	}
}

// planeTroubled: the plane doesn't carry everything now, or didn't 5 s ago.
func (h *host) planeTroubled(p int) bool {
	return h.lostIn[p] > 0 || h.lostOut[p] > 0 || h.planeAt[p] > 0 && h.c.now-h.planeAt[p] < 5*time.Second
}

// touched: something troubles it now, or did 5 s ago.
func (h *host) touched() bool {
	return !h.quiet() || h.troubledAt > 0 && h.c.now-h.troubledAt < 5*time.Second
}

// report is nova-compute's last report as Nova shows it. It travels on management.
func (h *host) report() time.Time {
	last := (h.c.now-h.reportPhase)/reportEvery*reportEvery + h.reportPhase
	if last > h.reported && h.hears(0) && h.speaks(0) {
		h.reported = last
	}
	return h.c.start.Add(h.reported)
}

// kill ends the life of a host, by turns in the two ways that there are.
func (c *cloud) kill() {
	h := c.hosts[c.rng.IntN(len(c.hosts))]
	if h.dead || !c.server.knows(h) {
		return
	}
	h.dead, h.diedAt, h.expected = true, c.now, detect.Dead
	h.frozen++
	if c.rng.IntN(2) == 0 {
		h.power, h.expected = detect.PowerOff, detect.Off
	}
	life := h.boots
	c.in(time.Minute, func() {
		if h.boots == life && h.dead && h.diedAt >= 0 {
			c.result.Missed++
			c.story("%s died at %v and had no verdict: %s", h.name, h.diedAt, c.server.waiting(h))
		}
		h.live(time.Duration(c.rng.Int64N(int64(30 * time.Second)))) // it was switched on again
	})
}
