package engine

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// The codes of the interlocks, as `status` and the API show them.
const (
	LockDisarmed    = "disarmed"
	LockShadow      = "shadow"
	LockMaintenance = "maintenance"
	LockStorm       = "storm"
	LockFenceRate   = "fence-rate"
	LockForeign     = "foreign-evacuation"
	LockServer      = "server-machine"
	LockNoDevice    = "no-fence-device"
	LockFenceRetry  = "fence-retry"
	LockRepeated    = "repeated-failure"
	LockRevoked     = "contradicted"
	LockAlive       = "back-too-early"
	LockUnforced    = "un-forced"
	LockAborted     = "aborted"
	LockNova        = "nova"
	LockTakeover    = "takeover"
	LockPower       = "power"
)

const (
	stormWindow = 60 * time.Second // DESIGN §5: suspect or worse now and in the last 60 s
	perVia      = 3                // readings through one controller address are one witness
)

// mayAct holds for every outside write: armed, not in shadow, not in maintenance.
func (e *Engine) mayAct(in *Incident) []Interlock {
	var locks []Interlock
	add := func(code, format string, args ...any) {
		locks = append(locks, Interlock{Code: code, Reason: fmt.Sprintf(format, args...)})
	}
	if !e.switches.Armed {
		add(LockDisarmed, "disarmed by %s: %s (`ninelives arm` ends it)", e.switches.By, e.switches.Reason)
	}
	if e.switches.Shadow {
		add(LockShadow, "shadow mode: everything is decided and recorded, nothing is done")
	}
	if m := e.host(in.Host).maintenance; m != nil {
		add(LockMaintenance, "%s is in maintenance since %s: %s", in.Host, clock(m.At), m.Reason)
	} else if z, ok := e.zones[in.Zone]; ok {
		add(LockMaintenance, "zone %s is in maintenance since %s: %s", in.Zone, clock(z.At), z.Reason)
	}
	if in.Aborted != "" {
		add(LockAborted, "given up by an operator: %s", in.Aborted)
	}
	return locks
}

// mayWrite holds for every write on behalf of the dead host's VMs.
func (e *Engine) mayWrite(in *Incident) []Interlock {
	locks := e.mayAct(in)
	add := func(code, reason string) { locks = append(locks, Interlock{Code: code, Reason: reason}) }
	if in.Revoked != "" {
		add(LockRevoked, "the proof was contradicted: "+in.Revoked)
	}
	if in.Foreign != "" {
		add(LockForeign, in.Foreign)
	}
	if in.Out.UndoneByOther {
		add(LockUnforced, "somebody took "+in.Host+"'s forced_down away half-way; that is an operator's stop (`ninelives incident retry "+in.ID+"` goes on)")
	}
	if h := e.host(in.Host); in.Phase == PhaseResurrecting && in.Return.Boot != "" && in.Proof != nil && in.Proof.Kind != "reboot" {
		guests, known := h.report.Guests, h.report.GuestsSeen && h.report.Boot == in.Return.Boot
		if !h.report.GateClosed || h.report.Boot != in.Return.Boot || known && len(guests) > 0 {
			add(LockAlive, in.Host+" is back with a new boot, and its agent doesn't report a closed gate and no guest")
		}
	}
	return locks
}

// mayFence holds before a fence. Capacity is never a reason here.
func (e *Engine) mayFence(in *Incident) []Interlock {
	locks := e.mayAct(in)
	add := func(code, format string, args ...any) {
		locks = append(locks, Interlock{Code: code, Reason: fmt.Sprintf(format, args...)})
	}
	h := e.host(in.Host)
	if h.facts.Unprotected != "" {
		add("unprotected", "%s is not protected: %s", in.Host, h.facts.Unprotected)
	}
	if why := e.secondhand(in, h); why != "" {
		add(LockTakeover, "%s", why)
	}
	if why := e.stormy(in); why != "" {
		add(LockStorm, "%s", why)
	}
	if e.thirdTime(h) && in.Verdict != ByOperator {
		add(LockRepeated, "third failure of %s within ten minutes: an operator must look (`ninelives host fence %s --reason …`)", in.Host, in.Host)
	}
	e.fences = slices.DeleteFunc(e.fences, func(t time.Time) bool { return e.now.Sub(t) > time.Minute })
	if n := e.policy.FencesPerMinute(); len(e.fences) >= n {
		add(LockFenceRate, "%d fences within the last minute, the policy allows %d", len(e.fences), n)
	}
	if why := e.carriesServer(in.Host); why != "" {
		add(LockServer, "%s", why)
	}
	return locks
}

