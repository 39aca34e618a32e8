package detect

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Wanted lists, by name, the hosts that need probes or power readings now, and how often. It costs as much as there
// are such hosts: ask at each round of probes.
func (d *Detector) Wanted(now time.Time) []Want {
	hosts := make([]*host, 0, len(d.watched))
	for h := range d.watched {
		hosts = append(hosts, h)
	}
	sortByName(hosts)
	wants := make([]Want, 0, len(hosts))
	for _, h := range hosts {
		w, _ := d.want(now, h)
		w.Host = h.Host
		w.Planes = make([]Plane, 0, len(h.planes))
		for i := range h.planes {
			w.Planes = append(w.Planes, h.planes[i].name)
		}
		wants = append(wants, w)
	}
	return wants
}

// want says whether the host needs more than the slow round that all hosts get, and how often. Haste ends with a
// verdict, and when power readings have had dead_after's time to say something; a witnessed silence must have no gaps.
func (d *Detector) want(now time.Time, h *host) (Want, bool) {
	fast := Want{ProbeEvery: d.times.ProbeEvery}
	slow := Want{ProbeEvery: d.times.SlowProbeEvery, PowerEvery: d.times.SlowProbeEvery}
	questioned := slices.ContainsFunc(h.planes, func(p plane) bool { return d.watching(now, h, &p) })
	switch {
	case !h.Protected || now.Before(h.leavingUntil):
		return Want{}, false
	case h.suspect:
		fast.PowerEvery = d.times.PowerReadEvery
		if now.Sub(h.silentFrom.at) > 2*d.times.DeadOnePlane {
			fast.PowerEvery = d.times.SlowProbeEvery
		}
		return fast, true
	case h.silent && questioned && h.verdict != Dead && h.verdict != Off:
		fast.PowerEvery = d.times.SlowProbeEvery
		return fast, true
	case h.silent:
		return slow, true
	}
	// It pulses. A plane that is silent to a valid witness is watched without a gap, or `degraded` would lose sight of it.
	return fast, questioned
}

// Up reports whether a host lives without doubt. It costs no more than finding the host.
func (d *Detector) Up(name string) bool {
	h := d.hosts[name]
	return h != nil && h.verdict == Up && !h.suspect
}

// Assess tells all that is known about a host; false for a host that was never introduced.
func (d *Detector) Assess(now time.Time, name string) (Assessment, bool) {
	h := d.hosts[name]
	if h == nil {
		return Assessment{}, false
	}
	a := Assessment{
		Host: h.Host, Zone: h.Zone, Labels: h.Labels, Protected: h.Protected, Verdict: h.verdict, Suspect: h.suspect,
		Boot: h.boot, LastLife: h.lastLife, Since: h.since, Reason: h.reason, Waiting: d.waiting(now, h),
		Muted: slices.Clone(h.muted),
	}
	for i := range h.planes {
		a.Planes = append(a.Planes, d.planeView(now, h, &h.planes[i]))
	}
	for i := range h.devices {
		dev := &h.devices[i]
		a.Devices = append(a.Devices, DeviceView{
			Device: dev.Device, Via: dev.Via, State: dev.State, At: dev.at, Bound: dev.Bound, Muted: h.isMuted(dev.Device),
		})
	}
	return a, true
}

func (d *Detector) planeView(now time.Time, h *host, p *plane) PlaneView {
	v := PlaneView{Plane: p.name, LastLife: p.life.at}
	pulsing := p.name == Management && h.heard && !h.silent
	if p.name == Management && h.heard && h.pulse.at.After(v.LastLife) {
		v.LastLife = h.pulse.at
	}
	switch {
	case pulsing, !p.life.at.IsZero() && now.Sub(p.life.at) <= 2*d.times.SlowProbeEvery && !d.watching(now, h, p):
		v.State = PlaneAlive
	case d.watching(now, h, p):
		v.State = PlaneSilent
		v.SilentFor = d.silence(now, p.runFrom)
		v.WitnessedBy = slices.Clone(p.witnesses)
	}
	return v
}

// waiting says what a verdict about a suspect host waits for.
func (d *Detector) waiting(now time.Time, h *host) string {
	if !h.suspect {
		return ""
	}
	if d.inWave(now) {
		return "a new leader waits until all agents have had time to come back"
	}
	if p := d.answeringPlane(now, h); p != nil {
		return fmt.Sprintf("alive on %s: management or the agent must have been silent for longer", p.name)
	}
	var seen, unseen []string
	for i := range h.planes {
		if p := &h.planes[i]; d.watching(now, h, p) {
			seen = append(seen, string(p.name))
		} else {
			unseen = append(unseen, string(p.name))
		}
	}
	if len(seen) == 0 {
		return fmt.Sprintf("nobody can see it: no valid witness on %s", strings.Join(unseen, ", "))
	}
	after := d.times.DeadOnePlane
	if len(seen) > 1 && !d.careful(now) {
		after = d.times.DeadTwoPlanes
	}
	return fmt.Sprintf("silent for %s (%s needed); valid witnesses watch %s (%s without a gap needed)",
		seconds(d.silence(now, h.silentFrom)), seconds(d.stretched(now, after)),
		strings.Join(seen, ", "), seconds(d.stretched(now, d.times.witnessSpan(after))))
}

// Snapshot counts all hosts.
func (d *Detector) Snapshot(now time.Time) Snapshot {
	s := Snapshot{Seen: make(map[string]int, len(d.seen)), Verdicts: make(map[Verdict]int, len(d.verdicts)), Suspects: d.suspects}
	for zone, n := range d.seen {
		s.Seen[zone] = n
	}
	for v, n := range d.verdicts {
		if n > 0 {
			s.Verdicts[v] = n
		}
	}
	hosts := make([]*host, 0, len(d.trouble))
	for h := range d.trouble {
		if !h.suspect && !h.verdict.Worse() && now.Sub(h.troubled) > d.times.StormWindow {
			delete(d.trouble, h)
			continue
		}
		hosts = append(hosts, h)
	}
	sortByName(hosts)
	for _, h := range hosts {
		s.Troubled = append(s.Troubled, Trouble{
			Host: h.Host, Zone: h.Zone, Labels: h.Labels, Verdict: h.verdict, Suspect: h.suspect,
			Seen: h.seen && h.Protected, Since: h.since,
		})
	}
	return s
}

// Hosts are the names of all known hosts, sorted.
func (d *Detector) Hosts() []string { return slices.Sorted(maps.Keys(d.hosts)) }
