package server

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/witness"
)

// Prober asks one address for life: ICMP echo and the agent's probe port, both with a fresh nonce.
type Prober interface {
	// Probe returns who answered within the context's deadline; no answer is AnswerNone, not an error.
	Probe(ctx context.Context, plane detect.Plane, address string, port uint32) detect.Answer
}

const (
	serveEvery = 100 * time.Millisecond
	ownProbes  = 256 // this server's own questions under way
	askedFor   = 10 * time.Second
)

// watch does what the detector wants: while a host is suspect, probes by agents and by this server on each plane and
// readings of the host's power; at all other times one look at each plane of each host every few seconds, by one agent.
type watch struct {
	s      *Server
	prober Prober
	slots  chan struct{} // this server's own questions
	work   sync.WaitGroup

	mu      sync.Mutex
	readers map[string]*reader
	pace    *witness.Pace
	asked   map[uint64]asked
	pool    *pool
	turn    int
}

func newWatch(s *Server, p Prober) *watch {
	return &watch{
		s: s, prober: p, slots: make(chan struct{}, ownProbes), readers: map[string]*reader{}, pace: witness.NewPace(),
		asked: map[uint64]asked{}, pool: &pool{},
	}
}

// run serves until ctx ends, and returns when all that it began has ended.
func (w *watch) run(ctx context.Context) {
	defer w.work.Wait()
	tick, slow := time.NewTicker(serveEvery), time.NewTicker(w.s.times.SlowProbeEvery)
	defer tick.Stop()
	defer slow.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.s.stalled()
			w.serve(ctx, w.s.ears.wanted())
		case <-slow.C:
			w.s.stalled()
			w.round()
		}
	}
}

// serve starts what is wanted and ends what no longer is.
func (w *watch) serve(ctx context.Context, wants []detect.Want) {
	power := map[string]time.Duration{}
	leads := w.s.reign.Load() != nil
	for _, want := range wants {
		if want.PowerEvery > 0 && leads {
			power[want.Host] = want.PowerEvery
		}
	}
	w.mu.Lock()
	due := w.pace.Wanted(time.Now(), wants)
	w.mu.Unlock()
	w.readPower(ctx, power)
	w.forget()
	for p, hosts := range due {
		seen := w.candidates()
		list := seen.targets(p, hosts)
		w.order(seen, p, list, witness.PerSuspect)
		if p == detect.Management || w.s.o.ProbeAllPlanes {
			w.probeMyself(ctx, seen, p, list)
		}
	}
}

// round looks once at each plane of all hosts that pulse: a silent storage network is noticed by nobody else. Pulses
// themselves are life on management.
func (w *watch) round() {
	if w.s.reign.Load() == nil {
		return
	}
	seen := w.candidates()
	for _, p := range []detect.Plane{detect.Storage, detect.Tenant} {
		var hosts []string
		w.s.agents.each(func(a AgentRecord) {
			if a.Planes[string(p)] != "" {
				hosts = append(hosts, a.Host)
			}
		})
		hosts = slices.DeleteFunc(hosts, func(h string) bool { return !w.due(h, p, w.s.times.SlowProbeEvery/2) })
		w.order(seen, p, seen.targets(p, hosts), 1)
	}
}

func (w *watch) due(host string, p detect.Plane, every time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pace.Due(time.Now(), host, p, every)
}

// forget drops what has had its time.
func (w *watch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for id, a := range w.asked {
		if now.Sub(a.at) > askedFor {
			delete(w.asked, id)
		}
	}
	w.pace.Forget(now)
}
