package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// assessed takes in what detection makes of a host: suspicion starts only work that can be undone, a verdict opens or
// changes the host's incident.
func (e *Engine) assessed(ev Assessed) {
	h := e.host(ev.Host)
	before := h.now
	h.now = ev
	if ev.Verdict == Up && !ev.Suspect {
		h.lived = true
	}
	if h.alive() && !ev.Suspect && ev.Boot != "" && ev.Boot != h.boot {
		h.boot = ev.Boot // in the same step, and so the same transaction, as the incident of the boot before
		e.touchHost(ev.Host)
	}
	if in := e.incidentOf(ev.Host); in != nil {
		e.reassess(in, h, before)
		return
	}
	if ev.Suspect && !before.Suspect {
		h.troubled = e.now
		e.note(Warning, ev.Host, "", "", "suspect: "+ev.Reason)
		e.do("list/"+ev.Host, Action{Do: ListServers, Host: ev.Host, Why: "to have the plan ready"})
	}
	if !ev.Suspect && before.Suspect && ev.Verdict == Up {
		e.note(Info, ev.Host, "", "", "no longer suspect: "+ev.Reason)
	}
	if p := respond(ev.Verdict, e.policy); p != "" && ev.Verdict != before.Verdict {
		e.openIncident(h, ev, p)
	}
}

// openIncident begins the durable record of a failure.
func (e *Engine) openIncident(h *host, ev Assessed, phase Phase) *Incident {
	boot := ev.Boot
	in := &Incident{
		ID: e.newID(ev.Host), Host: ev.Host, Zone: h.facts.Zone, Verdict: ev.Verdict, Reason: ev.Reason,
		Evidence: ev.Evidence, Boot: boot, Phase: phase,
		Stages: Stages{LastLife: ev.LastLife, Suspect: h.troubled, Verdict: e.now},
	}
	if in.Stages.Suspect.IsZero() || in.Stages.Suspect.Before(ev.LastLife) {
		in.Stages.Suspect = e.now
	}
	e.incidents[in.ID] = in
	e.vms[in.ID] = map[string]*Recovery{}
	if phase != PhaseAlert {
		h.troubled = e.now
		h.verdicts = append(h.verdicts, e.now)
	}
	e.noteMode(in, fmt.Sprintf("verdict %s: %s", ev.Verdict, ev.Reason))
	e.touch(in)
	return in
}

// reassess changes what an open incident does about its host.
func (e *Engine) reassess(in *Incident, h *host, before Assessed) {
	ev := h.now
	if in.Proof != nil && in.Proof.Kind != "reboot" {
		e.lifeAfterProof(in, h)
		return
	}
	if ev.Verdict == before.Verdict {
		return
	}
	switch {
	case ev.Verdict == Up && in.Phase == PhaseInPlace:
		// The rebooted host counts as up from now on; inPlace brings its VMs back.
	case ev.Verdict == Up || ev.Verdict == Leaving:
		e.standDown(in, fmt.Sprintf("the host is %s: %s", ev.Verdict, ev.Reason))
	case ev.Verdict == Rebooted:
		e.rebooted(in, ev)
	case ev.Verdict == "":
		e.withdrawn(in, ev)
	default:
		phase := respond(ev.Verdict, e.policy)
		if phase == "" {
			return
		}
		e.tell(in, fmt.Sprintf("verdict %s: %s", ev.Verdict, ev.Reason))
		in.Verdict, in.Reason, in.Evidence = ev.Verdict, ev.Reason, ev.Evidence
		if phase == PhaseOpen && (in.Phase == PhaseAlert || in.Phase == PhaseInPlace) {
			in.Phase, in.Boot, in.Proof = PhaseOpen, ev.Boot, nil
			in.Stages.Verdict = e.now
			h.troubled = e.now
			h.verdicts = append(h.verdicts, e.now)
		}
		if phase == PhaseAlert && in.Phase == PhaseOpen {
			in.Phase = PhaseAlert // it lives somewhere after all; nothing has been sent yet
			e.release(in)
		}
	}
}

