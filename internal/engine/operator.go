package engine

import (
	"fmt"
	"slices"
	"strings"
)

// asked carries out an operator's request, or says why not. Every one is answered in the same step.
func (e *Engine) asked(ev Asked) {
	text, err := e.obey(ev)
	if err != nil {
		e.out.Replies = append(e.out.Replies, Reply{Asked: ev.ID, Text: err.Error()})
		return
	}
	e.note(Info, ev.Host, ev.Incident, ev.VM, fmt.Sprintf("%s: %s", ev.By, text))
	e.out.Replies = append(e.out.Replies, Reply{Asked: ev.ID, OK: true, Text: text})
}

func (e *Engine) obey(ev Asked) (string, error) {
	switch ev.Verb {
	case Arm, Disarm, ShadowOn, ShadowOff:
		return e.switchTo(ev)
	case MaintenanceOn, MaintenanceOff:
		return e.maintain(ev)
	case ConfirmDown:
		return e.confirmDown(ev)
	case FenceHost:
		return e.fenceByHand(ev)
	case ReadmitHost:
		return e.readmitByHand(ev)
	case RetryIncident:
		return e.retry(ev)
	case AbortIncident:
		return e.abort(ev)
	default:
		return "", fmt.Errorf("there is no request %q", ev.Verb)
	}
}

func (e *Engine) switchTo(ev Asked) (string, error) {
	if ev.Verb == Disarm && ev.Reason == "" {
		return "", fmt.Errorf("disarming needs a reason (--reason): whoever finds it disarmed must know why")
	}
	s := &e.switches
	switch ev.Verb {
	case Arm:
		s.Armed = true
	case Disarm:
		s.Armed = false
	case ShadowOn:
		s.Shadow = true
	case ShadowOff:
		s.Shadow = false
	}
	s.By, s.At, s.Reason = ev.By, e.now, ev.Reason
	e.dirty["switches/armed"] = true
	switch {
	case !s.Armed:
		return "disarmed: nothing new is sent; what Nova accepted is tracked to its end", nil
	case s.Shadow:
		return "armed, in shadow mode: everything is decided and recorded, nothing is done", nil
	default:
		return "armed", nil
	}
}

func (e *Engine) maintain(ev Asked) (string, error) {
	on := ev.Verb == MaintenanceOn
	if on && ev.Reason == "" {
		return "", fmt.Errorf("maintenance needs a reason (--reason)")
	}
	m := Maintenance{Reason: ev.Reason, By: ev.By, At: e.now}
	if ev.Zone != "" {
		if on {
			e.zones[ev.Zone] = m
		} else {
			delete(e.zones, ev.Zone)
		}
		e.dirty["switches/maintenance"] = true
		return fmt.Sprintf("zone %s: maintenance %s", ev.Zone, onOff(on)), nil
	}
	h, ok := e.hosts[ev.Host]
	if !ok {
		return "", unknownHost(ev.Host)
	}
	h.maintenance, e.recount = nil, true
	if on {
		h.maintenance = &m
	}
	e.touchHost(ev.Host)
	return fmt.Sprintf("%s: maintenance %s", ev.Host, onOff(on)), nil
}

// confirmDown records the operator's word as a proof. A host that pulses is not down, whoever says so.
func (e *Engine) confirmDown(ev Asked) (string, error) {
	h, ok := e.hosts[ev.Host]
	if !ok {
		return "", unknownHost(ev.Host)
	}
	if ev.Reason == "" {
		return "", fmt.Errorf("confirming that a host is down needs a reason (--reason): how do you know?")
	}
	if h.alive() && !h.now.Suspect {
		return "", fmt.Errorf("%s pulses: it is not down", ev.Host)
	}
	in := e.incidentOf(ev.Host)
	if in != nil && in.fenced() && in.Phase != PhaseFencing && in.Revoked == "" {
		return "", fmt.Errorf("incident %s has a proof already: %s", in.ID, in.Proof)
	}
	if t := strings.ToLower(h.facts.Hypervisor); t != "" && t != "qemu" && t != "kvm" && t != "fake" {
		return "", fmt.Errorf("the hypervisor of %s is %s: its VMs may run on although it is down", ev.Host, h.facts.Hypervisor)
	}
	switch {
	case in == nil:
		now := h.now
		now.Verdict, now.Reason = ByOperator, "an operator's word"
		in = e.openIncident(h, now, PhaseOpen)
	case in.Phase == PhaseInPlace:
		e.beginAnew(in, PhaseOpen)
	}
	if e.busy("fence/" + in.ID) {
		e.tell(in, "a fence is under way; its result will be added")
	}
	e.prove(in, Proof{Kind: "operator", Host: ev.Host, Boot: in.Boot, At: e.now, By: ev.By, Reason: ev.Reason})
	return fmt.Sprintf("incident %s: %s", in.ID, in.Proof), nil
}

