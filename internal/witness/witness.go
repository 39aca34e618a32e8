// Package witness decides who looks at whom, and what a look is worth. It is pure: no clock, no network. The server
// carries the looks out; the simulations drive the same decisions in virtual time.
//
// A witness is a host (or a server) that probes a suspect host on one plane. That it got no answer counts only if, by the
// same look, it reached a host outside its own rack: who reaches nobody says nothing with a silence.
package witness

import (
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
)

const (
	// PerSuspect are the agents asked about one suspect on one plane; a server probes besides.
	PerSuspect = 3
	// PerOrder are the targets of one order; agents take 32 addresses, controls included.
	PerOrder = 24
	// controlsEach are the control hosts beside the targets of an order.
	controlsEach = 3
)

// Peer is a host on one plane.
type Peer struct {
	Host, Address, Rack string
	Port                uint32 // of the agent's probe port
}

// Apart reports whether the host is not in that rack, as far as racks are known.
func (p Peer) Apart(rack string) bool { return p.Rack == "" || p.Rack != rack }

// Chunk is what one witness is asked for at once.
type Chunk struct {
	Witness Peer
	Targets []Peer
}

// Assign shares targets among the hosts that are up, beginning with that at turn: as few witnesses as it takes, no more
// than PerOrder targets for each, nobody for itself, those of other racks before those of the target's own. Up to each
// witnesses look at one target.
func Assign(up, list []Peer, turn, each int) []Chunk {
	n := len(up)
	given := make([]Chunk, 0, each)
	place := make(map[int]int, each) // witness's place in up → in given
	start := 0                       // witnesses before have all they can take
	for _, t := range list {
		picked := 0
		for _, other := range []bool{true, false} {
			for i := start; i < n && picked < each; i++ {
				at := (turn + i) % n
				if up[at].Host == t.Host || up[at].Apart(t.Rack) != other {
					continue
				}
				k, begun := place[at]
				if begun && (len(given[k].Targets) == PerOrder || contains(given[k].Targets, t.Host)) {
					continue
				}
				if !begun {
					k = len(given)
					place[at] = k
					given = append(given, Chunk{Witness: up[at]})
				}
				given[k].Targets = append(given[k].Targets, t)
				picked++
			}
		}
		for start < n {
			if k, begun := place[(turn+start)%n]; !begun || len(given[k].Targets) < PerOrder {
				break
			}
			start++
		}
	}
	return given
}

// Controls are hosts, of those that are up, that a prober in the given rack should reach, beside its targets.
func Controls(up []Peer, prober, rack string, turn int, targets []Peer) []Peer {
	var out []Peer
	for i := range up {
		c := up[(turn+i)%len(up)]
		if len(out) == controlsEach {
			break
		}
		if c.Host != prober && c.Apart(rack) && !contains(targets, c.Host) {
			out = append(out, c)
		}
	}
	return out
}

func contains(list []Peer, host string) bool {
	return slices.ContainsFunc(list, func(p Peer) bool { return p.Host == host })
}

// Look is one prober's look at some hosts on one plane.
type Look struct {
	Prober, Rack string
	Plane        detect.Plane
	Targets      []Peer
	Controls     []Peer
}

// Reply is what came back from one host.
type Reply struct {
	Answer detect.Answer
	Age    time.Duration // of an answer: how long ago it came, at least, on the prober's clock
}

// Says turns the replies, by host, into what detection is told of the targets; of hosts that are missing there nothing
// is known. The prober was a valid witness for a target if it reached another host of those it was asked for, outside
// its own rack, at the same time.
func (l Look) Says(replies map[string]Reply) []detect.Probe {
	reached := map[string]bool{}
	for _, list := range [][]Peer{l.Targets, l.Controls} {
		for _, p := range list {
			if replies[p.Host].Answer != detect.AnswerNone && p.Apart(l.Rack) {
				reached[p.Host] = true
			}
		}
	}
	out := make([]detect.Probe, 0, len(l.Targets))
	for _, t := range l.Targets {
		reply, asked := replies[t.Host]
		if !asked {
			continue
		}
		valid := len(reached) > 1 || len(reached) == 1 && !reached[t.Host]
		out = append(out, detect.Probe{Host: t.Host, Plane: l.Plane, Prober: l.Prober, Answer: reply.Answer, Age: reply.Age, Valid: valid})
	}
	return out
}
