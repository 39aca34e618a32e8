package quiet

import (
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/witness"
)

// attempt is the time between two questions of one probe (internal/probe).
const (
	attempt  = 250 * time.Millisecond
	ownMost  = 256 // of the server's own questions under way
	ownProbe = -1  // the server's own probes as a source
)

// look is one look under way.
type look struct {
	witness.Look
	plane   int
	prober  *host // nil: the server
	reign   int
	at      time.Duration
	until   time.Duration
	pending []*host
	replies map[string]witness.Reply // with the time of each answer for its age, until they are told
}

// serve does what watch.serve does: probes and readings of power for what detection wants.
func (s *server) serve() {
	wants := s.d.Wanted(s.c.time())
	s.readPower(wants)
	if len(wants) == 0 {
		return
	}
	due := s.pace.Wanted(s.c.time(), wants)
	s.pace.Forget(s.c.time())
	for p, plane := range planes {
		list := s.peers(due[plane])
		s.order(p, list, witness.PerSuspect)
		if plane == detect.Management && len(list) > 0 {
			s.probeMyself(p, list)
		}
	}
}

// round does what watch.round does: one look at storage and tenant of every connected host.
func (s *server) round() {
	for p, plane := range planes {
		if plane == detect.Management {
			continue
		}
		var list []witness.Peer
		for _, h := range s.c.hosts {
			if h.link.connected && s.pace.Due(s.c.time(), h.name, plane, s.times.SlowProbeEvery/2) {
				list = append(list, h.peer)
			}
		}
		s.order(p, list, 1)
	}
}

func (s *server) peers(names []string) []witness.Peer {
	out := make([]witness.Peer, 0, len(names))
	for _, n := range names {
		out = append(out, s.c.named[n].peer)
	}
	return out
}

// candidates are the hosts that are connected and up; the list is good for a second.
func (s *server) candidates() []witness.Peer {
	if s.c.now-s.upAt < poolFor {
		return s.up
	}
	s.upAt, s.up = s.c.now, make([]witness.Peer, 0, len(s.c.hosts))
	for _, h := range s.c.hosts {
		if h.link.connected && s.d.Up(h.name) {
			s.up = append(s.up, h.peer)
		}
	}
	return s.up
}

func (s *server) order(p int, list []witness.Peer, each int) {
	up := s.candidates()
	if len(list) == 0 || len(up) == 0 {
		return
	}
	s.turnNo += each
	for _, ch := range witness.Assign(up, list, s.turnNo, each) {
		prober := s.c.named[ch.Witness.Host]
		if !s.d.Up(prober.name) || !s.reachable() || !prober.link.connected || !prober.hears(0) {
			continue // the order is lost, or would come too late
		}
		s.look(&look{
			plane: p, prober: prober, until: s.c.now + s.times.WitnessWindow,
			Look: witness.Look{
				Prober: prober.name, Rack: prober.peer.Rack, Plane: planes[p], Targets: ch.Targets,
				Controls: witness.Controls(up, prober.name, prober.peer.Rack, s.turnNo, ch.Targets),
			},
		})
	}
}

func (s *server) probeMyself(p int, list []witness.Peer) {
	list = list[:min(len(list), ownMost)]
	s.look(&look{
		plane: p, until: s.c.now + s.times.ProbeTimeout,
		Look: witness.Look{
			Prober: serverName, Plane: planes[p], Targets: list,
			Controls: witness.Controls(s.candidates(), "", "", s.turnNo, list),
		},
	})
}

func (s *server) look(l *look) {
	l.reign, l.at, l.replies = s.reign, s.c.now, make(map[string]witness.Reply, len(l.Targets)+len(l.Controls))
	for _, list := range [][]witness.Peer{l.Targets, l.Controls} {
		for _, p := range list {
			l.pending = append(l.pending, s.c.named[p.Host])
		}
	}
	s.ask(l)
}

// ask asks those that haven't answered yet, until all have or the time is over. The server's own questions rest while it
// is paused; what is due then is over at once when it goes on.
func (s *server) ask(l *look) {
	c := s.c
	if l.prober == nil && s.paused {
		c.queue.add(s.resumes, func() { s.ask(l) })
		return
	}
	if c.now < l.until {
		l.pending = slices.DeleteFunc(l.pending, func(h *host) bool {
			answer := s.answer(l, h)
			if answer != detect.AnswerNone {
				l.replies[h.name] = witness.Reply{Answer: answer, Age: c.now}
			}
			return answer == detect.AnswerAgent
		})
	}
	if len(l.pending) > 0 && c.now < l.until {
		c.in(min(attempt, l.until-c.now), func() { s.ask(l) })
		return
	}
	source := ownProbe
	if l.prober != nil {
		if !l.prober.speaks(0) || !l.prober.link.connected || !s.reachable() {
			return
		}
		source = l.prober.at
	}
	for _, h := range l.pending {
		l.replies[h.name] = witness.Reply{Answer: l.replies[h.name].Answer, Age: c.now} // the probe ends with its time
	}
	for name, r := range l.replies {
		l.replies[name] = witness.Reply{Answer: r.Answer, Age: c.now - r.Age}
	}
	s.deliver(source, func() { s.told(l) })
}

// answer is what one question comes back with. That all of up to eight questions of two kinds are lost by chance alone
// happens once in 10^22: of hosts without trouble the chance isn't drawn.
func (s *server) answer(l *look, target *host) detect.Answer {
	if l.prober == nil && !s.reachable() || l.prober != nil && !(l.prober.speaks(l.plane) && l.prober.hears(l.plane)) {
		return detect.AnswerNone
	}
	switch {
	case target.quiet():
		return detect.AnswerAgent
	case !target.hears(l.plane) || !target.speaks(l.plane):
		return detect.AnswerNone
	case s.c.roundTrip():
		return detect.AnswerAgent
	case s.c.roundTrip():
		return detect.AnswerKernel
	}
	return detect.AnswerNone
}

// told is what watch.probed and watch.tell do.
func (s *server) told(l *look) {
	if l.reign != s.reign || s.c.now-l.at > s.times.WitnessWindow+s.times.ProbeTimeout {
		return
	}
	for _, p := range l.Says(l.replies) {
		s.c.result.Probes++
		s.step(p)
	}
}
