package engine

import (
	"strings"
	"time"
)

// Ours begins every reason that Ninelives gives for disabling a service.
const Ours = "ninelives: incident "

// serviceFresh is how old a reading of the service may be to write on: whether an operator had disabled it is known
// from nothing else, and after our own write from nothing at all.
const serviceFresh = 15 * time.Second

// serviceEvery is how often a service is read while it is ours to take out.
const serviceEvery = 3 * time.Second

// takeOut tells Nova, in one atomic call, that the host is out of service, and lists its VMs afresh; both at once.
func (e *Engine) takeOut(in *Incident) {
	locks := e.mayWrite(in)
	e.block(in, locks)
	if e.openedByHand(in) && !in.Out.Begun {
		e.rebooted(in, e.host(in.Host).now)
		return
	}
	if e.openedByHand(in) && in.Planned {
		in.Phase = PhaseResurrecting
		e.touch(in)
		return
	}
	if !in.Planned {
		e.list(in, 2*time.Second, "the plan needs a list read after the proof")
	}
	if len(locks) > 0 {
		return
	}
	if !in.Out.Done && !e.busy("out/"+in.ID) && !e.now.Before(in.Fencing.Next) {
		e.beginTakeOut(in)
	}
	if !in.Out.Done && in.Out.Begun && e.now.Sub(e.last(in, "out")) >= serviceEvery { // Nova is slow, or a proxy keeps the request
		e.repeat(in, "service/"+in.ID, serviceEvery, Action{Do: ReadService, Incident: in.ID, Host: in.Host, Why: "what an operator does meanwhile stands"})
	}
	if in.Out.Done && in.Planned {
		in.Phase = PhaseResurrecting
		e.touch(in)
		e.resurrect(in)
	}
}

func (e *Engine) list(in *Incident, period time.Duration, why string) {
	if !e.busy("list/"+in.ID) && e.every(in, "list", period) {
		e.do("list/"+in.ID, Action{Do: ListServers, Incident: in.ID, Host: in.Host, Why: why})
	}
}

func (e *Engine) beginTakeOut(in *Incident) {
	h := e.host(in.Host)
	s := h.facts.Service
	if s.ID == "" || !in.Out.Begun && e.now.Sub(h.serviceAt) > serviceFresh {
		e.fail(in, LockNova, "Nova's record of %s's service must be read first", in.Host)
		return // the list under way brings it
	}
	switch {
	case in.Out.Begun && e.last(in, "out").IsZero():
		e.mayComeLate(in) // an earlier leader may have sent it
	case !in.Out.Begun:
		left := s.Disabled && strings.HasPrefix(s.DisabledReason, Ours) // by a given-up incident: it is ours to undo
		in.Out = TakenOut{Begun: true, Disabled: !s.Disabled && !s.ForcedDown || left, Forced: !s.ForcedDown || left, Reason: Ours + in.ID}
	}
	e.mark(in, "out", e.now)
	e.touch(in)
	e.do("out/"+in.ID, Action{
		Do: TakeOut, Incident: in.ID, Host: in.Host, Service: s.ID, Disable: in.Out.Disabled, Force: true, Why: in.Out.Reason,
	})
}

// mayComeLate: a request that nobody answered may lie in a proxy. Delivered after the host was taken back, it would put it
// out of service again with nobody to notice.
func (e *Engine) mayComeLate(in *Incident) { in.Out.Late = e.now.Add(e.cfg.Permit + e.cfg.RequestTTL) }

func (e *Engine) tookOut(in *Incident, ev Answered) {
	if in.Out.Done {
		return // Nova's record has shown it before the answer came
	}
	if ev.Answer == Accepted {
		in.Out.Disabled = in.Out.Disabled && !ev.Theirs
		e.isOut(in, "Nova told")
		return
	}
	// The call is idempotent: whatever became of it, it may be repeated.
	if ev.Answer == Unanswered {
		e.mayComeLate(in)
	}
	in.Fencing.Round++
	in.Fencing.Next = e.now.Add(backoff(in.Fencing.Round, 500*time.Millisecond, 5*time.Second))
	e.fail(in, LockNova, "Nova did not take %s out of service (%s): %s; tried again", in.Host, ev.Answer, ev.Text)
	e.touch(in)
}

