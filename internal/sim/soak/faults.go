package soak

import (
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// The kinds of faults.
const (
	cutPower        kind = "cut-power"
	cutPowerWithBMC kind = "cut-power-with-bmc"
	freeze          kind = "freeze"
	stall           kind = "stall"
	hang            kind = "hang"
	killAgent       kind = "kill-agent"
	isolate         kind = "isolate"
	cutStorage      kind = "cut-storage"
	cutAll          kind = "cut-all-planes"
	reboot          kind = "reboot"
	cutRack         kind = "cut-rack"
	freezeRack      kind = "freeze-rack"
	oneWay          kind = "one-way-loss"
	oneServer       kind = "hears-one-server"
	cutPlanes       kind = "cut-planes"
	blindOthers     kind = "others-lose-planes"

	bmcSlow        kind = "bmc-slow"
	bmcLies        kind = "bmc-lies"
	bmcLags        kind = "bmc-lags"
	bmcRefusesOff  kind = "bmc-refuses-off"
	bmcRefusesOn   kind = "bmc-refuses-on"
	bmcDead        kind = "bmc-dead"
	bmcSwapped     kind = "bmc-swapped"
	powerOnByOther kind = "power-on-by-other"
	bmcReadsOff    kind = "bmc-reads-off"
	bmcLoses       kind = "bmc-loses-answers"
	outletsDead    kind = "outlets-dead"

	novaDown      kind = "nova-down"
	novaFails     kind = "nova-fails"
	novaConflicts kind = "nova-conflicts"
	novaSlow      kind = "nova-slow"
	loseAnswers   kind = "lose-answers"
	holdPosts     kind = "hold-posts"
	repeatPosts   kind = "repeat-posts"
	hideVM        kind = "hide-vm"
	novaHangs     kind = "nova-hangs"
	proxyGivesUp  kind = "proxy-gives-up"
	forgetOrders  kind = "bus-loses-evacuations"
	breakOrders   kind = "evacuations-fail"
	halfDone      kind = "evacuations-half-done"

	killServer        kind = "kill-server"
	pauseServer       kind = "pause-server"
	killAtPoint       kind = "kill-at-point"
	pauseAtPoint      kind = "pause-at-point"
	cutServer         kind = "cut-server"
	oneWayServers     kind = "one-way-between-servers"
	jumpClock         kind = "jump-clock"
	fillDisk          kind = "fill-disk"
	serverWithoutNova kind = "server-without-nova"
	serverWithoutBMCs kind = "server-without-bmcs"

	deleteVM        kind = "delete-vm"
	stopVM          kind = "stop-vm"
	startVM         kind = "start-vm"
	migrateVM       kind = "migrate-vm"
	evacuateByOther kind = "evacuate-by-other"
	disableHost     kind = "disable-host"
	unforceHost     kind = "unforce-host"
	maintain        kind = "maintenance"
	disarm          kind = "disarm"
	confirmDown     kind = "confirm-down"
	resetVM         kind = "reset-vm"
)

// begin does what a fault does, and plans its end.
func (c *cluster) begin(f fault) {
	c.note("FAULT %s", f)
	c.truth.disturb(f)
	until := func(end func()) {
		c.after(f.lasts, func() {
			c.note("end of %s", f.kind)
			end()
		})
	}
	switch f.kind {
	case cutPower, cutPowerWithBMC, freeze, stall, hang, killAgent, isolate, cutStorage, cutAll, reboot, cutRack, freezeRack, cutPlanes, blindOthers:
		c.hostFault(f, until)
	case oneWay, oneServer:
		c.pathFault(f, until)
	case bmcSlow, bmcLies, bmcLags, bmcRefusesOff, bmcRefusesOn, bmcDead, bmcSwapped, powerOnByOther, bmcReadsOff, bmcLoses, outletsDead:
		c.bmcFault(f, until)
	case novaDown, novaFails, novaConflicts, novaSlow, loseAnswers, holdPosts, repeatPosts, hideVM, novaHangs, proxyGivesUp, forgetOrders, breakOrders, halfDone:
		c.novaFault(f, until)
	case killServer, pauseServer, killAtPoint, pauseAtPoint, cutServer, oneWayServers, jumpClock, fillDisk, serverWithoutNova, serverWithoutBMCs:
		c.serverFault(f, until)
	default:
		c.somebody(f, until)
	}
}

func (c *cluster) hostFault(f fault, until func(func())) {
	w, hosts := c.w, []string{f.host}
	switch f.kind {
	case cutRack, freezeRack:
		hosts = slices.DeleteFunc(slices.Clone(c.hosts), func(h string) bool { return w.Host(h).Rack != w.Host(f.host).Rack })
	case blindOthers:
		hosts = slices.DeleteFunc(slices.Clone(c.hosts), func(h string) bool { return h == f.host })
	}
	for _, h := range hosts {
		switch f.kind {
		case cutPower:
			w.PowerCut(h)
		case cutRack: // and the power comes back
			w.PowerCut(h)
			until(func() { w.PowerOn(h) })
		case cutPowerWithBMC:
			w.SetBMC(h, func(b *world.BMC) { b.DiesToo = true })
			w.PowerCut(h)
			until(func() { w.SetBMC(h, func(b *world.BMC) { b.DiesToo = false }) })
		case freeze, stall, freezeRack:
			w.Freeze(h)
			boot := w.Host(h).Boot
			until(func() {
				if w.Host(h).Boot == boot && w.Host(h).Frozen {
					w.Thaw(h)
				}
			})
		case hang:
			w.Hang(h)
			until(func() { w.Unhang(h) })
		case killAgent:
			w.KillAgent(h)
			until(func() { w.StartAgent(h) })
		case reboot:
			w.Reboot(h, f.lasts)
		default:
			planes := world.Planes()
			switch f.kind {
			case isolate:
				planes = []world.Plane{world.Management}
			case cutStorage:
				planes = []world.Plane{world.Storage}
			case blindOthers:
				planes = planes[1:]
			case cutPlanes: // any of them, by bit
				planes = slices.DeleteFunc(planes, func(p world.Plane) bool { return (f.n+1)>>slices.Index(world.Planes(), p)&1 == 0 })
			}
			for _, p := range planes {
				w.CutPlane(h, p)
				until(func() { w.HealPlane(h, p) })
			}
		}
	}
}

// pathFault breaks the ways between one host and servers.
func (c *cluster) pathFault(f fault, until func(func())) {
	for i, name := range c.names {
		pair := [2]string{f.host, name}
		if f.kind == oneWay && f.n == 1 {
			pair = [2]string{name, f.host}
		}
		if f.kind == oneServer && i == f.n {
			continue
		}
		c.blocked[pair] = true
		until(func() { delete(c.blocked, pair) })
	}
}

func (c *cluster) bmcFault(f fault, until func(func())) {
	change := func(begin, end func(*world.BMC)) {
		c.w.SetBMC(f.host, begin)
		until(func() { c.w.SetBMC(f.host, end) })
	}
	switch f.kind {
	case bmcSlow:
		change(func(b *world.BMC) { b.Slow = sec(float64(1 + f.n)) }, func(b *world.BMC) { b.Slow = 0 })
	case bmcLies: // one that reads off and does nothing can't be told from one that works: see docs/guarantees.md
		change(func(b *world.BMC) { b.Lying = !b.ReadsOff }, func(b *world.BMC) { b.Lying = false })
	case bmcReadsOff:
		change(func(b *world.BMC) { b.ReadsOff = !b.Lying && b.Machine == f.host }, func(b *world.BMC) { b.ReadsOff = false })
	case bmcLoses:
		c.bmcLoses[f.host] = 1 + f.n
		until(func() { delete(c.bmcLoses, f.host) })
	case outletsDead:
		c.outlet(f.host).dead = true
		until(func() { c.outlet(f.host).dead = false })
	case bmcLags:
		change(func(b *world.BMC) { b.Lag = 40 * time.Second }, func(b *world.BMC) { b.Lag = 0 })
	case bmcRefusesOff:
		change(func(b *world.BMC) { b.RefusesOff = true }, func(b *world.BMC) { b.RefusesOff = false })
	case bmcRefusesOn:
		change(func(b *world.BMC) { b.RefuseOn = 30 * time.Second }, func(b *world.BMC) { b.RefuseOn = 0 })
	case bmcDead:
		change(func(b *world.BMC) { b.Dead = true }, func(b *world.BMC) { b.Dead = false })
	case bmcSwapped: // cables: both controllers switch the other's machine
		if c.truth.beingFenced(f.host, f.other) { // nobody sees a swap between the identity's reading and the off
			c.after(2*time.Second, func() { c.bmcFault(f, until) })
			return
		}
		c.w.SetBMC(f.other, func(b *world.BMC) { b.Machine, b.ReadsOff = f.host, false })
		change(func(b *world.BMC) { b.Machine, b.ReadsOff = f.other, false }, func(b *world.BMC) {
			b.Machine = f.host
			c.w.SetBMC(f.other, func(b *world.BMC) { b.Machine = f.other })
		})
	case powerOnByOther:
		c.w.PowerOn(f.host)
	}
}

func (c *cluster) novaFault(f fault, until func(func())) {
	share := 0.1 + 0.15*float64(f.n)
	change := func(begin, end func(*world.APIFaults)) {
		c.w.SetAPIFaults(begin)
		until(func() { c.w.SetAPIFaults(end) })
	}
	switch f.kind {
	case novaDown:
		c.w.NovaOutage(f.lasts)
	case novaFails:
		change(func(a *world.APIFaults) { a.Fail = share }, func(a *world.APIFaults) { a.Fail = 0 })
	case novaConflicts:
		change(func(a *world.APIFaults) { a.Conflict = share }, func(a *world.APIFaults) { a.Conflict = 0 })
	case novaHangs: // longer than anybody waits for a read
		change(func(a *world.APIFaults) { a.Slow = sec(float64(20 * (1 + f.n))) }, func(a *world.APIFaults) { a.Slow = 0 })
	case proxyGivesUp: // on evacuations, and delivers them a moment later
		gaveUp := sec(5)
		c.pickEvacuations++
		until(func() { c.pickEvacuations-- })
		change(func(a *world.APIFaults) { a.HoldNext, a.HoldFor, a.GaveUp = 2, gaveUp+sec(0.4*float64(f.n)), gaveUp }, func(a *world.APIFaults) { a.HoldNext = 0 })
	case forgetOrders:
		c.truth.lostOrders = true
		change(func(a *world.APIFaults) { a.ForgetNext = 1 + f.n }, func(a *world.APIFaults) { a.ForgetNext = 0 })
	case breakOrders:
		change(func(a *world.APIFaults) { a.BreakNext = 1 + f.n }, func(a *world.APIFaults) { a.BreakNext = 0 })
	case halfDone:
		c.truth.lostOrders = true
		change(func(a *world.APIFaults) { a.HalfNext = 1 + f.n }, func(a *world.APIFaults) { a.HalfNext = 0 })
	case novaSlow:
		c.truth.slowest = max(c.truth.slowest, sec(float64(1+f.n)))
		change(func(a *world.APIFaults) { a.Slow = sec(float64(1 + f.n)) }, func(a *world.APIFaults) { a.Slow = 0 })
	case loseAnswers:
		change(func(a *world.APIFaults) { a.LoseNext = 1 + f.n }, func(a *world.APIFaults) { a.LoseNext = 0 })
	case holdPosts:
		hold, gaveUp := 60*time.Second, time.Duration(0)
		if f.n%2 == 1 {
			gaveUp = 30 * time.Second
		}
		change(func(a *world.APIFaults) { a.HoldNext, a.HoldFor, a.GaveUp = 1+f.n, hold, gaveUp }, func(a *world.APIFaults) { a.HoldNext = 0 })
	case repeatPosts:
		change(func(a *world.APIFaults) { a.TwiceNext, a.TwiceIn = 1+f.n, sec(0.05+float64(f.n)) }, func(a *world.APIFaults) { a.TwiceNext = 0 })
	case hideVM:
		if ids := c.w.VMIDs(); f.n < len(ids) {
			c.w.Hide(ids[f.n], true)
			until(func() { c.w.Hide(ids[f.n], false) })
		}
	}
}

// serverFault happens to a named server, or to whoever leads.
func (c *cluster) serverFault(f fault, until func(func())) {
	name := f.name
	if name == "" {
		if name, _ = c.quorum.mem.Leader(); name == "" {
			return
		}
	}
	q := c.quorum
	switch f.kind {
	case killServer:
		c.killServer(name, f.lasts)
	case pauseServer:
		c.pauseServer(name, f.lasts)
	case killAtPoint, pauseAtPoint:
		left := f.n
		c.atPoint = func(l *life, point, what string) {
			if c.leader() != l || f.kind == pauseAtPoint && strings.HasPrefix(point, "before send") && !strings.HasPrefix(what, "evacuate") {
				return // between its permit and its first byte nothing can stop a process; request_ttl covers an evacuate
			}
			if left--; left >= 0 {
				return
			}
			c.atPoint = nil
			c.note("at %s %s", point, what)
			if f.kind == killAtPoint {
				c.killServer(l.name, f.lasts)
			} else {
				c.pauseServer(l.name, f.lasts)
			}
		}
		c.after(60*time.Second, func() { c.atPoint = nil })
	case cutServer:
		if !q.cut[name] {
			q.cut[name] = true
			q.changed()
			until(func() { delete(q.cut, name); q.changed() })
		}
	case oneWayServers:
		other := c.names[(slices.Index(c.names, name)+1+f.n/2)%len(c.names)]
		pair := [2]string{name, other}
		if f.n%2 == 1 {
			pair = [2]string{other, name}
		}
		q.lost[pair] = true
		q.changed()
		until(func() { delete(q.lost, pair); q.changed() })
	case jumpClock:
		c.clocks[name].jump += []time.Duration{sec(-30), sec(-0.4), sec(0.6), sec(3600)}[f.n]
	case fillDisk:
		q.full[name] = true
		until(func() { delete(q.full, name) })
	case serverWithoutNova:
		c.noNova[name] = true
		until(func() { delete(c.noNova, name) })
	case serverWithoutBMCs:
		c.noBMC[name] = true
		until(func() { delete(c.noBMC, name) })
	}
}
