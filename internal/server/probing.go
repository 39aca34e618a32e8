package server

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// asked is a probe order whose answer is awaited.
type asked struct {
	witness, rack string
	plane         detect.Plane
	at            time.Time
	targets       []peer
	controls      []peer
}

// order has agents look at hosts on one plane, each host by up to `each` of them: of other racks than the host's where
// there are such. Answers count always, so that witnesses are asked also where they have no control: who reaches
// nobody else says nothing with a silence, but everything with an answer.
func (w *witness) order(seen *pool, p detect.Plane, list []peer, each int) {
	r := w.s.reign.Load()
	up := seen.up[p]
	if r == nil || len(list) == 0 || len(up) == 0 {
		return
	}
	w.mu.Lock()
	w.turn += each
	turn := w.turn
	w.mu.Unlock()
	for _, c := range assign(up, list, turn, each) {
		if !w.s.ears.up(c.witness.host) {
			continue // it fell silent within the last second
		}
		w.send(uint64(r.epoch), asked{
			witness: c.witness.host, rack: c.witness.rack, plane: p, at: time.Now(), targets: c.targets,
			controls: seen.controlsFor(p, c.witness.host, c.witness.rack, turn, c.targets),
		})
	}
}

// chunk is what one witness is asked for at once.
type chunk struct {
	witness peer
	targets []peer
}

// assign shares targets among witnesses, beginning with that at turn: as few witnesses as it takes, no more than
// `perOrder` for each, nobody for itself, those of other racks before those of the target's own.
func assign(up, list []peer, turn, each int) []chunk {
	n := len(up)
	given := make([]chunk, 0, each)
	place := make(map[int]int, each) // witness's place in up → in given
	start := 0                       // witnesses before have all they can take
	for _, t := range list {
		picked := 0
		for _, other := range []bool{true, false} {
			for i := start; i < n && picked < each; i++ {
				at := (turn + i) % n
				if up[at].host == t.host || up[at].apart(t.rack) != other {
					continue
				}
				k, begun := place[at]
				if begun && (len(given[k].targets) == perOrder || slices.ContainsFunc(given[k].targets, func(o peer) bool { return o.host == t.host })) {
					continue
				}
				if !begun {
					k = len(given)
					place[at] = k
					given = append(given, chunk{witness: up[at]})
				}
				given[k].targets = append(given[k].targets, t)
				picked++
			}
		}
		for start < n {
			if k, begun := place[(turn+start)%n]; !begun || len(given[k].targets) < perOrder {
				break
			}
			start++
		}
	}
	return given
}

func (w *witness) send(epoch uint64, a asked) {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails (Go 1.24 on)
	id := w.s.agents.nextOrder()
	w.mu.Lock()
	w.asked[id] = a
	w.mu.Unlock()
	err := w.s.agents.send(a.witness, &agentv1.FromServer{Kind: &agentv1.FromServer_Probe{Probe: &agentv1.ProbeOrder{
		Id: id, Epoch: epoch, DeadlineMs: uint32(w.s.times.WitnessWindow.Milliseconds()), Plane: string(a.plane), Nonce: nonce,
		Targets: probeTargets(a.targets), Controls: probeTargets(a.controls),
	}}})
	if err != nil {
		w.mu.Lock()
		delete(w.asked, id)
		w.mu.Unlock()
	}
}

func probeTargets(list []peer) (out []*agentv1.ProbeTarget) {
	for _, p := range list {
		out = append(out, p.wire())
	}
	return out
}

// probed takes a witness's answer. It counts only for what was asked of it, and only while it is fresh.
func (w *witness) probed(from string, m *agentv1.Probed) {
	w.mu.Lock()
	a, ok := w.asked[m.GetOrderId()]
	if ok = ok && a.witness == from; ok {
		delete(w.asked, m.GetOrderId())
	}
	w.mu.Unlock()
	if !ok || m.GetError() != "" || time.Since(a.at) > w.s.times.WitnessWindow+w.s.times.ProbeTimeout {
		return
	}
	answers := map[string]detect.Answer{}
	for _, r := range append(m.GetResults(), m.GetControls()...) {
		if answer := answerOf(r.GetAnswer()); answer != detect.AnswerNone || answers[r.GetHost()] == detect.AnswerNone {
			answers[r.GetHost()] = answer
		}
	}
	w.tell(a, answers)
}

// tell passes what a witness saw to detection. It was a valid witness for a target if it reached another host of
// those it was asked for, outside its own rack, at the same time.
func (w *witness) tell(a asked, answers map[string]detect.Answer) {
	reached := map[string]bool{}
	for _, p := range slices.Concat(a.targets, a.controls) {
		if answers[p.host] != detect.AnswerNone && p.apart(a.rack) {
			reached[p.host] = true
		}
	}
	for _, t := range a.targets {
		answer, asked := answers[t.host]
		if !asked {
			continue
		}
		valid := len(reached) > 1 || len(reached) == 1 && !reached[t.host]
		w.s.ears.step(detect.Probe{Host: t.host, Plane: a.plane, Prober: a.witness, Answer: answer, Valid: valid})
	}
}

// probeMyself is this server's own look at hosts on one plane.
func (w *witness) probeMyself(ctx context.Context, seen *pool, p detect.Plane, list []peer) {
	if w.prober == nil || len(list) == 0 {
		return
	}
	own := w.s.ownHost()
	record, _ := w.s.agents.of(own)
	rack := record.Labels["rack"]
	a := asked{witness: w.s.cfg.Name, rack: rack, plane: p, at: time.Now()}
	for _, t := range list {
		if own == "" || t.host != own { // a machine always reaches itself
			a.targets = append(a.targets, t)
		}
	}
	a.controls = seen.controlsFor(p, own, rack, w.turn, a.targets)
	var mu sync.Mutex
	answers := map[string]detect.Answer{}
	var questions sync.WaitGroup
	bounded, cancel := context.WithTimeout(ctx, w.s.times.ProbeTimeout)
	for _, t := range slices.Concat(a.controls, a.targets) {
		select {
		case w.slots <- struct{}{}:
		default:
			continue // too many questions are under way: of this host nothing is said
		}
		questions.Add(1)
		w.work.Go(func() {
			defer func() { <-w.slots; questions.Done() }()
			answer := w.prober.Probe(bounded, p, t.address, t.port)
			mu.Lock()
			defer mu.Unlock()
			answers[t.host] = answer
		})
	}
	w.work.Go(func() {
		defer cancel()
		questions.Wait()
		if ctx.Err() == nil { // our own end is nobody's silence
			w.tell(a, answers)
		}
	})
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
