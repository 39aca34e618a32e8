package quiet

import (
	"fmt"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
)

// What transport does, in numbers (internal/transport: uplinks.go, dial.go).
const (
	unackedMost = 3                // pulses that went by without an ack: instead of one more the agent gives the server up
	openWithin  = 15 * time.Second // connecting, TLS and Welcome
	retryFirst  = 500 * time.Millisecond
	retryMost   = 5 * time.Second
	roundTrips  = 4                      // of a handshake
	rto         = 200 * time.Millisecond // TCP's first retransmission; each further one waits twice as long
	oneShake    = 2 * time.Millisecond   // of the server's time for one handshake
)

// link is an agent's stream to the server.
type link struct {
	h         *host
	life      int // of the host
	n         int // streams so far
	id        string
	pulse     detect.Observation // the same each second
	connected bool
	unacked   int
	busyTill  time.Duration // segments before are still on their way: those behind them wait
	waiting   int           // pulses that TCP holds back
	failures  int
	thawed    []func() // what was to happen while the host was frozen
}

// beat is one tick of the agent's pulse.
func (h *host) beat() {
	l := &h.link
	if !l.connected || h.frozen > 0 {
		return
	}
	if l.unacked > unackedMost {
		l.giveUp()
		return
	}
	c := h.c
	switch {
	case h.hears(0) && h.speaks(0) && c.server.reachable():
		l.unacked = 0
		if c.server.paused {
			l.unacked = l.missed() // its kernel takes everything, but nobody acknowledges
		}
		if l.waiting > 0 {
			l.waiting++ // behind those that TCP still tries to send
			return
		}
		l.send()
	case h.speaks(0) && c.server.reachable():
		l.unacked++
		l.send()
	default:
		l.unacked++
		if l.waiting++; l.waiting == 1 {
			l.retransmit(rto)
		}
	}
}

// missed are the pulses since the server was paused.
func (l *link) missed() int { return int((l.h.c.now-l.h.c.server.pausedAt)/time.Second) + 1 }

// send sends one pulse; a lost segment is repeated, and those behind it wait.
func (l *link) send() {
	c := l.h.c
	arrives := c.now
	for wait := rto; !c.luck(); wait *= 2 {
		arrives += wait
	}
	if arrives = max(arrives, l.busyTill); arrives > c.now {
		l.busyTill = arrives
		pulse := l.pulse
		c.queue.add(arrives, func() { c.server.pulse(l.h, pulse) })
		return
	}
	c.server.pulse(l.h, l.pulse)
}

// retransmit tries again to send what waits, after a while.
func (l *link) retransmit(after time.Duration) {
	life, n := l.life, l.n
	l.h.c.in(after, func() {
		switch {
		case life != l.h.boots || n != l.n || !l.connected:
		case l.h.speaks(0) && l.h.c.server.reachable() && l.h.c.luck():
			for ; l.waiting > 0; l.waiting-- {
				l.h.c.server.pulse(l.h, l.pulse)
			}
		default:
			l.retransmit(2 * after)
		}
	})
}

// giveUp ends the stream at the agent's end. The server learns of it when a packet that says so gets through.
func (l *link) giveUp() {
	c, h, id := l.h.c, l.h, l.id
	l.connected, l.waiting, l.unacked = false, 0, 0
	var tell func(wait time.Duration)
	tell = func(wait time.Duration) {
		if h.speaks(0) && c.server.reachable() && c.luck() {
			c.server.streamLost(h, id)
		} else if wait < 30*time.Second {
			c.in(wait, func() { tell(2 * wait) })
		}
	}
	tell(rto)
	l.retry()
}

// retry dials after a back-off.
func (l *link) retry() {
	most := min(retryFirst<<min(l.failures, 4), retryMost)
	l.failures++
	l.h.c.in(most/10+time.Duration(l.h.c.rng.Int64N(int64(most*9/10))), l.dial(0))
}

// dial sends SYNs after 0, 1, 3 and 7 s.
func (l *link) dial(since time.Duration) func() {
	life := l.life
	return func() {
		h := l.h
		switch {
		case life != h.boots || h.dead:
		case h.frozen > 0:
			l.thawed = append(l.thawed, l.dial(since))
		case h.hears(0) && h.speaks(0) && h.c.server.reachable() && h.c.luck() && h.c.luck():
			l.shake(openWithin - since)
		case 2*since+time.Second < openWithin:
			h.c.in(since+time.Second, l.dial(2*since+time.Second))
		default:
			h.c.in(openWithin-since, l.again)
		}
	}
}

// shake does the handshake, with the server's turn and what packet loss adds.
func (l *link) shake(within time.Duration) {
	c, h, life := l.h.c, l.h, l.life
	took := c.server.turn() - c.now
	for range roundTrips {
		for wait := rto; !c.roundTrip(); wait *= 2 {
			took += wait
		}
	}
	if took > within {
		c.in(within, l.again)
		return
	}
	c.in(took, func() {
		switch {
		case life != h.boots || h.dead:
		case h.frozen > 0:
			l.thawed = append(l.thawed, func() { l.shake(within) })
		case c.server.paused && c.server.resumes-c.now > within-took, !h.hears(0) || !h.speaks(0) || !c.server.reachable():
			c.in(within-took, l.again)
		case c.server.paused:
			c.queue.add(c.server.resumes, func() { l.shake(within) })
		default:
			l.open()
		}
	})
}

func (l *link) again() {
	if l.life == l.h.boots && !l.h.dead {
		l.retry()
	}
}

// open: the Hello is the first pulse.
func (l *link) open() {
	l.n++
	l.id = fmt.Sprintf("%d.%d", l.life, l.n)
	l.pulse = detect.Pulse{Host: l.h.name, Boot: l.h.boot, Stream: l.id, Server: serverName}
	l.connected, l.waiting, l.unacked, l.failures, l.busyTill = true, 0, 0, 0, 0
	l.h.c.server.pulse(l.h, l.pulse)
}

func (l *link) thaw() {
	waited := l.thawed
	l.thawed = nil
	for _, do := range waited {
		do()
	}
	l.h.beat()
}
