package server

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/planted"
	"github.com/ninelives-ha/ninelives/internal/witness"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// asked is a probe order whose answer is awaited.
type asked struct {
	witness.Look
	at time.Time
}

// order has agents look at hosts on one plane, each host by up to `each` of them: of other racks than the host's where
// there are such. Answers count always, so that witnesses are asked also where they have no control: who reaches
// nobody else says nothing with a silence, but everything with an answer.
func (w *watch) order(seen *pool, p detect.Plane, list []witness.Peer, each int) {
	r := w.s.reign.Load()
	up := seen.up[p]
	if r == nil || len(list) == 0 || len(up) == 0 {
		return
	}
	w.mu.Lock()
	w.turn += each
	turn := w.turn
	w.mu.Unlock()
	for _, c := range witness.Assign(up, list, turn, each) {
		if !w.s.ears.up(c.Witness.Host) {
			continue // it fell silent within the last second
		}
		w.send(uint64(r.epoch), asked{at: time.Now(), Look: witness.Look{
			Prober: c.Witness.Host, Rack: c.Witness.Rack, Plane: p, Targets: c.Targets,
			Controls: witness.Controls(up, c.Witness.Host, c.Witness.Rack, turn, c.Targets),
		}})
	}
}

func (w *watch) send(epoch uint64, a asked) {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails (Go 1.24 on)
	id := w.s.agents.nextOrder()
	w.mu.Lock()
	w.asked[id] = a
	w.mu.Unlock()
	err := w.s.agents.send(a.Prober, &agentv1.FromServer{Kind: &agentv1.FromServer_Probe{Probe: &agentv1.ProbeOrder{
		Id: id, Epoch: epoch, DeadlineMs: uint32(w.s.times.WitnessWindow.Milliseconds()), Plane: string(a.Plane), Nonce: nonce,
		Targets: probeTargets(a.Targets), Controls: probeTargets(a.Controls),
	}}})
	if err != nil {
		w.mu.Lock()
		delete(w.asked, id)
		w.mu.Unlock()
	}
}

func probeTargets(list []witness.Peer) (out []*agentv1.ProbeTarget) {
	for _, p := range list {
		out = append(out, &agentv1.ProbeTarget{Host: p.Host, Address: p.Address, ProbePort: p.Port})
	}
	return out
}

// probed takes a witness's answer. It counts only for what was asked of it, and only while it is fresh.
func (w *watch) probed(from string, m *agentv1.Probed) {
	w.mu.Lock()
	a, ok := w.asked[m.GetOrderId()]
	if ok = ok && a.Prober == from; ok {
		delete(w.asked, m.GetOrderId())
	}
	w.mu.Unlock()
	if !ok || m.GetError() != "" || time.Since(a.at) > w.s.times.WitnessWindow+w.s.times.ProbeTimeout {
		return
	}
	replies := map[string]witness.Reply{}
	for _, r := range append(m.GetResults(), m.GetControls()...) {
		if answer := answerOf(r.GetAnswer()); answer != detect.AnswerNone || replies[r.GetHost()].Answer == detect.AnswerNone {
			age := min(time.Duration(r.GetAgeMs())*time.Millisecond, time.Since(a.at)) // an answer is no older than its question
			replies[r.GetHost()] = witness.Reply{Answer: answer, Age: age}
		}
	}
	w.tell(a.Look, replies)
}

// tell passes what a witness saw to detection.
func (w *watch) tell(l witness.Look, replies map[string]witness.Reply) {
	for _, p := range l.Says(replies) {
		p.Valid = p.Valid || planted.ValidWitnesses
		w.s.ears.step(p)
	}
}

// probeMyself is this server's own look at hosts on one plane.
func (w *watch) probeMyself(ctx context.Context, seen *pool, p detect.Plane, list []witness.Peer) {
	if w.prober == nil || len(list) == 0 {
		return
	}
	own := w.s.ownHost()
	record, _ := w.s.agents.of(own)
	rack := record.Labels["rack"]
	l := witness.Look{Prober: w.s.cfg.Name, Rack: rack, Plane: p}
	for _, t := range list {
		if own == "" || t.Host != own { // a machine always reaches itself
			l.Targets = append(l.Targets, t)
		}
	}
	l.Controls = witness.Controls(seen.up[p], own, rack, w.turn, l.Targets)
	var mu sync.Mutex
	replies, ended := map[string]witness.Reply{}, map[string]time.Time{}
	var questions sync.WaitGroup
	bounded, cancel := context.WithTimeout(ctx, w.s.times.ProbeTimeout)
	for _, t := range slices.Concat(l.Controls, l.Targets) {
		select {
		case w.slots <- struct{}{}:
		default:
			continue // too many questions are under way: of this host nothing is said
		}
		questions.Add(1)
		w.work.Go(func() {
			defer func() { <-w.slots; questions.Done() }()
			answer := w.prober.Probe(bounded, p, t.Address, t.Port)
			mu.Lock()
			defer mu.Unlock()
			replies[t.Host], ended[t.Host] = witness.Reply{Answer: answer}, time.Now()
		})
	}
	w.work.Go(func() {
		defer cancel()
		questions.Wait()
		if ctx.Err() == nil { // our own end is nobody's silence
			for host, at := range ended {
				replies[host] = witness.Reply{Answer: replies[host].Answer, Age: time.Since(at)}
			}
			w.tell(l, replies)
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
