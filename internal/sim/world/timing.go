package world

import "time"

// Span is a duration drawn evenly between Min and Max.
type Span struct{ Min, Max time.Duration }

// Exactly is a span without chance.
func Exactly(d time.Duration) Span { return Span{d, d} }

// Timing says how long the cloud's parts take.
type Timing struct {
	ReportInterval time.Duration // nova-compute's report_interval
	ServiceDown    time.Duration // Nova's service_down_time
	PowerSync      time.Duration // Nova's sync_power_state_interval after a nova-compute start
	DisableRPC     time.Duration // rpc_response_timeout: disabling a service believed up whose host is dead

	Schedule       Span // evacuation: accepted until a destination has claimed it
	Evacuate       Span // evacuation: claimed until the guest runs
	PerDestination int  // evacuations that one destination works on at once
	Overall        int  // evacuations that conductor and scheduler work on at once

	PowerOff      Span // BMC command until the power is gone
	Boot          Span // power until the kernel answers and the agent starts
	ComputeStart  Span // kernel (or open gate) until nova-compute consumes its queue
	GuestStart    Span // start, stop, reboot of a guest
	Delete        Span
	LiveMigration Span // until the guest switches over
	PostMigration Span // switch-over until Nova's record names the new host
	Resize        Span
}

// DemoTiming is quick enough to watch. Evacuations are two to three times
// faster than on the two-core lab.
func DemoTiming() Timing {
	return Timing{
		ReportInterval: 10 * time.Second,
		ServiceDown:    60 * time.Second,
		PowerSync:      10 * time.Minute,
		DisableRPC:     60 * time.Second,
		Schedule:       Span{150 * time.Millisecond, 350 * time.Millisecond},
		Evacuate:       Span{650 * time.Millisecond, 1250 * time.Millisecond},
		PerDestination: 4,
		Overall:        16,
		PowerOff:       Span{100 * time.Millisecond, 400 * time.Millisecond},
		Boot:           Span{2 * time.Second, 4 * time.Second},
		ComputeStart:   Span{500 * time.Millisecond, 1500 * time.Millisecond},
		GuestStart:     Span{200 * time.Millisecond, 600 * time.Millisecond},
		Delete:         Span{200 * time.Millisecond, 500 * time.Millisecond},
		LiveMigration:  Span{2 * time.Second, 5 * time.Second},
		PostMigration:  Span{200 * time.Millisecond, 500 * time.Millisecond},
		Resize:         Span{2 * time.Second, 4 * time.Second},
	}
}

func (t Timing) withDefaults() Timing {
	d := DemoTiming()
	for _, f := range []struct{ have, def *time.Duration }{
		{&t.ReportInterval, &d.ReportInterval}, {&t.ServiceDown, &d.ServiceDown},
		{&t.PowerSync, &d.PowerSync}, {&t.DisableRPC, &d.DisableRPC},
	} {
		if *f.have == 0 {
			*f.have = *f.def
		}
	}
	for _, f := range []struct{ have, def *Span }{
		{&t.Schedule, &d.Schedule}, {&t.Evacuate, &d.Evacuate}, {&t.PowerOff, &d.PowerOff}, {&t.Boot, &d.Boot},
		{&t.ComputeStart, &d.ComputeStart}, {&t.GuestStart, &d.GuestStart}, {&t.Delete, &d.Delete},
		{&t.LiveMigration, &d.LiveMigration}, {&t.PostMigration, &d.PostMigration}, {&t.Resize, &d.Resize},
	} {
		if *f.have == (Span{}) {
			*f.have = *f.def
		}
	}
	if t.PerDestination == 0 {
		t.PerDestination = d.PerDestination
	}
	if t.Overall == 0 {
		t.Overall = d.Overall
	}
	return t
}

// draw picks a duration of the span with the world's chance.
func (w *World) draw(s Span) time.Duration {
	if s.Max <= s.Min {
		return s.Min
	}
	return s.Min + time.Duration(w.rng.Int64N(int64(s.Max-s.Min)+1))
}

// pool lets at most limit jobs run at once; the others wait in order.
type pool struct {
	limit   int
	busy    int
	waiting []func()
}

func (p *pool) run(job func()) {
	if p.busy >= p.limit {
		p.waiting = append(p.waiting, job)
		return
	}
	p.busy++
	job()
}

// release ends one job and begins the one that waited longest.
func (p *pool) release() {
	p.busy--
	if p.busy < p.limit && len(p.waiting) > 0 {
		job := p.waiting[0]
		p.waiting = p.waiting[1:]
		p.busy++
		job()
	}
}
