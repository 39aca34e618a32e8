package engine

import (
	"fmt"
	"strings"
	"time"
)

// takeOut tells Nova, in one atomic call, that the host is out of service, and lists its VMs afresh; both at once.
func (e *Engine) takeOut(in *Incident) {
	locks := e.mayWrite(in)
	e.block(in, locks)
	if !in.Planned && e.every("list/"+in.ID, 5*time.Second) {
		e.do("list/"+in.Host, Action{Do: ListServers, Incident: in.ID, Host: in.Host, Why: "the plan needs a list read after the proof"})
	}
	if len(locks) > 0 {
		return
	}
	if !in.Out.Done && !e.busy("out/"+in.ID) && e.now.After(in.Fencing.Next) {
		e.beginTakeOut(in)
	}
	if in.Out.Done && in.Planned {
		in.Phase = PhaseResurrecting
		e.touch(in)
		e.resurrect(in)
	}
}

func (e *Engine) beginTakeOut(in *Incident) {
	s := e.host(in.Host).facts.Service
	if s.ID == "" {
		e.block(in, []Interlock{{Code: LockNova, Reason: "Nova's service record of " + in.Host + " is not known yet"}})
		return
	}
	if !in.Out.Begun {
		in.Out = TakenOut{
			Begun: true, Disabled: !s.Disabled, Forced: !s.ForcedDown, Reason: "ninelives: incident " + in.ID,
		}
		if ours := strings.HasPrefix(s.DisabledReason, "ninelives: incident "); s.Disabled && ours {
			in.Out.Disabled = true // left over from an earlier incident of ours: it is ours to undo
		}
	}
	e.touch(in)
	e.do("out/"+in.ID, Action{
		Do: TakeOut, Incident: in.ID, Host: in.Host, Service: s.ID, Disable: in.Out.Disabled, Force: true, Why: in.Out.Reason,
	})
}

func (e *Engine) tookOut(in *Incident, ev Answered) {
	if ev.Answer == Accepted {
		in.Out.Done, in.Stages.TakenOut = true, e.now
		in.Fencing.Round, in.Fencing.Next = 0, zeroTime
		e.release(in)
		what := "disabled and forced down"
		if !in.Out.Disabled {
			what = "forced down; an operator had disabled it"
		}
		e.tell(in, "Nova told: "+what)
		return
	}
	// The call is idempotent: whatever became of it, it may be repeated.
	in.Fencing.Round++
	in.Fencing.Next = e.now.Add(backoff(in.Fencing.Round, 500*time.Millisecond, 5*time.Second))
	e.block(in, []Interlock{{Code: LockNova, Reason: fmt.Sprintf("Nova did not take %s out of service (%s): %s; tried again", in.Host, ev.Answer, ev.Text)}})
	e.touch(in)
}

// listed takes in what Nova, Placement and the migrations say of a host.
func (e *Engine) listed(ev Listed) {
	a := e.answeredBy(ev.Action)
	if a == nil {
		return
	}
	h := e.host(a.Host)
	if ev.Err != "" {
		if in := e.incidents[a.Incident]; in != nil && in.acting() {
			e.block(in, []Interlock{{Code: LockNova, Reason: "cannot list " + a.Host + "'s VMs: " + ev.Err + "; tried again"}})
		}
		return
	}
	if ev.Service.ID != "" {
		h.facts.Service = ev.Service
	}
	in := e.incidents[a.Incident]
	if in == nil {
		if h.vms == nil {
			h.vms = ev.VMs
		}
		return
	}
	e.paused = zeroTime
	switch {
	case in.Phase == PhaseInPlace && !in.Planned:
		e.planInPlace(in, ev)
	case in.Proof == nil:
	case !in.Planned:
		e.plan(in, ev)
	default:
		e.refresh(in, ev)
	}
}

// refresh looks again at what held VMs wait for.
func (e *Engine) refresh(in *Incident, ev Listed) {
	for _, vm := range ev.VMs {
		r := e.vms[in.ID][vm.ID]
		if r == nil || r.State != Held || len(r.Attempts) > 0 {
			continue
		}
		vm.Facts = r.VM.Facts
		r.VM = vm
		e.classify(in, r, ev.Migrations)
	}
	e.arrange(in)
}
