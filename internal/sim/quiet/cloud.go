package quiet

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/witness"
)

// perRack hosts share a rack.
const perRack = 20

var planes = [...]detect.Plane{detect.Management, detect.Storage, detect.Tenant}

// cloud is the whole: time, hosts, the server.
type cloud struct {
	o      Options
	rng    *rand.Rand
	now    time.Duration
	start  time.Time
	queue  queue
	hosts  []*host
	pulses []*host // in the order of their phases
	named  map[string]*host
	server *server
	result *Result
}

func newCloud(o Options) *cloud {
	c := &cloud{
		o: o, rng: rand.New(rand.NewPCG(o.Seed, 9)), start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), named: map[string]*host{},
		result: &Result{
			Troubles: map[Kind]int{}, Mishaps: map[ServerKind]int{}, Wrong: map[detect.Verdict]int{}, Right: map[detect.Verdict]int{},
		},
	}
	for i := range o.Hosts {
		h := &host{c: c, at: i, name: fmt.Sprintf("compute-%04d", i), phase: time.Duration(c.rng.Int64N(int64(time.Second))), power: detect.PowerOn}
		h.peer = witness.Peer{Host: h.name, Rack: fmt.Sprintf("rack-%d", i/perRack)}
		h.reportPhase = time.Duration(c.rng.Int64N(int64(reportEvery)))
		h.live(0)
		c.hosts, c.named[h.name] = append(c.hosts, h), h
	}
	c.pulses = slices.Clone(c.hosts)
	slices.SortFunc(c.pulses, func(a, b *host) int { return cmp.Compare(a.phase, b.phase) })
	c.server = newServer(c)
	return c
}

func (c *cloud) time() time.Time { return c.start.Add(c.now) }

func (c *cloud) in(d time.Duration, do func()) { c.queue.add(c.now+d, do) }

// luck reports whether a packet gets through.
func (c *cloud) luck() bool { return c.rng.Float64() >= c.o.Loss }

// roundTrip is luck on the way there and, if it got there, on the way back.
func (c *cloud) roundTrip() bool {
	if !c.luck() {
		return false
	}
	return c.luck()
}

// play lets time pass: pulses in the order of their phases, and what the queue holds in between.
func (c *cloud) play() {
	next, second := 0, time.Duration(0)
	for {
		pulse := second + c.pulses[next].phase
		at, more := c.queue.next()
		if more && at <= pulse {
			if at > c.o.For {
				return
			}
			c.now = at
			c.queue.take().do()
			continue
		}
		if pulse > c.o.For {
			return
		}
		c.now = pulse
		c.pulses[next].beat()
		if next++; next == len(c.pulses) {
			next, second = 0, second+time.Second
		}
	}
}

// again calls do after times that are exponential with a mean, for ever.
func (c *cloud) again(mean time.Duration, do func()) {
	c.in(time.Duration(c.rng.ExpFloat64()*float64(mean)), func() {
		do()
		c.again(mean, do)
	})
}

// settle is how long all is well at the beginning, so that everybody is known.
const settle = 30 * time.Second

func (c *cloud) schedule() {
	c.server.schedule()
	c.in(settle, func() {
		for _, t := range c.o.Trouble {
			if t.What == RackPlane {
				for rack := 0; rack < len(c.hosts); rack += perRack {
					c.again(t.Every, func() { c.troubleRack(c.hosts[rack:min(rack+perRack, len(c.hosts))], t) })
				}
				continue
			}
			for _, h := range c.hosts {
				c.again(t.Every, func() { h.trouble(t) })
			}
		}
		for _, m := range c.o.Server {
			c.again(m.Every, func() { c.server.mishap(m) })
		}
		if c.o.Deaths > 0 {
			c.again(c.o.Deaths, c.kill)
		}
	})
}

func (c *cloud) troubleRack(rack []*host, t Trouble) {
	plane, long, any := c.rng.IntN(len(planes)), t.Long(c.rng), false
	for _, h := range rack {
		any = h.cutPlane(plane, long, true, true) || any
	}
	if any {
		c.result.Troubles[t.What]++
	}
}
