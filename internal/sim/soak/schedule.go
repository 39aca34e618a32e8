package soak

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

// schedule is what happens in one run: a small cloud and a few faults, all drawn from a seed.
type schedule struct {
	o      Options
	faults []fault
}

// fault is one thing that goes wrong, or that somebody does.
type fault struct {
	at    time.Duration // after the cloud has settled
	lasts time.Duration
	kind  kind
	host  string
	other string // another host, for what takes two
	name  string // of a server; "": of whoever leads
	n     int    // of what there are several of: a VM, a point, a share
}

func (f fault) String() string {
	text := fmt.Sprintf("%s %s", f.at, f.kind)
	for _, s := range []string{f.host, f.other, f.name} {
		if s != "" {
			text += " " + s
		}
	}
	return fmt.Sprintf("%s n=%d for %s", text, f.n, f.lasts)
}

func (s schedule) String() string {
	lines := []string{fmt.Sprintf("%d hosts, %d VMs, %d racks, Nova 2.%d", s.o.Hosts, s.o.VMs, s.o.Racks, int(s.o.Microversion))}
	for _, f := range s.faults {
		lines = append(lines, "  "+f.String())
	}
	return strings.Join(lines, "\n")
}

// kind is what goes wrong.
type kind string

// sort of faults, with how often each is drawn among its like.
type choice struct {
	kind   kind
	weight int
	lasts  [2]time.Duration
	most   int // n is below it
}

