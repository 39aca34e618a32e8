package witness

import (
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
)

// Pace remembers when each plane of each host was last looked at. Not safe for concurrent use.
type Pace struct {
	last  map[onPlane]time.Time
	swept time.Time
}

type onPlane struct {
	host  string
	plane detect.Plane
}

// NewPace makes a Pace that has seen nothing.
func NewPace() *Pace { return &Pace{last: map[onPlane]time.Time{}} }

// Due reports whether the last look is at least `every` ago, and counts this one if so.
func (p *Pace) Due(now time.Time, host string, plane detect.Plane, every time.Duration) bool {
	l := onPlane{host, plane}
	if last, looked := p.last[l]; looked && now.Sub(last) < every {
		return false
	}
	p.last[l] = now
	return true
}

// Wanted are the hosts that are due on each plane, of what detection wants.
func (p *Pace) Wanted(now time.Time, wants []detect.Want) map[detect.Plane][]string {
	due := map[detect.Plane][]string{}
	for _, want := range wants {
		for _, plane := range want.Planes {
			if p.Due(now, want.Host, plane, want.ProbeEvery) {
				due[plane] = append(due[plane], want.Host)
			}
		}
	}
	return due
}

// Forget drops what was looked at more than a minute ago; it works once a minute, however often it is called.
func (p *Pace) Forget(now time.Time) {
	if now.Sub(p.swept) <= time.Minute {
		return
	}
	p.swept = now
	for l, at := range p.last {
		if now.Sub(at) > time.Minute {
			delete(p.last, l)
		}
	}
}
