package server

import (
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// poolFor is how long the list of witnesses is good. Whether one still lives is asked again when it is used.
const poolFor = time.Second

// peer is a host on one plane.
type peer struct {
	host, address, rack string
	port                uint32
}

func (p peer) wire() *agentv1.ProbeTarget {
	return &agentv1.ProbeTarget{Host: p.host, Address: p.address, ProbePort: p.port}
}

// apart reports whether two hosts are not in one rack, as far as racks are known.
func (p peer) apart(rack string) bool { return p.rack == "" || p.rack != rack }

// pool are the hosts that can be witnesses and controls: connected, up without doubt.
type pool struct {
	s     *Server
	at    time.Time
	swept time.Time
	up    map[detect.Plane][]peer // by name
}

// candidates returns the pool, made anew when it has had its time: with 10,000 hosts it costs some milliseconds.
func (w *witness) candidates() *pool {
	w.mu.Lock()
	now, fresh := w.pool, time.Since(w.pool.at) < poolFor
	w.mu.Unlock()
	if fresh {
		return now
	}
	next := &pool{s: w.s, at: time.Now(), swept: now.swept, up: map[detect.Plane][]peer{}}
	for host, a := range w.s.agents.connected() {
		if !w.s.ears.up(host) {
			continue
		}
		for _, p := range a.planes() {
			next.up[p] = append(next.up[p], peerOf(a, p))
		}
	}
	for _, peers := range next.up {
		slices.SortFunc(peers, func(a, b peer) int { return strings.Compare(a.host, b.host) })
	}
	w.mu.Lock()
	w.pool = next
	w.mu.Unlock()
	return next
}

func peerOf(a AgentRecord, p detect.Plane) peer {
	return peer{host: a.Host, address: a.Planes[string(p)], rack: a.Labels["rack"], port: a.ProbePort}
}

// targets are the hosts that can be asked for on a plane.
func (p *pool) targets(plane detect.Plane, hosts []string) []peer {
	var out []peer
	for _, h := range hosts {
		if a, ok := p.s.agents.of(h); ok && a.Planes[string(plane)] != "" {
			out = append(out, peerOf(a, plane))
		}
	}
	return out
}

// controlsFor are hosts that a prober in the given rack should reach, beside its targets.
func (p *pool) controlsFor(plane detect.Plane, prober, rack string, turn int, list []peer) []peer {
	up := p.up[plane]
	var out []peer
	for i := range up {
		c := up[(turn+i)%len(up)]
		if len(out) == controls {
			break
		}
		if c.host != prober && c.apart(rack) && !slices.ContainsFunc(list, func(t peer) bool { return t.host == c.host }) {
			out = append(out, c)
		}
	}
	return out
}
