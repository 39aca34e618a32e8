package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/peerv1"
)

const (
	askEvery   = 250 * time.Millisecond // a quarter of a pulse: relayed life comes hardly later than our own
	askAgain   = time.Second            // after a server that didn't answer
	answerIn   = 3 * time.Second        // a server that owes answers for longer is asked on a new connection
	blindAfter = 5 * time.Second        // as long as this we may see less than half of what another one sees
)

// relays is what the other servers tell this one, while it leads.
type relays struct {
	s *Server

	mu     sync.Mutex
	others map[string]*other
}

// other is one server as it answers.
type other struct {
	at     time.Time // of its last answer; zero: none on this connection
	sees   int
	doubts bool
}

// run asks the other servers as long as a reign lasts, and gives the leadership up when this server is half blind.
func (v *relays) run(r *reign) {
	if v.s.listener == nil {
		return
	}
	v.mu.Lock()
	v.others = map[string]*other{}
	v.mu.Unlock()
	asked := map[string]context.CancelFunc{}
	var asking sync.WaitGroup
	defer asking.Wait()
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	var blind blindness
	for {
		there := map[string]bool{}
		for _, card := range v.s.cards.all() {
			at := card.Name + " " + few(card.Agents) // a server that moved is asked at its new place
			if there[at] = card.Name != v.s.cfg.Name && len(card.Agents) > 0; there[at] && asked[at] == nil {
				ctx, cancel := context.WithCancel(r.ctx)
				asked[at] = cancel
				asking.Go(func() { v.hear(ctx, card) })
			}
		}
		for at, cancel := range asked {
			if !there[at] {
				cancel()
				delete(asked, at)
			}
		}
		if to := blind.judge(time.Now(), v.s.sight.count(), v.s.ears.doubts(), v.answers(time.Now())); len(to) > 0 {
			v.handOver(r, to)
		}
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// hear asks one server until ctx ends.
func (v *relays) hear(ctx context.Context, card ServerCard) {
	trouble := ""
	for turn := 0; ctx.Err() == nil; turn++ {
		err := v.hearAt(ctx, card.Name, card.Agents[turn%len(card.Agents)])
		if ctx.Err() == nil && err != nil && err.Error() != trouble {
			trouble = err.Error()
			v.s.log.Warn("another server doesn't tell what it hears; only this one's own ears count meanwhile", "peer", card.Name, "error", err)
		}
		v.note(card.Name, &other{})
		select {
		case <-ctx.Done():
		case <-time.After(askAgain):
		}
	}
}

// hearAt asks over one connection until it breaks.
func (v *relays) hearAt(ctx context.Context, name, addr string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	peer, err := transport.DialPeer(addr, v.credentials, v.s.o.DialPeer)
	if err != nil {
		return err
	}
	defer peer.Close()
	stream, err := peer.Hear(ctx)
	if err != nil {
		return err
	}
	l := &listening{v: v, name: name, sent: map[uint64]time.Time{}, streams: map[uint32]detect.Pulse{}}
	owed := time.AfterFunc(answerIn, func() { cancel(fmt.Errorf("%s has not answered for %s", name, answerIn)) })
	defer owed.Stop()
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() {
		tick := time.NewTicker(askEvery)
		defer tick.Stop()
		for turn := uint64(1); ; turn++ {
			l.asks(turn, time.Now())
			if stream.Send(&peerv1.Ask{Turn: turn, Epoch: v.s.Epoch()}) != nil {
				return // Recv has the reason
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	for {
		heard, err := stream.Recv()
		if err != nil {
			cancel(err)
			return context.Cause(ctx)
		}
		owed.Reset(answerIn)
		l.take(heard, time.Now())
	}
}

func (v *relays) credentials() *pki.Credentials { return v.s.cred }

func (v *relays) note(name string, o *other) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.others[name] = o
}

// answers are the others that answered within the last second and a half.
func (v *relays) answers(now time.Time) map[string]other {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := map[string]other{}
	for name, o := range v.others {
		if !o.at.IsZero() && now.Sub(o.at) < 6*askEvery {
			out[name] = *o
		}
	}
	return out
}

// handOver gives the leadership to a server that sees more.
func (v *relays) handOver(r *reign, to []string) {
	v.s.log.Warn("this server hears less than half of the hosts that others hear; it hands the leadership over", "hears", v.s.sight.count(), "to", few(to))
	ctx, cancel := context.WithTimeout(r.ctx, 2*electionTimeout+time.Second)
	defer cancel()
	if err := v.s.store.Resign(ctx, to...); err != nil && r.ctx.Err() == nil {
		v.s.log.Warn("the leadership was not taken over; tried again", "error", err)
	}
}

// listening is one connection's answers: what they mean, and how old they are at most.
type listening struct {
	v    *relays
	name string

	mu      sync.Mutex
	sent    map[uint64]time.Time    // Asks whose next answer is owed
	streams map[uint32]detect.Pulse // as each pulse on them is told to detection
}

func (l *listening) asks(turn uint64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[turn] = now
}

// take passes an answer's life on to detection. It was heard after Ask `since` had come in, so it is no older than that
// Ask. What is older than a pulse may be on its way, and what comes from a server that was paused or slow, isn't life.
func (l *listening) take(m *peerv1.Heard, now time.Time) {
	l.mu.Lock()
	asked, known := l.sent[m.GetSince()]
	for turn := range l.sent {
		if known && turn < m.GetSince() {
			delete(l.sent, turn)
		}
	}
	l.mu.Unlock()
	ears := l.v.s.ears
	for _, st := range m.GetStreams() {
		boot, err := transport.BootFromBytes(st.GetBoot())
		if err != nil {
			continue
		}
		l.streams[st.GetNumber()] = detect.Pulse{Host: st.GetHost(), Boot: boot.String(), Stream: st.GetId(), Server: l.name}
	}
	if fresh := known && now.Sub(asked) <= l.v.s.times.InFlight && !m.GetDoubts(); fresh {
		for _, n := range m.GetPulses() {
			if p, ok := l.streams[n]; ok {
				ears.step(p)
			}
		}
	}
	for _, lost := range m.GetLost() {
		if p, ok := l.streams[lost.GetNumber()]; ok && lost.GetSaid() {
			ears.step(detect.StreamLost{Host: p.Host, Stream: p.Stream, Server: p.Server, Reset: lost.GetReset_()})
		}
		delete(l.streams, lost.GetNumber())
	}
	l.v.note(l.name, &other{at: now, sees: int(m.GetSees()), doubts: m.GetDoubts()})
}

// blindness is how long this server has seen less than half of what another one sees.
type blindness struct{ since time.Time }

// judge gives the servers that should lead instead, once that has lasted blindAfter. Who doubts himself, we or another
// one, has no vote: his count means nothing.
func (b *blindness) judge(now time.Time, sees int, doubts bool, others map[string]other) []string {
	most := 0
	for _, o := range others {
		if !o.doubts {
			most = max(most, o.sees)
		}
	}
	if doubts || sees*2 >= most {
		b.since = time.Time{}
		return nil
	}
	if b.since.IsZero() {
		b.since = now
	}
	if now.Sub(b.since) < blindAfter {
		return nil
	}
	b.since = now // if nobody takes over, not again at once
	var to []string
	for name, o := range others {
		if !o.doubts && o.sees > sees && o.sees*2 >= most {
			to = append(to, name)
		}
	}
	slices.Sort(to)
	return to
}