func sec(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

// first are the failures that a schedule is about.
var first = []choice{
	{cutPower, 8, [2]time.Duration{}, 0},
	{cutPowerWithBMC, 3, [2]time.Duration{sec(20), sec(70)}, 0},
	{freeze, 6, [2]time.Duration{sec(40), sec(80)}, 0},
	{stall, 2, [2]time.Duration{sec(2), sec(10)}, 0},
	{hang, 1, [2]time.Duration{sec(20), sec(60)}, 0},
	{killAgent, 1, [2]time.Duration{sec(5), sec(40)}, 0},
	{isolate, 2, [2]time.Duration{sec(3), sec(40)}, 0},
	{cutStorage, 1, [2]time.Duration{sec(3), sec(40)}, 0},
	{cutAll, 2, [2]time.Duration{sec(3), sec(30)}, 0},
	{reboot, 4, [2]time.Duration{sec(0.5), sec(8)}, 0},
	{cutRack, 2, [2]time.Duration{sec(15), sec(50)}, 0},
	{freezeRack, 1, [2]time.Duration{sec(5), sec(30)}, 0},
	{oneWay, 1, [2]time.Duration{sec(5), sec(40)}, 2},
	{oneServer, 1, [2]time.Duration{sec(10), sec(40)}, 3},
}

// besides are what happens at the same time.
var besides = []choice{
	{bmcSlow, 2, [2]time.Duration{sec(10), sec(60)}, 5},
	{bmcLies, 2, [2]time.Duration{sec(10), sec(60)}, 0},
	{bmcLags, 2, [2]time.Duration{sec(40), sec(60)}, 0},
	{bmcRefusesOff, 1, [2]time.Duration{sec(60), sec(60)}, 0},
	{bmcRefusesOn, 1, [2]time.Duration{sec(60), sec(60)}, 0},
	{bmcDead, 2, [2]time.Duration{sec(10), sec(60)}, 0},
	{bmcSwapped, 1, [2]time.Duration{sec(60), sec(60)}, 0},
	{powerOnByOther, 3, [2]time.Duration{}, 0},
	{cutPower, 4, [2]time.Duration{}, 0},
	{freeze, 2, [2]time.Duration{sec(10), sec(60)}, 0},
	{reboot, 1, [2]time.Duration{sec(0.5), sec(8)}, 0},
	{novaDown, 3, [2]time.Duration{sec(2), sec(25)}, 0},
	{novaFails, 2, [2]time.Duration{sec(5), sec(30)}, 5},
	{novaConflicts, 2, [2]time.Duration{sec(5), sec(30)}, 5},
	{novaSlow, 1, [2]time.Duration{sec(5), sec(30)}, 8},
	{loseAnswers, 4, [2]time.Duration{sec(60), sec(60)}, 4},
	{holdPosts, 3, [2]time.Duration{sec(60), sec(60)}, 4},
	{repeatPosts, 2, [2]time.Duration{sec(60), sec(60)}, 3},
	{hideVM, 2, [2]time.Duration{sec(10), sec(60)}, 12},
	{killServer, 6, [2]time.Duration{sec(1), sec(20)}, 0},
	{pauseServer, 4, [2]time.Duration{sec(0.5), sec(25)}, 0},
	{killAtPoint, 6, [2]time.Duration{sec(1), sec(20)}, 30},
	{pauseAtPoint, 6, [2]time.Duration{sec(2), sec(25)}, 30},
	{cutServer, 4, [2]time.Duration{sec(2), sec(30)}, 0},
	{jumpClock, 1, [2]time.Duration{sec(5), sec(60)}, 4},
	{fillDisk, 2, [2]time.Duration{sec(3), sec(30)}, 0},
	{serverWithoutNova, 2, [2]time.Duration{sec(5), sec(30)}, 0},
	{serverWithoutBMCs, 2, [2]time.Duration{sec(5), sec(30)}, 0},
	{deleteVM, 2, [2]time.Duration{}, 12},
	{stopVM, 2, [2]time.Duration{}, 12},
	{startVM, 1, [2]time.Duration{}, 12},
	{migrateVM, 4, [2]time.Duration{}, 12},
	{evacuateByOther, 1, [2]time.Duration{}, 12},
	{disableHost, 2, [2]time.Duration{}, 0},
	{unforceHost, 1, [2]time.Duration{}, 0},
	{maintain, 2, [2]time.Duration{sec(5), sec(40)}, 0},
	{disarm, 2, [2]time.Duration{sec(5), sec(40)}, 0},
}

// since and firstSince are what came later: seeds below [themed] mean what they meant.
var since = slices.Concat(besides, []choice{
	{cutPlanes, 2, [2]time.Duration{sec(3), sec(40)}, 7},
	{bmcReadsOff, 1, [2]time.Duration{sec(10), sec(60)}, 0},
	{bmcLoses, 2, [2]time.Duration{sec(60), sec(60)}, 3},
	{outletsDead, 1, [2]time.Duration{sec(10), sec(60)}, 0},
	{novaHangs, 1, [2]time.Duration{sec(5), sec(30)}, 4},
	{proxyGivesUp, 2, [2]time.Duration{sec(60), sec(60)}, 20},
	{forgetOrders, 1, [2]time.Duration{sec(60), sec(60)}, 2},
	{breakOrders, 2, [2]time.Duration{sec(60), sec(60)}, 6},
	{halfDone, 1, [2]time.Duration{sec(60), sec(60)}, 2},
	{oneWayServers, 3, [2]time.Duration{sec(5), sec(40)}, 4},
	{confirmDown, 2, [2]time.Duration{}, 0},
	{resetVM, 1, [2]time.Duration{}, 12},
})

var firstSince = slices.Concat(first, []choice{
	{cutPlanes, 3, [2]time.Duration{sec(3), sec(40)}, 7},
	{blindOthers, 1, [2]time.Duration{sec(5), sec(40)}, 0},
	{bmcReadsOff, 1, [2]time.Duration{sec(10), sec(60)}, 0},
})

// newSchedule draws a schedule.
func newSchedule(seed uint64) schedule {
	rng := rand.New(rand.NewPCG(seed, 0x7363686564)) // second half of the seed: any constant
	s := schedule{o: Options{
		Seed: seed, Hosts: 4 + rng.IntN(3), VMs: 8 + rng.IntN(5), Racks: 1 + rng.IntN(3), Microversion: 93,
	}}
	if rng.IntN(4) == 0 {
		s.o.Microversion = cloud.KeepsStopped
	}
	draw := func(from []choice, host string, at time.Duration) {
		f := from[pick(rng, from)]
		drawn := fault{at: at, kind: f.kind, host: host, lasts: f.lasts[0]}
		if d := f.lasts[1] - f.lasts[0]; d > 0 {
			drawn.lasts += time.Duration(rng.Int64N(int64(d)))
		}
		if f.most > 0 {
			drawn.n = rng.IntN(f.most)
		}
		for drawn.other == "" || drawn.other == host {
			drawn.other = fmt.Sprintf("h%d", 1+rng.IntN(s.o.Hosts))
		}
		if rng.IntN(3) == 0 { // else the leader
			drawn.name = fmt.Sprintf("server-%d", 1+rng.IntN(3))
		}
		s.faults = append(s.faults, drawn)
	}
	if seed >= themed {
		s.o.Narrow, s.o.Outlets, s.o.SlowMoves = rng.IntN(2) == 0, rng.IntN(3) == 0, true
		s.compose(rng, draw)
		return s
	}
	host := fmt.Sprintf("h%d", 1+rng.IntN(s.o.Hosts))
	begin := sec(8) // some trouble begins before
	draw(first, host, begin)
	for range rng.IntN(4) {
		at := begin + time.Duration(rng.Int64N(int64(sec(14)))) - sec(4)
		where := host
		if rng.IntN(3) == 0 {
			where = fmt.Sprintf("h%d", 1+rng.IntN(s.o.Hosts))
		}
		if where == host && rng.IntN(8) == 0 {
			at += sec(30)
		}
		draw(besides, where, at)
	}
	return s
}

func pick(rng *rand.Rand, from []choice) int {
	all := 0
	for _, c := range from {
		all += c.weight
	}
	n := rng.IntN(all)
	for i, c := range from {
		if n -= c.weight; n < 0 {
			return i
		}
	}
	return 0
}