// fenceByHand fences a host on an operator's word: also one that is hung or isolated, or alive.
func (e *Engine) fenceByHand(ev Asked) (string, error) {
	h, ok := e.hosts[ev.Host]
	if !ok {
		return "", unknownHost(ev.Host)
	}
	if ev.Reason == "" {
		return "", fmt.Errorf("fencing a host by hand needs a reason (--reason)")
	}
	in := e.incidentOf(ev.Host)
	switch {
	case in == nil:
		now := h.now
		now.Verdict, now.Reason = ByOperator, fmt.Sprintf("%s: %s", ev.By, ev.Reason)
		in = e.openIncident(h, now, PhaseOpen)
	case in.Proof == nil && !e.busy("fence/"+in.ID):
		in.Verdict, in.Phase, in.Fencing.Next = ByOperator, PhaseOpen, zeroTime
		e.tell(in, fmt.Sprintf("%s asks to fence it: %s", ev.By, ev.Reason))
	case in.Revoked != "" && in.Aborted == "":
		e.afresh(in)
		e.tell(in, fmt.Sprintf("%s asks to fence it: %s", ev.By, ev.Reason))
	default:
		return "", fmt.Errorf("incident %s of %s is already %s", in.ID, ev.Host, in.Phase)
	}
	return fmt.Sprintf("incident %s: %s is fenced as soon as the interlocks allow", in.ID, ev.Host), nil
}

// afresh begins again at the fence, on an operator's word: a contradicted proof is worth nothing.
func (e *Engine) afresh(in *Incident) {
	in.Revoked, in.Phase, in.Proof, in.Verdict = "", PhaseOpen, nil, ByOperator
	in.Out.Done, in.Fencing.Next, in.Fencing.Level = false, zeroTime, 0
	e.touch(in)
}

func (e *Engine) readmitByHand(ev Asked) (string, error) {
	in := e.incidentOf(ev.Host)
	switch {
	case e.hosts[ev.Host] == nil:
		return "", unknownHost(ev.Host)
	case in == nil && e.hosts[ev.Host].leftAlone():
		h := e.hosts[ev.Host]
		e.protectAgain(h)
		if p := respond(h.now.Verdict, e.policy); p != "" && h.now.Verdict != Rebooted { // still as bad as when it was given up
			e.openIncident(h, h.now, p)
		}
		return fmt.Sprintf("%s: protected again, and nothing is forbidden there any more; take its service back in Nova (openstack compute service set --up, --enable)", ev.Host), nil
	case in == nil:
		return "", fmt.Errorf("%s has no open incident: there is nothing to readmit it from", ev.Host)
	case in.Phase != PhaseRecovered:
		return "", fmt.Errorf("incident %s is %s; the host comes back when every VM is settled", in.ID, in.Phase)
	}
	in.Return.Readmit = true
	e.touch(in)
	if in.Return.Boot == "" && len(merge(in.Fencing.Commands, in.Fencing.Trying)) == 0 {
		return fmt.Sprintf("incident %s: no device of %s was used, so none is switched on; it is taken back when somebody has started it", in.ID, in.Host), nil
	}
	return fmt.Sprintf("incident %s: %s is brought back", in.ID, in.Host), nil
}

