package soak

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// themed is the first seed whose schedule is about a theme: things that hurt each other when they come together, which
// chance alone brings together too seldom.
const themed = 10000

// mixed is the first seed from which on every fourth schedule has no theme: whatever comes together.
const mixed = 1000000

// beat is one fault of a theme: at a time from..to after the failure it is about.
type beat struct {
	kind      kind
	from, to  float64 // seconds
	lasts     float64
	elsewhere bool // on another host
	vm        bool // of a VM that is on the host
	most      int
}

var themes = [][]beat{
	{{kind: freeze, lasts: 70}, {kind: bmcLies, from: -6, to: -1, lasts: 60}},
	{{kind: freeze, lasts: 50}, {kind: bmcSwapped, from: -6, to: 2, lasts: 60}},
	{{kind: freeze, lasts: 14}, {kind: bmcLags, from: -6, to: 2, lasts: 60}},
	{{kind: cutPower}, {kind: powerOnByOther, from: 1, to: 6}},
	{{kind: cutPower}, {kind: powerOnByOther, from: 2, to: 14}},
	{{kind: reboot, lasts: 5}, {kind: novaSlow, from: -4, to: 1, lasts: 30, most: 3}},
	{{kind: cutPower}, {kind: loseAnswers, from: 2.6, to: 4.2, lasts: 60, most: 4}},
	{{kind: cutPower}, {kind: holdPosts, from: 2.6, to: 4.2, lasts: 60, most: 4}},
	{{kind: cutPower}, {kind: migrateVM, from: -5, to: -0.2, vm: true}, {kind: migrateVM, from: -5, to: -0.2, vm: true}},
	{{kind: cutPower}, {kind: migrateVM, from: -5, to: -0.2, most: 12}, {kind: migrateVM, from: -5, to: -0.2, most: 12}},
	{{kind: cutPower}, {kind: stopVM, from: -7, to: -3, vm: true}, {kind: startVM, from: 0.3, to: 3, vm: true}, {kind: disarm, from: 20, to: 21, lasts: 1}},
	{{kind: cutPower}, {kind: cutPower, from: 3.2, to: 6, elsewhere: true}},
	{{kind: cutPower}, {kind: cutPower, from: 3.2, to: 6, elsewhere: true}, {kind: cutPower, from: 3.2, to: 9, elsewhere: true}},
	{{kind: cutPower}, {kind: hideVM, from: -1, to: 2, lasts: 50, vm: true}},
	{{kind: cutPower}, {kind: killAtPoint, from: 0, to: 1, lasts: 4, most: 70}},
	{{kind: cutPower}, {kind: pauseAtPoint, from: 0, to: 1, lasts: 12, most: 70}},
	{{kind: freeze, lasts: 60}, {kind: pauseAtPoint, from: 11, to: 12.5, lasts: 8, most: 20}},
	{{kind: freezeRack, lasts: 40}, {kind: isolate, from: -1, to: 3, lasts: 40, elsewhere: true}},
	{{kind: freeze, lasts: 40}, {kind: freeze, from: -1, to: 4, lasts: 40, elsewhere: true}, {kind: freeze, from: -1, to: 8, lasts: 40, elsewhere: true}},
	{{kind: isolate, lasts: 40}, {kind: cutStorage, from: -2, to: 1, lasts: 40, elsewhere: true}, {kind: cutStorage, from: -2, to: 1, lasts: 40, elsewhere: true}},
	{{kind: oneWay, lasts: 40, most: 2}, {kind: cutServer, from: -2, to: 8, lasts: 20}},
	{{kind: cutPower}, {kind: disableHost, from: -4, to: 4}},
	{{kind: cutPower}, {kind: maintain, from: -2, to: 5, lasts: 30}},
	{{kind: cutPower}, {kind: disarm, from: -1, to: 5, lasts: 30}},
	{{kind: cutPower}, {kind: evacuateByOther, from: 1, to: 8, vm: true}},
	{{kind: cutPower}, {kind: unforceHost, from: 3, to: 9}},
	{{kind: cutPower}, {kind: fillDisk, from: 0, to: 5, lasts: 20}},
	{{kind: cutPower}, {kind: jumpClock, from: 0, to: 4, lasts: 5, most: 4}},
	{{kind: cutPower}, {kind: repeatPosts, from: 2.5, to: 4, lasts: 60, most: 3}},
	{{kind: freeze, lasts: 40}, {kind: bmcReadsOff, from: 0.1, to: 1.2, lasts: 60}},
	{{kind: cutPower}, {kind: proxyGivesUp, from: 2.9, to: 3.9, lasts: 60, most: 20}},
	{{kind: cutPower}, {kind: proxyGivesUp, from: 2.9, to: 3.9, lasts: 60, most: 20}, {kind: killServer, from: 8, to: 10, lasts: 5}},
	{{kind: cutPower}, {kind: migrateVM, from: -6, to: -2, vm: true}, {kind: migrateVM, from: -6, to: -2, vm: true},
		{kind: resetVM, from: 0.3, to: 6, vm: true}, {kind: resetVM, from: 0.3, to: 6, vm: true}},
	{{kind: isolate, lasts: 17}, {kind: blindOthers, from: -3, to: 0.5, lasts: 40}},
	{{kind: cutAll, lasts: 17}, {kind: blindOthers, from: -3, to: 0.5, lasts: 40}},
	{{kind: cutPower}, {kind: forgetOrders, from: 2, to: 3.5, lasts: 60, most: 2}},
	{{kind: cutPower}, {kind: breakOrders, from: 2, to: 3.5, lasts: 60, most: 8}},
	{{kind: cutPower}, {kind: halfDone, from: 2, to: 3.5, lasts: 60, most: 2}},
	{{kind: cutPowerWithBMC, lasts: 60}, {kind: confirmDown, from: 14, to: 40}},
	{{kind: cutPowerWithBMC, lasts: 60}, {kind: confirmDown, from: 14, to: 40}, {kind: powerOnByOther, from: 14, to: 40}},
	{{kind: freeze, lasts: 60}, {kind: bmcDead, from: -2, to: 14, lasts: 60}, {kind: outletsDead, from: 0, to: 14, lasts: 20}},
	{{kind: cutPower}, {kind: oneWayServers, from: -2, to: 6, lasts: 25, most: 4}},
	{{kind: oneWay, lasts: 40, most: 2}, {kind: oneWayServers, from: -2, to: 6, lasts: 25, most: 4}},
}

