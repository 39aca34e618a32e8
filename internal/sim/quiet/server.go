package quiet

import (
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/witness"
)

// What internal/server does, in numbers (ears.go, watch.go, pool.go, inventory.go).
const (
	serverName    = "server-1"
	serveEvery    = 100 * time.Millisecond
	poolFor       = time.Second
	servicesEvery = 10 * time.Second
	restartTakes  = 2 * time.Second
	oneItem       = 10 * time.Microsecond // of a resumed server's time for one thing that had waited
)

// server is the leading server: the shell of internal/server around the detector, in virtual time.
type server struct {
	c     *cloud
	times detect.Times
	d     *detect.Detector
	loop  detect.Loop
	pace  *witness.Pace
	reign int // looks and readings of an earlier one say nothing

	up      []witness.Peer
	upAt    time.Duration
	turnNo  int
	readers map[string]*reader
	shaken  time.Duration // when the last handshake will be done

	severed           int
	down, paused      bool
	pausedAt, resumes time.Duration
	backlog           map[int]*backlog // by source
	sources           []int            // of the backlog, in the order of entry

	seen []seen // by host: what was last told of it
}

// backlog is what one source has sent to a server that doesn't listen.
type backlog struct{ items []func() }

func newServer(c *cloud) *server {
	times, err := detect.Derive(detect.Config{})
	if err != nil {
		panic(err) // the defaults are derivable: a test holds this
	}
	if c.o.DeadAfter > 0 {
		times.DeadTwoPlanes, times.DeadOnePlane = c.o.DeadAfter, c.o.DeadAfter
	}
	s := &server{c: c, times: times, pace: witness.NewPace(), readers: map[string]*reader{}, backlog: map[int]*backlog{}, upAt: -poolFor}
	s.begin()
	return s
}

// begin makes a detector that knows all hosts by their records, and has heard none.
func (s *server) begin() {
	s.d, s.loop, s.seen = detect.New(s.times), detect.Loop{}, make([]seen, len(s.c.hosts))
	for _, h := range s.c.hosts {
		known := detect.HostKnown{Host: h.name, Zone: "nova", Planes: planes[:], Protected: true}
		if s.c.now > 0 {
			known.Boot = h.boot
		}
		s.d.Step(s.c.time(), known)
	}
}

func (s *server) schedule() {
	s.every(detect.TickEvery, func() { s.step(detect.Tick{}) })
	s.every(serveEvery, s.serve)
	s.every(s.times.SlowProbeEvery, s.round)
	s.every(servicesEvery, s.services)
}

func (s *server) every(d time.Duration, do func()) {
	s.c.in(d, func() {
		if !s.paused && !s.down {
			do()
		}
		s.every(d, do)
	})
}

// step is what ears.step does.
func (s *server) step(o detect.Observation) {
	now := s.c.time()
	if late := s.loop.Late(now); late > 0 && !s.c.o.Denies {
		s.d.Step(now, detect.Late{By: late})
	}
	if _, round := o.(detect.Tick); round {
		s.loop.Ticked(now)
	}
	for _, ch := range s.d.Step(now, o) {
		s.c.see(s.c.named[ch.Host], ch)
	}
}

// deliver lets what a source sends wait while the server is paused, or while earlier things of that source do.
func (s *server) deliver(source int, do func()) {
	b := s.backlog[source]
	switch {
	case b == nil && !s.paused:
		do()
		return
	case b == nil:
		b = &backlog{}
		s.backlog[source] = b
		s.sources = append(s.sources, source)
	}
	b.items = append(b.items, do)
}

func (s *server) pulse(h *host, o detect.Observation) {
	s.c.result.Pulses++
	if !s.paused && len(s.backlog) == 0 {
		s.step(o)
		return
	}
	s.deliver(h.at, func() { s.step(o) })
}

func (s *server) streamLost(h *host, id string) {
	reset := s.c.rng.IntN(2) == 0
	s.deliver(h.at, func() { s.step(detect.StreamLost{Host: h.name, Stream: id, Server: serverName, Reset: reset}) })
}

// turn is when the server has done one more handshake.
func (s *server) turn() time.Duration {
	s.shaken = max(s.shaken, s.c.now) + oneShake
	return s.shaken
}

func (s *server) reachable() bool { return s.severed == 0 && !s.down }

// services reads Nova's records: over the server's network, too.
func (s *server) services() {
	if !s.reachable() {
		return
	}
	for _, h := range s.c.hosts {
		s.step(detect.Service{Host: h.name, UpdatedAt: h.report()})
	}
}

func (s *server) mishap(m Mishap) {
	if s.paused || s.down || s.severed > 0 {
		return
	}
	s.c.result.Mishaps[m.What]++
	switch m.What {
	case Paused:
		s.pause(m.Long(s.c.rng))
	case Severed:
		s.severed++
		s.c.in(m.Long(s.c.rng), func() { s.severed-- })
	case Replaced:
		s.takeover()
	case Restart:
		s.restart()
	}
}

// pause stops the process. When it goes on, its sources are heard in any order, and its loop ticks some time among them.
func (s *server) pause(long time.Duration) {
	s.paused, s.pausedAt, s.resumes = true, s.c.now, s.c.now+long
	s.c.in(long, func() {
		s.paused = false
		s.c.in(time.Duration(s.c.rng.Int64N(int64(2*time.Millisecond))), func() { s.step(detect.Tick{}) })
		s.c.rng.Shuffle(len(s.sources), func(i, j int) { s.sources[i], s.sources[j] = s.sources[j], s.sources[i] })
		after := time.Duration(0)
		for _, source := range s.sources {
			after += time.Duration(len(s.backlog[source].items)) * oneItem
			s.c.in(after, func() { s.drain(source) })
		}
		s.sources = nil
	})
}

// drain takes in what a source had sent. A pause that begins in between is another one's backlog.
func (s *server) drain(source int) {
	b := s.backlog[source]
	if s.paused {
		s.sources = append(s.sources, source)
		return
	}
	delete(s.backlog, source)
	for _, do := range b.items {
		do()
	}
}

// takeover: what the other server had under way is not this one's.
func (s *server) takeover() {
	s.reign++
	clear(s.readers)
	s.step(detect.Takeover{})
}

// restart ends all streams; the agents dial anew.
func (s *server) restart() {
	s.down = true
	for _, h := range s.c.hosts {
		if l := &h.link; l.connected {
			l.connected, l.waiting, l.unacked = false, 0, 0
			l.n++ // nothing of the old stream arrives
			l.retry()
		}
	}
	s.reign++
	clear(s.readers)
	s.c.in(restartTakes, func() {
		s.down = false
		s.begin()
		s.takeover()
	})
}

// knows reports whether detection counts the host as up.
func (s *server) knows(h *host) bool { return s.d.Up(h.name) }

func (s *server) waiting(h *host) string {
	as, _ := s.d.Assess(s.c.time(), h.name)
	return as.Verdict.String() + ": " + as.Reason + "; " + as.Waiting
}