// retry takes away what only an operator may: a stop by somebody else, a contradicted proof, a VM that was given up.
func (e *Engine) retry(ev Asked) (string, error) {
	in, err := e.openByID(ev.Incident)
	if err != nil {
		return "", err
	}
	if in.Aborted != "" {
		return "", fmt.Errorf("incident %s was given up: %s", in.ID, in.Aborted)
	}
	if in.Revoked != "" && e.host(in.Host).pulses() {
		return "", fmt.Errorf("%s lives: ninelives host fence %s --reason … switches it off, ninelives incident abort %s --reason … leaves it as it is", in.Host, in.Host, in.ID)
	}
	shared := in.Foreign != "" // somebody else may have moved what still waits here
	in.Foreign, in.Fencing.Next, in.Fencing.Level = "", zeroTime, 0
	e.host(in.Host).verdicts = nil
	e.touchHost(in.Host)
	switch {
	case in.Revoked != "":
		e.afresh(in)
	case in.Out.UndoneByOther && in.Return.Boot == "":
		in.Out.Done, in.Phase = false, PhaseTakingOut
	}
	in.Out.UndoneByOther = false
	n := 0
	for _, r := range e.recoveries(in) {
		if ev.VM != "" && ev.VM != r.VM.ID && ev.VM != r.VM.Name {
			continue
		}
		if in.Return.Boot != "" {
			if r.State == Failed { // in place, at once
				r.Tries, r.NotBefore = 0, e.now
				e.touchVM(r)
				n++
			}
			continue
		}
		if a := r.Open(); a != nil && ev.VM != "" && (a.Seen && a.Migration == "" || e.notBegun(a)) {
			a.Lost = a.Lost || e.notBegun(a) // to the same target, should it come all the same: one host runs it once
			a.Ended, a.Why = e.now, ev.By+" says that nothing came of it"
			r.State = Held
		}
		if r.Elsewhere != "" && (!r.Disputed || ev.VM == "") {
			continue // whether it runs there is found out, not decided
		}
		if r.Open() == nil && r.VM.Host == in.Host && (r.State == Held || r.State == Failed || shared && r.State == Queued) {
			r.Tries, r.NotBefore, r.Elsewhere, r.Disputed = 0, zeroTime, "", false
			e.setState(r, Unaccounted, "an operator asks for another try; read afresh")
			n++
		}
	}
	if n > 0 && in.Phase == PhaseRecovered && !in.Return.PowerOn {
		in.Phase = PhaseResurrecting
	}
	e.tell(in, fmt.Sprintf("%s: another try (%d VMs)", ev.By, n))
	text := fmt.Sprintf("incident %s goes on", in.ID)
	if locks := e.mayAct(in); len(locks) > 0 {
		text += " once nothing holds it: " + locks[0].Reason
	}
	if n > 0 {
		text += fmt.Sprintf("; %d VMs are tried again", n)
	}
	return text, nil
}

func (e *Engine) openByID(id string) (*Incident, error) {
	in := e.incidents[id]
	switch {
	case in == nil:
		return nil, fmt.Errorf("there is no incident %q", id)
	case in.closed():
		return nil, fmt.Errorf("incident %s is closed", in.ID)
	}
	return in, nil
}

// abort gives the rest of an incident up. What Nova accepted is still tracked to its end: see windDown.
func (e *Engine) abort(ev Asked) (string, error) {
	in, err := e.openByID(ev.Incident)
	if err != nil {
		return "", err
	}
	if ev.Reason == "" {
		return "", fmt.Errorf("giving an incident up needs a reason (--reason)")
	}
	in.Aborted = fmt.Sprintf("%s: %s", ev.By, ev.Reason)
	for _, r := range e.recoveries(in) {
		e.giveUp(in, r)
	}
	e.tell(in, "given up by "+in.Aborted)
	return fmt.Sprintf("incident %s is given up; what Nova accepted is tracked to its end", in.ID), nil
}

func (e *Engine) giveUp(in *Incident, r *Recovery) {
	if r.Open() == nil && (!r.State.Settled() && r.State != Verifying || r.State == Failed) {
		r.NotBefore = zeroTime
		e.setState(r, Skipped, "given up by "+in.Aborted)
	}
}

// windDown ends an incident that was given up, once nothing of it is under way. Its host stays as it is, and is left alone
// whatever becomes of it: out of service if it was taken out, its VMs not restarted should it return, and what runs
// elsewhere forbidden there, until an operator takes it back.
func (e *Engine) windDown(in *Incident) {
	for _, r := range e.recoveries(in) {
		e.giveUp(in, r)
	}
	e.block(in, e.mayAct(in))
	for _, key := range []string{"fence/", "out/", "on/", "back/"} {
		if e.busy(key + in.ID) {
			return
		}
	}
	if slices.ContainsFunc(e.recoveries(in), func(r *Recovery) bool { return r.Open() != nil || !r.State.Settled() }) {
		return
	}
	why := "given up"
	if in.Phase == PhaseRetrying {
		e.closeIncident(in, why)
		return
	}
	h := e.host(in.Host)
	h.forbidden = merge(h.forbidden, e.forbiddenOn(in))
	if in.Phase != PhaseAlert {
		h.givenUp = in.ID
		e.nameLeft(in, h)
		why += "; " + in.Host + " is left alone until it is taken back"
	}
	e.touchHost(in.Host)
	if in.Out.Begun {
		why += ": it stays out of service till then"
	}
	e.closeIncident(in, why)
}

// nameLeft puts the VMs on record that the incident was to bring back and had not even listed: none is given up silently.
func (e *Engine) nameLeft(in *Incident, h *host) {
	if in.Planned {
		return
	}
	for _, vm := range h.vms {
		if e.vms[in.ID][vm.ID] == nil && e.owner(vm.ID) == nil {
			r := &Recovery{Incident: in.ID, VM: vm}
			e.add(r)
			e.giveUp(in, r)
		}
	}
}

func unknownHost(name string) error {
	return fmt.Errorf("there is no host %q (ninelives host list)", name)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