// compose draws a theme and when its parts happen, and up to two things besides.
func (s *schedule) compose(rng *rand.Rand, draw func([]choice, string, time.Duration)) {
	begin := sec(8)
	index := rng.IntN(s.o.Hosts)
	host := fmt.Sprintf("h%d", 1+index)
	if s.o.Seed >= mixed && rng.IntN(4) == 0 {
		draw(firstSince, host, begin)
		for range rng.IntN(5) {
			draw(since, fmt.Sprintf("h%d", 1+(index+rng.IntN(2)*rng.IntN(s.o.Hosts))%s.o.Hosts), begin+time.Duration(rng.Int64N(int64(sec(40))))-sec(4))
		}
		return
	}
	for i, b := range themes[rng.IntN(len(themes))] {
		f := fault{at: begin + sec(b.from+rng.Float64()*(b.to-b.from)), kind: b.kind, host: host, lasts: sec(b.lasts * (0.7 + 0.6*rng.Float64()))}
		if i == 0 {
			f.at = begin
		}
		if b.most > 0 {
			f.n = rng.IntN(b.most)
		}
		if b.vm {
			f.n = index + s.o.Hosts*rng.IntN(2)
		}
		for f.other == "" || f.other == host {
			f.other = fmt.Sprintf("h%d", 1+rng.IntN(s.o.Hosts))
		}
		if b.elsewhere {
			f.host = f.other
		}
		s.faults = append(s.faults, f)
	}
	for range rng.IntN(3) {
		draw(since, host, begin+time.Duration(rng.Int64N(int64(sec(14))))-sec(4))
	}
}
