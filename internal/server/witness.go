package server

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// Prober asks one address for life: ICMP echo and the agent's probe port, both with a fresh nonce.
type Prober interface {
	// Probe returns who answered within the context's deadline; no answer is AnswerNone, not an error.
	Probe(ctx context.Context, plane detect.Plane, address string, port uint32) detect.Answer
}

const (
	witnesses = 3 // agents asked about one host on one plane; the servers probe besides
	controls  = 3 // control hosts a witness must reach one of
)

// witness does what the detector wants while a host is suspect: probes by agents and by this server on each plane, and
// readings of the host's power.
type witness struct {
	s      *Server
	prober Prober

	mu      sync.Mutex
	readers map[string]context.CancelFunc // host → its power readers
	last    map[string]time.Time          // host+plane → last probe
	asked   map[uint64]asked
	turn    int
}

// asked is a probe order whose answer is awaited.
type asked struct {
	witness string
	at      time.Time
	hosts   map[string]bool
}

func newWitness(s *Server, p Prober) *witness {
	return &witness{s: s, prober: p, readers: map[string]context.CancelFunc{}, last: map[string]time.Time{}, asked: map[uint64]asked{}}
}

func (w *witness) run(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.serve(ctx, w.s.ears.wanted())
		}
	}
}

// serve starts what is wanted and ends what no longer is.
func (w *witness) serve(ctx context.Context, wants []detect.Want) {
	wanted := map[string]bool{}
	for _, want := range wants {
		if want.PowerEvery > 0 && w.s.reign.Load() != nil {
			wanted[want.Host] = true
			w.readPower(ctx, want)
		}
		for _, p := range want.Planes {
			if w.due(want.Host, p, want.ProbeEvery) {
				w.probe(ctx, want.Host, p)
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for host, stop := range w.readers {
		if !wanted[host] {
			stop()
			delete(w.readers, host)
		}
	}
	for id, a := range w.asked {
		if time.Since(a.at) > 10*time.Second {
			delete(w.asked, id)
		}
	}
}

func (w *witness) due(host string, p detect.Plane, every time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := host + "\x00" + string(p)
	if time.Since(w.last[key]) < every {
		return false
	}
	w.last[key] = time.Now()
	return true
}

// readPower reads all of a host's devices again and again until nobody wants it any more.
func (w *witness) readPower(ctx context.Context, want detect.Want) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, running := w.readers[want.Host]; running {
		return
	}
	m := w.s.fencing.of(want.Host)
	if m == nil {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	w.readers[want.Host] = stop
	for i, level := range m.levels {
		for _, d := range level {
			go fence.Watch(ctx, d, want.PowerEvery, func(r fence.Reading) {
				w.s.ears.step(detect.Power{
					Host: want.Host, Device: d.ID(), Via: d.Via(), Bound: w.s.fencing.bound(want.Host, d.ID()),
					State: powerState(r.State), Level: i + 1, Of: len(level),
				})
			})
		}
	}
}

func powerState(s fence.State) detect.PowerState {
	switch s {
	case fence.StateOn:
		return detect.PowerOn
	case fence.StateOff:
		return detect.PowerOff
	default:
		return detect.PowerUnknown
	}
}

// probe asks witnesses from other racks, and this server itself.
func (w *witness) probe(ctx context.Context, host string, p detect.Plane) {
	target, ok := w.s.agents.of(host)
	address := target.Planes[string(p)]
	if !ok || address == "" {
		return
	}
	peers := w.s.agents.connected()
	delete(peers, host)
	names := make([]string, 0, len(peers))
	for name, a := range peers {
		if as, ok := w.s.ears.assess(name); ok && !as.Suspect && as.Verdict == detect.Up && a.Planes[string(p)] != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	w.mu.Lock()
	w.turn++
	turn := w.turn
	w.mu.Unlock()
	picked := 0
	for i := range names {
		name := names[(turn+i)%len(names)]
		if picked == witnesses || sameRack(peers[name], target) && otherRack(names, peers, target) {
			continue
		}
		if w.order(name, peers, names, host, target, p) {
			picked++
		}
	}
	if p == detect.Management || w.s.o.ProbeAllPlanes {
		go w.probeMyself(ctx, host, target, peers, names, p)
	}
}

func sameRack(a, b AgentRecord) bool {
	return a.Labels["rack"] != "" && a.Labels["rack"] == b.Labels["rack"]
}

// otherRack reports whether a witness from another rack is to be had.
func otherRack(names []string, peers map[string]AgentRecord, target AgentRecord) bool {
	return slices.ContainsFunc(names, func(n string) bool { return !sameRack(peers[n], target) })
}

// controlsFor are hosts a prober must reach one of: alive, on the plane, outside its own rack where racks are known.
func controlsFor(prober AgentRecord, names []string, peers map[string]AgentRecord, except string, p detect.Plane) []*agentv1.ProbeTarget {
	var out []*agentv1.ProbeTarget
	for _, n := range names {
		if n == except || n == prober.Host || sameRack(peers[n], prober) || len(out) == controls {
			continue
		}
		out = append(out, &agentv1.ProbeTarget{Host: n, Address: peers[n].Planes[string(p)], ProbePort: peers[n].ProbePort})
	}
	return out
}

func (w *witness) order(name string, peers map[string]AgentRecord, names []string, host string, target AgentRecord, p detect.Plane) bool {
	control := controlsFor(peers[name], names, peers, host, p)
	if len(control) == 0 {
		return false
	}
	r := w.s.reign.Load()
	if r == nil {
		return false
	}
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails (Go 1.24 on)
	t := w.s.times
	w.s.agents.mu.Lock()
	w.s.agents.last++
	id := w.s.agents.last
	w.s.agents.mu.Unlock()
	w.mu.Lock()
	w.asked[id] = asked{witness: name, at: time.Now(), hosts: map[string]bool{host: true}}
	w.mu.Unlock()
	err := w.s.agents.send(name, &agentv1.FromServer{Kind: &agentv1.FromServer_Probe{Probe: &agentv1.ProbeOrder{
		Id: id, Epoch: uint64(r.epoch), DeadlineMs: uint32(t.WitnessWindow.Milliseconds()), Plane: string(p), Nonce: nonce, Controls: control,
		Targets: []*agentv1.ProbeTarget{{Host: host, Address: target.Planes[string(p)], ProbePort: target.ProbePort}},
	}}})
	return err == nil
}

// probed takes a witness's answer. It counts only for what was asked of it, and only while it is fresh.
func (w *witness) probed(from string, m *agentv1.Probed) {
	w.mu.Lock()
	a, ok := w.asked[m.GetOrderId()]
	delete(w.asked, m.GetOrderId())
	w.mu.Unlock()
	if !ok || a.witness != from || m.GetError() != "" || time.Since(a.at) > w.s.times.WitnessWindow+w.s.times.ProbeTimeout {
		return
	}
	valid := slices.ContainsFunc(m.GetControls(), func(r *agentv1.ProbeResult) bool { return answerOf(r.GetAnswer()) != detect.AnswerNone })
	for _, r := range m.GetResults() {
		if a.hosts[r.GetHost()] {
			w.s.ears.step(detect.Probe{Host: r.GetHost(), Plane: detect.Plane(m.GetPlane()), Prober: from, Answer: answerOf(r.GetAnswer()), Valid: valid})
		}
	}
}

// probeMyself is this server's own look; it is valid only if it reaches a control host at the same time.
func (w *witness) probeMyself(ctx context.Context, host string, target AgentRecord, peers map[string]AgentRecord, names []string, p detect.Plane) {
	if w.prober == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, w.s.times.ProbeTimeout)
	defer cancel()
	control := controlsFor(AgentRecord{Host: w.s.cfg.Host}, names, peers, host, p)
	reached := make(chan bool, len(control))
	for _, c := range control {
		go func() { reached <- w.prober.Probe(ctx, p, c.Address, c.ProbePort) != detect.AnswerNone }()
	}
	answer := w.prober.Probe(ctx, p, target.Planes[string(p)], target.ProbePort)
	valid := false
	for range control {
		valid = <-reached || valid
	}
	w.s.ears.step(detect.Probe{Host: host, Plane: p, Prober: w.s.cfg.Name, Answer: answer, Valid: valid})
}

func answerOf(a agentv1.ProbeAnswer) detect.Answer {
	switch a {
	case agentv1.ProbeAnswer_PROBE_ANSWER_KERNEL:
		return detect.AnswerKernel
	case agentv1.ProbeAnswer_PROBE_ANSWER_AGENT:
		return detect.AnswerAgent
	default:
		return detect.AnswerNone
	}
}