// isOut: Nova has the host out of service.
func (e *Engine) isOut(in *Incident, how string) {
	in.Out.Done, in.Stages.TakenOut = true, e.now
	in.Fencing.Round, in.Fencing.Next = 0, zeroTime
	e.work(in)
	what := "disabled and forced down"
	if !in.Out.Disabled {
		what = "forced down; an operator had disabled it"
	}
	e.tell(in, how+": "+what)
	e.touch(in)
}

// shownOut: Nova's record shows what was asked for, read after it was sent. A Nova that stores it and never answers in time
// would keep everything waiting.
func (e *Engine) shownOut(in *Incident, s Service, read time.Time) bool {
	sent := e.last(in, "out") // by this leader: what an earlier one sent is sent again
	return in.Phase == PhaseTakingOut && !in.Out.Done && !sent.IsZero() && read.After(sent) && s.ForcedDown && (!in.Out.Disabled || in.disabledByUs(s))
}

// listed takes in what Nova, Placement and the migrations say of a host.
func (e *Engine) listed(ev Listed) {
	a := e.answeredBy(ev.Action)
	if a == nil {
		return
	}
	h := e.host(a.Host)
	in := e.incidents[a.Incident]
	if ev.Err != "" {
		if in != nil && !in.Planned {
			e.fail(in, LockNova, "cannot list %s's VMs: %s; tried again", a.Host, ev.Err)
		}
		return
	}
	if ev.Service.ID != "" && (in == nil || !in.Out.Begun || a.Begun.After(in.Stages.TakenOut)) {
		h.facts.Service, h.serviceAt = ev.Service, e.now
	}
	if in == nil {
		if !h.listed {
			h.read(ev.VMs)
		}
		return
	}
	e.paused = zeroTime
	if in.stuck != nil && in.stuck.Code == LockNova && !in.Out.Begun {
		e.work(in)
	}
	switch {
	case in.closed() || in.Proof == nil:
	case (in.Phase == PhaseInPlace || in.Return.Lived) && a.Begun.Before(in.Return.Seen) || in.fenced() && a.Begun.Before(in.Stages.Proof):
		e.mark(in, "list", zeroTime) // begun for an earlier life of the host: read again
	case in.Phase == PhaseInPlace && !in.Planned:
		e.planInPlace(in, ev)
	case in.Phase == PhaseInPlace:
		e.refreshInPlace(in, ev)
	case !in.Planned:
		e.plan(in, ev)
	default:
		e.refresh(in, ev)
	}
}

// refresh looks again at what held VMs wait for. One whose hold has no news is left as it is, without a word.
func (e *Engine) refresh(in *Incident, ev Listed) {
	for _, vm := range ev.VMs {
		r := e.vms[in.ID][vm.ID]
		if r != nil && r.State == Unaccounted && r.Reason == foundAgain && vm.Host == in.Host {
			vm.Facts = r.VM.Facts
			r.VM = vm
			e.classify(in, r, ev.Migrations)
			e.stays(in, r)
			e.arrange(in)
			continue
		}
		if r == nil || r.State != Held || r.Open() != nil || r.VM.Host != in.Host || r.Disputed {
			continue
		}
		vm.Facts = r.VM.Facts
		c := *r
		c.VM = vm
		f := e.fate(in, &c, ev.Migrations)
		if f.state == Queued {
			if !in.coming() {
				if _, where, why := e.target(in, &c, e.load()); where == placeHeld {
					f.state, f.reason = Held, why
				}
			} else {
				f.state, f.reason = Held, "its host is coming back"
			}
		}
		if f.state != Held || f.reason != r.Reason || f.elsewhere != r.Elsewhere {
			r.VM = vm
			e.settle(r, f)
		}
	}
	e.arrange(in)
}