// withdrawn: new evidence of life took the verdict back, and none has come in its place. Nothing is begun on it.
func (e *Engine) withdrawn(in *Incident, ev Assessed) {
	if e.busy("fence/" + in.ID) {
		e.tell(in, "the verdict was withdrawn ("+ev.Reason+"); a fence is under way and its result decides")
		return
	}
	if in.Phase == PhaseOpen || in.Phase == PhaseFencing {
		in.Phase = PhaseAlert
		e.release(in)
	}
	e.tell(in, "the verdict was withdrawn: "+ev.Reason)
}

// standDown ends an incident whose host turned out to live, as long as nothing irreversible is under way.
func (e *Engine) standDown(in *Incident, why string) {
	switch in.Phase {
	case PhaseAlert, PhaseOpen:
		e.closeIncident(in, why)
	case PhaseFencing:
		if e.busy("fence/" + in.ID) {
			e.tell(in, why+"; a fence is under way and its result decides")
			return
		}
		if in.Fencing.Begun {
			why += "; a fence had been sent but never proved, the host stayed up"
		}
		e.closeIncident(in, why)
	default:
		e.tell(in, why)
	}
}

// rebooted: a new boot pulses, so the old guests are gone. The host gets the chance to run them again itself.
func (e *Engine) rebooted(in *Incident, ev Assessed) {
	if e.busy("fence/" + in.ID) {
		e.tell(in, "a new boot pulses, but a fence is under way and its result decides")
		return
	}
	if in.Phase == PhaseInPlace {
		e.tell(in, "rebooted again: "+ev.Reason)
		for _, r := range e.recoveries(in) {
			if r.State == Verifying || r.State == Recovered {
				e.setState(r, Restarting, "the host rebooted again")
			}
		}
	} else {
		e.tell(in, "verdict rebooted: "+ev.Reason)
	}
	in.Verdict, in.Reason, in.Evidence, in.Phase = Rebooted, ev.Reason, ev.Evidence, PhaseInPlace
	in.Proof = &Proof{Kind: "reboot", Host: in.Host, Boot: in.Boot, At: e.now}
	in.Stages.Verdict = e.now
	in.Return = Return{Boot: ev.Boot, Seen: e.now}
	e.touch(in)
}

// lifeAfterProof: life of the boot that the proof says has ended revokes it; a new boot confirms that the old copies
// are gone, but going on then needs the host's gate reported closed and no guest on it (see mayWrite).
func (e *Engine) lifeAfterProof(in *Incident, h *host) {
	ev := h.now
	if ev.Verdict == "" && ev.Suspect && in.Phase == PhaseResurrecting && in.Return.Boot == "" {
		e.doubted(in, ev)
		return
	}
	if !h.alive() {
		if in.Return.Boot != "" && (ev.Verdict == Off || ev.Verdict == Dead) && in.Phase == PhaseRecovered {
			e.tell(in, "fell silent again while coming back: "+ev.Reason)
			in.Return.Boot, in.Return.Seen, in.Return.Healthy = "", time.Time{}, time.Time{}
		}
		return
	}
	if ev.Suspect || ev.Boot == in.Return.Boot && ev.Boot != "" {
		return
	}
	if in.Proof.covers(ev.Boot) && (in.Proof.Boot != "" || ev.Boot == "") {
		in.Revoked = fmt.Sprintf("%s, but boot %s of %s lives: %s", in.Proof, short(ev.Boot), in.Host, ev.Reason)
		e.noteMode(in, "contradicted: "+in.Revoked)
		return
	}
	in.Return.Boot, in.Return.Seen = ev.Boot, e.now
	e.tell(in, "the host is back with a new boot, "+short(ev.Boot))
}

// doubted: something of the fenced host gave a sign of life without saying which boot it is. A device can be asked again;
// an operator's word can't.
func (e *Engine) doubted(in *Incident, ev Assessed) {
	if in.Proof.Kind != "power-off" {
		in.Revoked = fmt.Sprintf("%s, but: %s", in.Proof, ev.Reason)
		e.noteMode(in, "contradicted: "+in.Revoked)
		return
	}
	e.tell(in, "a sign of life after the proof ("+ev.Reason+"): fencing once more before anything else starts")
	in.Phase, in.Fencing.Level, in.Fencing.Next = PhaseFencing, 0, zeroTime
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
	h.verdicts = slices.DeleteFunc(h.verdicts, func(t time.Time) bool { return e.now.Sub(t) > 10*time.Minute })
	return len(h.verdicts) >= 3
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
