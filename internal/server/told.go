package server

import (
	"context"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/proto/peerv1"
)

// told is what this server tells another one, the leader mostly, of the hosts it hears. It looks at the links when it is
// asked, four times a second: pulses themselves cost nothing more.
type told struct {
	s *Server

	mu    sync.Mutex
	links map[*transport.Link]mention
	last  uint32 // number given last
	lost  []*peerv1.Lost
	turn  uint64 // the last Ask's
}

// mention is a link that was told of: by this number, up to this pulse.
type mention struct {
	number uint32
	seq    uint64
}

// peers answers what other servers ask of this one.
type peers struct {
	s *Server

	mu   sync.Mutex
	told map[*told]struct{}
}

var _ transport.PeerHandler = (*peers)(nil)

// Hear implements transport.PeerHandler.
func (p *peers) Hear(from string) (func(*peerv1.Ask) *peerv1.Heard, func()) {
	t := &told{s: p.s, links: map[*transport.Link]mention{}}
	p.mu.Lock()
	p.told[t] = struct{}{}
	p.mu.Unlock()
	p.s.log.Debug("another server asks what is heard here", "peer", from)
	return t.answer, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.told, t)
	}
}

// ended tells those who are told of links that one has ended; said if its peer's kernel said so.
func (p *peers) ended(l *transport.Link, said, reset bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := range p.told {
		t.ended(l, said, reset)
	}
}

// answer says on which links new pulses came since the Ask before. Each of these pulses was heard after that Ask had come
// in: the first answer only says who is there.
func (t *told) answer(ask *peerv1.Ask) *peerv1.Heard {
	t.s.heardEpoch(ask.GetEpoch())
	out := &peerv1.Heard{Sees: uint32(t.s.sight.count()), Doubts: t.s.ears.doubts()}
	links := t.s.agents.open()
	t.mu.Lock()
	defer t.mu.Unlock()
	out.Since, t.turn = t.turn, ask.GetTurn()
	for _, l := range links {
		seq := l.Heard()
		m, known := t.links[l]
		if !known {
			t.last++
			m.number = t.last
			boot := l.Boot()
			out.Streams = append(out.Streams, &peerv1.Stream{Number: m.number, Host: l.Host(), Boot: boot[:], Id: l.Remote()})
		} else if seq > m.seq {
			out.Pulses = append(out.Pulses, m.number)
		}
		m.seq = seq
		t.links[l] = m
	}
	out.Lost, t.lost = t.lost, nil
	return out
}

// ended notes that a link that was told of has ended.
func (t *told) ended(l *transport.Link, said, reset bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if m, known := t.links[l]; known {
		delete(t.links, l)
		t.lost = append(t.lost, &peerv1.Lost{Number: m.number, Reset_: reset, Said: said})
	}
}

// open are all links there are.
func (g *agents) open() []*transport.Link {
	g.mu.RLock()
	defer g.mu.RUnlock()
	out := make([]*transport.Link, 0, len(g.links))
	for _, of := range g.links {
		out = append(out, of...)
	}
	return out
}

// sight counts the hosts that this server hears itself.
type sight struct {
	s *Server

	mu    sync.Mutex
	seqs  map[*transport.Link]pulseAt
	round uint64
	n     int
}

// pulseAt is when a link's last new pulse was seen.
type pulseAt struct {
	seq   uint64
	at    time.Time
	round uint64 // the last look that found this link
}

func newSight(s *Server) *sight { return &sight{s: s, seqs: map[*transport.Link]pulseAt{}} }

// run looks once in half a pulse.
func (v *sight) run(ctx context.Context) {
	if v.s.listener == nil {
		return // one of a simulation: nobody asks
	}
	tick := time.NewTicker(v.s.times.Pulse / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			v.look(now, v.s.agents.open())
		}
	}
}

// look counts the hosts with a new pulse within the last two: one may be late, and the looks are half a pulse apart.
func (v *sight) look(now time.Time, links []*transport.Link) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.round++
	n, last := 0, ""
	for _, l := range links {
		p, known := v.seqs[l]
		if seq := l.Heard(); !known || seq > p.seq {
			p.seq, p.at = seq, now
		}
		p.round = v.round
		v.seqs[l] = p
		if now.Sub(p.at) <= 2*v.s.times.Pulse && l.Host() != last { // a host's links come one after the other
			n, last = n+1, l.Host()
		}
	}
	for l, p := range v.seqs {
		if p.round != v.round {
			delete(v.seqs, l)
		}
	}
	v.n = n
}

func (v *sight) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.n
}
