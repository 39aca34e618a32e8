package transport

import (
	"sync"
	"time"
)

// pulseLog knows when the last pulses were sent. That is how an agent knows the age of an order without comparing
// clocks: the server says which pulse it had heard, so the order is younger than that pulse.
type pulseLog struct {
	mu    sync.Mutex
	seq   uint64
	times [256]time.Time // of pulse seq, at seq % 256: four minutes at one a second
}

// next counts a pulse that is sent now.
func (p *pulseLog) next(now time.Time) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq++
	p.times[p.seq%uint64(len(p.times))] = now
	return p.seq
}

// last is the last pulse sent, 0 for none.
func (p *pulseLog) last() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seq
}

// sent is when a pulse was sent; false if that is forgotten or has not happened.
func (p *pulseLog) sent(seq uint64) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if seq == 0 || seq > p.seq || p.seq-seq >= uint64(len(p.times)) {
		return time.Time{}, false
	}
	return p.times[seq%uint64(len(p.times))], true
}
