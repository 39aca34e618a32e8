package engine

import (
	"fmt"
	"maps"
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
	LockSuperseded  = "superseded"
	LockPower       = "power"
	LockProof       = "no-proof"
	LockUnprotected = "unprotected"
	LockReturn      = "return"
	LockFailed      = "failed-vms"
)

// mayAct holds for every outside write: armed, not in shadow, not in maintenance.
func (e *Engine) mayAct(in *Incident) []Interlock {
	var locks []Interlock
	add := func(code, format string, args ...any) {
		locks = append(locks, Interlock{Code: code, Reason: fmt.Sprintf(format, args...)})
	}
	if why := e.switches.Disarmed(); why != "" {
		add(LockDisarmed, "%s (`ninelives arm` ends it)", why)
	}
	if e.switches.Shadow {
		add(LockShadow, "shadow mode: everything is decided and recorded, nothing is done")
	}
	if m := e.host(in.Host).maintenance; m != nil {
		add(LockMaintenance, "%s is in maintenance since %s: %s", in.Host, clock(m.At), m.Reason)
	} else if z, ok := e.zones[in.Zone]; ok {
		add(LockMaintenance, "zone %s is in maintenance since %s: %s", in.Zone, clock(z.At), z.Reason)
	}
	if left := e.cfg.Permit - e.now.Sub(e.cfg.Takeover); !e.cfg.Takeover.IsZero() && left > 0 {
		add(LockTakeover, "a new leader waits until the last leader's permits have run out") // it may still send what it had committed
	}
	if why := e.Superseded(); why != "" {
		add(LockSuperseded, "%s", why)
	}
	if in.Aborted != "" {
		add(LockAborted, "given up by an operator: %s", in.Aborted)
	}
	return locks
}

// fewestAhead hosts must know of a later epoch before it counts: one agent alone may be wrong, or lie.
const fewestAhead = 2

// Superseded says that most hosts obey somebody else, "" if they don't: a cluster that was restored from a backup while this
// one was away, and that works with the same hosts now. Two of them at once would each bring a host's VMs back.
func (e *Engine) Superseded() string {
	a := e.quorum.Ahead
	if a.Hosts < fewestAhead || 2*a.Hosts <= a.Of {
		return ""
	}
	return fmt.Sprintf("%d of %d hosts have heard of epoch %d, this leader's is %d: another cluster has taken them over. If one was restored from a backup, stop this server, move its etcd directory away and join that one; if this one's database began with nothing, remove cluster.json from the data directory of each agent and restart it", a.Hosts, a.Of, a.Epoch, e.cfg.Epoch)
}

// mayWrite holds for every write on behalf of the dead host's VMs. It is the one place of promise S1: nothing is started
// anywhere without a proof that stands.
func (e *Engine) mayWrite(in *Incident) []Interlock {
	locks := e.mayAct(in)
	add := func(code, reason string) { locks = append(locks, Interlock{Code: code, Reason: reason}) }
	pulsing := e.stillPulsing(in)
	switch {
	case in.Proof == nil:
		add(LockProof, "nothing proves that the last boot of "+in.Host+" has ended")
	case in.Revoked != "":
		add(LockRevoked, fmt.Sprintf("the proof was contradicted: %s; ninelives host fence %s --reason … makes certain of it, ninelives incident abort %s --reason … leaves the host as it is",
			in.Revoked, in.Host, in.ID))
	case pulsing:
		add(LockAlive, in.Host+" was switched off, but its last pulse is too fresh; it must fall silent first")
	}
	if in.Foreign != "" {
		add(LockForeign, in.Foreign)
	}
	if in.Out.UndoneByOther {
		add(LockUnforced, "somebody took "+in.Host+"'s forced_down away half-way; that is an operator's stop (`ninelives incident retry "+in.ID+"` goes on)")
	}
	if h := e.host(in.Host); in.fenced() && in.Phase != PhaseRecovered && in.Phase != PhaseRetrying && in.Return.Boot != "" && !h.empty(in.Return) {
		add(LockAlive, in.Host+" is back with a new boot, and its agent doesn't report a closed gate and no guest")
	}
	return locks
}

// empty reports whether the returned host's agent says that its gate is closed and no guest runs: a fake driver's guests
// nobody can see, so there the gate must do.
func (h *host) empty(r Return) bool {
	if !h.report.GateClosed || h.report.Boot != r.Boot {
		return false
	}
	seen := h.report.GuestsSeen && !h.report.At.Before(r.Seen)
	return len(h.report.Guests) == 0 && (seen || h.facts.Hypervisor == "fake")
}

// mayFence holds before a fence. Capacity is never a reason here.
func (e *Engine) mayFence(in *Incident) []Interlock {
	locks := e.mayAct(in)
	add := func(code, format string, args ...any) {
		locks = append(locks, Interlock{Code: code, Reason: fmt.Sprintf(format, args...)})
	}
	h := e.host(in.Host)
	if h.facts.Unprotected != "" {
		add(LockUnprotected, "%s is not protected: %s", in.Host, h.facts.Unprotected)
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
	if n := e.policy.FencesPerMinute(); e.fencedLately(in.Host) >= n {
		add(LockFenceRate, "the policy allows %d hosts to be fenced within a minute; that many were within the last one", n)
	}
	if why := e.carriesServer(in.Host); why != "" {
		add(LockServer, "%s", why)
	}
	return locks
}

// fencedLately counts the other hosts that a fence was sent to within the last minute. One whose device doesn't answer
// is tried again and again; that must not keep the next host from being fenced.
func (e *Engine) fencedLately(besides string) int {
	maps.DeleteFunc(e.fences, func(_ string, at time.Time) bool { return e.now.Sub(at) > time.Minute })
	if _, counted := e.fences[besides]; counted {
		return len(e.fences) - 1
	}
	return len(e.fences)
}

// secondhand: an incident that an earlier leader opened. Its host may have come back while nobody led; only a verdict
// that this server has reached itself lets it fence, or that its devices read off now, after a fence begun on record.
func (e *Engine) secondhand(in *Incident, h *host) string {
	if in.Verdict == ByOperator || in.Unhealthy || in.Proof != nil || !in.foundOff.IsZero() && !h.pulses() || respond(h.now.Verdict, e.policy) == PhaseOpen && h.now.Verdict != Rebooted {
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
	if !e.quorum.Lost[name] {
		rest-- // the victim's server may be one of the healthy ones
	}
	if rest < e.quorum.Members/2+1 {
		return fmt.Sprintf("%s carries server %s, and the %d other healthy servers of %d would be no quorum", host, name, rest, e.quorum.Members)
	}
	return ""
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05") }
