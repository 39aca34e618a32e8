package quiet

import (
	"fmt"

	"github.com/ninelives-ha/ninelives/internal/detect"
)

// storiesMost bounds Result.Stories.
const storiesMost = 20

// seen is what detection last said of a host.
type seen struct {
	verdict detect.Verdict
	suspect bool
	life    int // of which a new boot was told
}

// see compares what detection says with what is true.
func (c *cloud) see(h *host, ch detect.Change) {
	last := &c.server.seen[h.at]
	suspects, judges := ch.Suspect && !last.suspect, ch.Verdict != last.verdict
	last.verdict, last.suspect = ch.Verdict, ch.Suspect
	switch {
	case h.dead:
		c.found(h, ch)
	case suspects:
		c.result.Suspicions++
		if !h.touched() {
			c.result.Alone++
		}
	}
	if h.dead || !judges {
		return
	}
	right := false
	switch ch.Verdict {
	case detect.Unknown, detect.Up, detect.Leaving:
		return
	case detect.Rebooted:
		right, last.life = h.boots > 1 && last.life != h.boots, h.boots
	case detect.Isolated:
		right = h.planeTroubled(0) || h.cut > 0
	case detect.Degraded:
		right = h.planeTroubled(1) || h.planeTroubled(2)
	case detect.Off, detect.Dead, detect.Hung, detect.AgentDown, detect.Contradiction:
	}
	if right {
		c.result.Right[ch.Verdict]++
		return
	}
	c.result.Wrong[ch.Verdict]++
	c.story("%v: living %s is %s: %s (frozen %d, cut %d, in %v, out %v, last trouble ended at %v)",
		c.now, h.name, ch.Verdict, ch.Reason, h.frozen, h.cut, h.lostIn, h.lostOut, h.troubledAt)
}

// found notes how long a death went without its verdict.
func (c *cloud) found(h *host, ch detect.Change) {
	if h.diedAt < 0 || ch.Suspect || ch.Verdict != detect.Off && ch.Verdict != detect.Dead {
		return
	}
	took := c.now - h.diedAt
	h.diedAt = -1
	if h.expected == detect.Off {
		c.result.Off = append(c.result.Off, took)
	} else {
		c.result.Dead = append(c.result.Dead, took)
	}
}

func (c *cloud) story(format string, args ...any) {
	if len(c.result.Stories) < storiesMost {
		c.result.Stories = append(c.result.Stories, fmt.Sprintf(format, args...))
	}
}