// secondhand: an incident that an earlier leader opened. Its host may have come back while nobody led; only a verdict
// that this server has reached itself lets it fence.
func (e *Engine) secondhand(in *Incident, h *host) string {
	if in.Verdict == ByOperator || in.Unhealthy || in.Proof != nil || respond(h.now.Verdict, e.policy) == PhaseOpen && h.now.Verdict != Rebooted {
		return ""
	}
	return "the verdict " + string(in.Verdict) + " of " + in.Host + " does not stand on what this server sees itself now"
}

// carriesServer refuses to fence oneself, and a machine whose server the quorum needs.
func (e *Engine) carriesServer(host string) string {
	name, carries := e.quorum.On[host]
	if !carries {
		return ""
	}
	if host == e.quorum.Self {
		return fmt.Sprintf("%s carries the leading server %s itself; leadership must move first", host, name)
	}
	rest := e.quorum.Healthy
	if rest == e.quorum.Members {
		rest-- // the victim's server still counts as healthy
	}
	if rest < e.quorum.Members/2+1 {
		return fmt.Sprintf("%s carries server %s, and the %d other healthy servers of %d would be no quorum", host, name, rest, e.quorum.Members)
	}
	return ""
}

// stormy counts the hosts in trouble against those that could be seen, per zone and for the whole cloud. When many
// fail at once the likeliest cause is the network or ourselves, and fencing them all would be the disaster.
func (e *Engine) stormy(in *Incident) string {
	if in.Verdict == ByOperator {
		return ""
	}
	why := e.stormIn(in, "")
	if why == "" && in.Zone != "" {
		why = e.stormIn(in, in.Zone)
	}
	if why != "" {
		e.storm = e.now
		return why
	}
	if left := e.policy.StormCooldown() - e.now.Sub(e.storm); !e.storm.IsZero() && left > 0 {
		return fmt.Sprintf("cooling down after a storm, %d s left", int(left.Seconds()+0.5))
	}
	return ""
}

// stormIn counts in one zone ("" for all). Hosts whose BMC reads off are positive evidence and exempt, up to the same
// limit and at most three through one controller address.
func (e *Engine) stormIn(in *Incident, zone string) string {
	seen, troubled := 0, []string{}
	offs, vias := 0, map[string]int{}
	var off []*host
	for _, h := range e.hosts {
		if zone != "" && h.facts.Zone != zone || h.maintenance != nil || !h.lived {
			continue
		}
		seen++
		if !e.inTrouble(h) {
			continue
		}
		if h.now.Verdict == Off {
			off = append(off, h)
			continue
		}
		troubled = append(troubled, h.facts.Name)
	}
	allowed := max(1, int(math.Floor(float64(e.policy.StormPercent())/100*float64(seen))))
	slices.SortFunc(off, func(a, b *host) int { return strings.Compare(a.facts.Name, b.facts.Name) })
	for _, h := range off {
		if offs < allowed && vias[h.now.Via] < perVia {
			offs++
			vias[h.now.Via]++
			continue
		}
		troubled = append(troubled, h.facts.Name)
	}
	if len(troubled) <= allowed {
		return ""
	}
	slices.Sort(troubled)
	where := "of the cloud"
	if zone != "" {
		where = "of zone " + zone
	}
	return fmt.Sprintf("storm: %d of %d hosts %s are suspect or worse now or were within 60 s, %d may be (%s)%s",
		len(troubled), seen, where, allowed, some(troubled), e.sharedCause(troubled))
}

// inTrouble: suspect or worse now or within the window, unless its proof is on record (then it is no unknown any more).
func (e *Engine) inTrouble(h *host) bool {
	bad := h.now.Suspect
	switch h.now.Verdict {
	case Off, Dead, Isolated, Degraded, Hung:
		bad = true
	}
	if !h.cleared.IsZero() && !h.cleared.Before(h.troubled) {
		return e.now.Sub(h.cleared) < stormWindow
	}
	if bad {
		h.troubled = e.now
	}
	return !h.troubled.IsZero() && e.now.Sub(h.troubled) < stormWindow
}

// sharedCause names what the hosts in trouble have in common, by the labels of their agents.
func (e *Engine) sharedCause(names []string) string {
	var common []string
	for _, label := range []string{"rack", "pdu", "switch"} {
		value := e.host(names[0]).facts.Labels[label]
		if value == "" {
			continue
		}
		if !slices.ContainsFunc(names, func(n string) bool { return e.host(n).facts.Labels[label] != value }) {
			common = append(common, label+" "+value)
		}
	}
	if len(common) == 0 {
		return ""
	}
	return "; they share " + strings.Join(common, ", ")
}

func some(names []string) string {
	if len(names) > 6 {
		return strings.Join(names[:6], ", ") + fmt.Sprintf(" and %d more", len(names)-6)
	}
	return strings.Join(names, ", ")
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05") }
