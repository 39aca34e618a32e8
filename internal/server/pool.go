package server

import (
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/witness"
)

// poolFor is how long the list of witnesses is good. Whether one still lives is asked again when it is used.
const poolFor = time.Second

// pool are the hosts that can be witnesses and controls: connected, up without doubt.
type pool struct {
	s  *Server
	at time.Time
	up map[detect.Plane][]witness.Peer // by name
}

// candidates returns the pool, made anew when it has had its time: with 10,000 hosts it costs some milliseconds.
func (w *watch) candidates() *pool {
	w.mu.Lock()
	now, fresh := w.pool, time.Since(w.pool.at) < poolFor
	w.mu.Unlock()
	if fresh {
		return now
	}
	next := &pool{s: w.s, at: time.Now(), up: map[detect.Plane][]witness.Peer{}}
	w.s.agents.each(func(a AgentRecord) {
		for p := range a.Planes {
			next.up[detect.Plane(p)] = append(next.up[detect.Plane(p)], peerOf(a, detect.Plane(p)))
		}
	})
	for p, peers := range next.up {
		next.up[p] = slices.DeleteFunc(peers, func(c witness.Peer) bool { return !w.s.ears.up(c.Host) })
	}
	for _, peers := range next.up {
		slices.SortFunc(peers, func(a, b witness.Peer) int { return strings.Compare(a.Host, b.Host) })
	}
	w.mu.Lock()
	w.pool = next
	w.mu.Unlock()
	return next
}

func peerOf(a AgentRecord, p detect.Plane) witness.Peer {
	return witness.Peer{Host: a.Host, Address: a.Planes[string(p)], Rack: a.Labels["rack"], Port: a.ProbePort}
}

// targets are the hosts that can be asked for on a plane.
func (p *pool) targets(plane detect.Plane, hosts []string) []witness.Peer {
	var out []witness.Peer
	for _, h := range hosts {
		if a, ok := p.s.agents.of(h); ok && a.Planes[string(plane)] != "" {
			out = append(out, peerOf(a, plane))
		}
	}
	return out
}
