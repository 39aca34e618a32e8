package engine

import (
	"fmt"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// assessed takes in what detection makes of a host: suspicion starts only work that can be undone, a verdict opens or
// changes the host's incident.
func (e *Engine) assessed(ev Assessed) {
	h := e.host(ev.Host)
	before := *h
	h.now = ev
	if before.bad() && !h.bad() && !before.cleared.After(before.troubled) {
		h.troubled = e.now // counted from the end of the trouble
	}
	if ev.Verdict == Up && !ev.Suspect {
		h.lived, h.suspected = true, zeroTime
	}
	e.recount = e.recount || before.bad() || h.bad() || h.lived != before.lived
	if h.alive() && !ev.Suspect && ev.Boot != "" && ev.Boot != h.boot {
		h.boot = ev.Boot // in the same step as the incident of the boot before
		e.touchHost(ev.Host)
	}
	if in := e.incidentOf(ev.Host); in != nil {
		e.reassess(in, h, before.now)
		return
	}
	if ev.Suspect && !before.now.Suspect {
		h.troubled, h.suspected = e.now, e.now
		e.note(Warning, ev.Host, "", "", "suspect: "+ev.Reason)
		e.do("foresee/"+ev.Host, Action{Do: ListServers, Host: ev.Host, Why: "to have the plan ready"})
	}
	if !ev.Suspect && before.now.Suspect && ev.Verdict == Up {
		e.note(Info, ev.Host, "", "", "no longer suspect: "+ev.Reason)
	}
	if h.alive() && !ev.Suspect && before.boot != "" && ev.Boot != "" && ev.Boot != before.boot {
		ev.Verdict, before.now.Verdict = Rebooted, "" // also when nobody led at the moment of the reboot
	}
	if p := respond(ev.Verdict, e.policy); p != "" && ev.Verdict != before.now.Verdict {
		if h.givenUp != "" {
			e.note(Warning, ev.Host, h.givenUp, "", fmt.Sprintf("verdict %s: %s; left alone, since incident %s was given up (ninelives host readmit %s ends that)", ev.Verdict, ev.Reason, h.givenUp, ev.Host))
			return
		}
		in := e.openIncident(h, ev, p)
		if ev.Verdict == Rebooted {
			in.Boot = before.boot
		}
	}
}

// openIncident begins the durable record of a failure.
func (e *Engine) openIncident(h *host, ev Assessed, phase Phase) *Incident {
	in := &Incident{
		ID: e.newID(h.facts.Name), Host: h.facts.Name, Zone: h.facts.Zone, Verdict: ev.Verdict, Reason: ev.Reason,
		Evidence: ev.Evidence, Boot: either(ev.Boot, h.boot), Phase: phase, Opened: e.now, // a new leader's detection may not know it
		Stages: Stages{LastLife: ev.LastLife, Suspect: h.suspected, Verdict: e.now},
	}
	if in.Stages.Suspect.IsZero() {
		in.Stages.Suspect = e.now
	}
	if h.pulses() && ev.Verdict != Rebooted {
		in.Stages.LastLife = e.now // what detection told is as old as its last change
	}
	e.keep(in)
	if h.givenUp != "" { // an operator's new word
		h.givenUp = ""
		e.touchHost(h.facts.Name)
	}
	if phase != PhaseAlert {
		e.count(h)
	}
	e.noteMode(in, fmt.Sprintf("verdict %s: %s", ev.Verdict, ev.Reason))
	e.touch(in)
	return in
}

// count notes a failure of a host, for the storm and for the third in ten minutes.
func (e *Engine) count(h *host) {
	h.troubled, e.recount = e.now, true
	h.verdicts = append(h.verdicts, e.now)
	if len(h.verdicts) > 3 {
		h.verdicts = h.verdicts[len(h.verdicts)-3:]
	}
	e.touchHost(h.facts.Name)
}

// reassess changes what an open incident does about its host.
func (e *Engine) reassess(in *Incident, h *host, before Assessed) {
	ev := h.now
	if in.fenced() {
		e.lifeAfterProof(in, h)
		return
	}
	if h.alive() && !ev.Suspect && (ev.Verdict == Rebooted || ev.Boot != "" && in.Boot != "") && ev.Boot != in.lastBoot() {
		e.rebooted(in, ev)
		return
	}
	if ev.Verdict == before.Verdict {
		return
	}
	switch {
	case h.alive() && in.Phase == PhaseInPlace:
		// The rebooted host counts as up from now on; inPlace brings its VMs back.
	case ev.Verdict == Up || ev.Verdict == Leaving:
		e.standDown(in, fmt.Sprintf("the host is %s: %s", ev.Verdict, ev.Reason))
	case ev.Verdict == "":
		e.withdrawn(in, ev)
	default:
		e.judgedAgain(in, h)
	}
}

// lastBoot is the boot that the incident has last taken in: another one is a reboot.
func (in *Incident) lastBoot() string { return either(in.Return.Boot, in.Boot) }

// judgedAgain: another verdict about a host whose failed boot isn't proved to have ended.
func (e *Engine) judgedAgain(in *Incident, h *host) {
	ev := h.now
	phase := respond(ev.Verdict, e.policy)
	if phase == "" || in.Verdict == ByOperator && phase == PhaseOpen {
		return
	}
	if ev.Verdict == Off && in.Phase == PhaseFencing && !in.Fencing.At.IsZero() {
		e.tell(in, "it reads off now, which is the fence's own doing: "+ev.Reason)
		return
	}
	e.tell(in, fmt.Sprintf("verdict %s: %s", ev.Verdict, ev.Reason))
	in.Verdict, in.Reason, in.Evidence = ev.Verdict, ev.Reason, ev.Evidence
	switch {
	case phase == PhaseOpen && (in.Phase == PhaseAlert || in.Phase == PhaseInPlace):
		e.beginAnew(in, PhaseOpen)
		e.count(h)
	case phase == PhaseAlert && (in.Phase == PhaseOpen || in.Phase == PhaseFencing && !e.busy("fence/"+in.ID)):
		in.Phase = PhaseAlert // it lives somewhere after all
		e.work(in)
		e.block(in, nil)
	}
}

// beginAnew: a later boot of the host failed as well. What was planned for the earlier one counts no more; the new plan
// keeps what is under way and what runs elsewhere.
func (e *Engine) beginAnew(in *Incident, phase Phase) {
	if in.fenced() && in.Return.Boot != "" && in.Revoked == "" {
		in.Earlier = in.Proof
	}
	in.Boot, in.Return = in.lastBoot(), Return{}
	in.Phase, in.Proof, in.Revoked, in.Planned = phase, nil, "", false
	in.Stages.Verdict, in.foundOff = e.now, zeroTime
	in.Fencing.Level, in.Fencing.Round, in.Fencing.Next = 0, 0, zeroTime
	for _, r := range e.recoveries(in) {
		inPlace := r.State == Restarting || r.State == Recovered && r.To == in.Host
		switch {
		case len(r.Attempts) == 0 && r.State != Unaccounted:
			delete(e.vms[in.ID], r.VM.ID)
			e.touchVM(r)
		case inPlace && r.Open() == nil: // Nova's list may leave it out
			e.setState(r, Unaccounted, "its host failed again; not listed since")
		}
	}
	delete(e.queues, in.ID)
	e.work(in)
	e.touch(in)
}

// withdrawn: new evidence of life took the verdict back, and none has come in its place. Nothing is begun on it.
func (e *Engine) withdrawn(in *Incident, ev Assessed) {
	if e.busy("fence/" + in.ID) {
		e.tell(in, "the verdict was withdrawn ("+ev.Reason+"); a fence is under way and its result decides")
		return
	}
	if (in.Phase == PhaseOpen || in.Phase == PhaseFencing) && in.Verdict != ByOperator {
		in.Phase = PhaseAlert
		e.work(in)
		e.block(in, nil)
	}
	e.tell(in, "the verdict was withdrawn: "+ev.Reason)
}

// standDown ends an incident whose host turned out to live, as long as nothing irreversible is under way.
func (e *Engine) standDown(in *Incident, why string) {
	switch {
	case in.Phase != PhaseAlert && in.Phase != PhaseOpen && in.Phase != PhaseFencing:
		e.tell(in, why)
	case e.busy("fence/" + in.ID):
		e.tell(in, why+"; a fence is under way and its result decides")
	case in.Earlier != nil && in.Verdict != ByOperator:
		e.tell(in, why) // see livesOn
	case in.Out.Begun: // begun anew after its proof was contradicted: its VMs may run elsewhere
		e.tell(in, why+"; it was taken out of service and its VMs were being moved, so the incident stays open")
	case in.Restart:
		e.tell(in, why)
		e.rebooted(in, e.host(in.Host).now)
	default:
		e.closeIncident(in, why+in.Fencing.leaves())
	}
}

// leaves says, at the end of a sentence, what became of the fences of a host that turned out to live.
func (f Fencing) leaves() string {
	switch {
	case f.At.IsZero():
		return ""
	case len(f.Commands) > 0:
		return "; off was sent by " + strings.Join(f.Commands, ", ") + " and not proved, the host lives on"
	case len(f.Trying) > 0:
		return "; whether off was sent by " + strings.Join(f.Trying, ", ") + " is not known, the host lives on"
	default:
		return "; fencing was tried, and nothing was sent"
	}
}

// rebooted: a new boot pulses, so the old guests are gone. The host gets the chance to run them again itself.
func (e *Engine) rebooted(in *Incident, ev Assessed) {
	if e.busy("fence/" + in.ID) {
		e.tell(in, "a new boot pulses, but a fence is under way and its result decides")
		return
	}
	again := in.Phase == PhaseInPlace && ev.Boot != in.Return.Boot
	if in.Phase == PhaseInPlace {
		e.tell(in, "rebooted again: "+ev.Reason)
	} else {
		e.tell(in, "verdict rebooted: "+ev.Reason)
	}
	e.work(in)
	ended := in.lastBoot()
	if ended == ev.Boot {
		ended = "" // it lived through the fences that were tried on it; the boot before it had ended
	}
	in.Proof, in.Earlier, in.Revoked = &Proof{Kind: "reboot", Host: in.Host, Boot: ended, At: e.now}, nil, ""
	in.Stages.Verdict, in.Fencing.Next, in.Unhealthy = e.now, zeroTime, false
	in.Return = Return{Boot: ev.Boot, Seen: e.now}
	if in.Out.Begun { // it was taken out of service: the long way back
		in.Stages.Proof, in.Phase = e.now, PhaseTakingOut
		e.touch(in)
		return
	}
	in.Verdict, in.Reason, in.Evidence, in.Phase, in.Restart = Rebooted, ev.Reason, ev.Evidence, PhaseInPlace, true
	if !again {
		in.Planned = false // listed afresh
	}
	for _, r := range e.recoveries(in) {
		if again && (r.State == Verifying || r.State == Recovered || r.State == Failed) {
			r.Tries, r.NotBefore = 0, zeroTime
			e.setState(r, Restarting, "the host rebooted again")
		}
	}
	e.touch(in)
}

// respond says how a verdict is answered: the default of the failure modes' table, or the policy's word. "" is nothing.
func respond(v Verdict, p *policy.Policy) Phase {
	switch v {
	case Off, Dead:
		return PhaseOpen
	case Rebooted:
		return PhaseOpen // admit turns it into in-place
	case Isolated:
		return fenceOrAlert(p.OnIsolated())
	case Degraded:
		return fenceOrAlert(p.OnDegraded())
	case Hung:
		return fenceOrAlert(p.OnHung())
	case AgentDown, Contradiction:
		return PhaseAlert
	default:
		return ""
	}
}

func fenceOrAlert(r policy.Response) Phase {
	if r == policy.ResponseFence {
		return PhaseOpen
	}
	return PhaseAlert
}

// thirdTime reports whether the host has failed so often lately that people should look first.
func (e *Engine) thirdTime(h *host) bool {
	recent := 0
	for _, t := range h.verdicts {
		if e.now.Sub(t) <= 10*time.Minute {
			recent++
		}
	}
	return recent >= 3
}

func short(boot string) string {
	if len(boot) > 8 {
		return boot[:8]
	}
	if boot == "" {
		return "(unknown)"
	}
	return boot
}
