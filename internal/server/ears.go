package server

import (
	"context"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// ears owns the detector. Observations come from many goroutines, 10,000 pulses a second among them; a step takes well
// under a microsecond, so one lock serves all. What changes goes to the leader's engine, if this server leads.
type ears struct {
	mu       sync.Mutex
	detector *detect.Detector
	loop     detect.Loop
	lateAt   time.Time // of the last lateness that made what we heard doubtful
	changed  func([]detect.Change)
	late     func(time.Duration)
	stalled  func()
}

func newEars(t detect.Times, changed func([]detect.Change), late func(time.Duration), stalled func()) *ears {
	return &ears{detector: detect.New(t), changed: changed, late: late, stalled: stalled}
}

func (e *ears) step(o detect.Observation) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	e.confess(now)
	if _, round := o.(detect.Tick); round {
		e.loop.Ticked(now)
	}
	if changes := e.detector.Step(now, o); len(changes) > 0 {
		e.changed(changes) // under the lock: two changes of one host must not overtake each other
	}
}

// confess tells the detector how late our loop is: a starved server trusts itself less. Call with e.mu held.
func (e *ears) confess(now time.Time) {
	if late := e.loop.Late(now); late > 0 {
		e.detector.Step(now, detect.Late{By: late})
		if late >= doubtLate {
			e.lateAt = now
		}
		e.late(late)
	}
}

// What this server heard may be old, and what it didn't hear means nothing, for as long as this after it ran so late.
const (
	doubtLate = 500 * time.Millisecond
	doubtFor  = 5 * time.Second
)

// doubts reports whether this server was slow or paused a moment ago: pulses that waited meanwhile look new.
func (e *ears) doubts() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	e.confess(now)
	return !e.lateAt.IsZero() && now.Sub(e.lateAt) < doubtFor
}

// takeover drops the silences this server didn't observe as a leader and tells the new reign how every host stands.
func (e *ears) takeover(in *inbox) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	e.confess(now)
	e.detector.Step(now, detect.Takeover{})
	for _, host := range e.detector.Hosts() {
		if as, ok := e.detector.Assess(now, host); ok && as.Verdict != detect.Unknown {
			in.put(engine.Assessed{
				Host: host, Verdict: engine.Verdict(as.Verdict), Suspect: as.Suspect, Boot: as.Boot, LastLife: as.LastLife, Since: as.Since, Reason: as.Reason,
			})
		}
	}
}

func (e *ears) wanted() []detect.Want {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.detector.Wanted(time.Now())
}

func (e *ears) assess(host string) (detect.Assessment, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.detector.Assess(time.Now(), host)
}

// up reports whether a host lives without doubt.
func (e *ears) up(host string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.detector.Up(host)
}

func (e *ears) snapshot() detect.Snapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.detector.Snapshot(time.Now())
}

// run lets time pass for the detector.
func (e *ears) run(ctx context.Context) {
	tick := time.NewTicker(detect.TickEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e.stalled()
		e.step(detect.Tick{})
	}
}

// heard turns a change of detection into the engine's event.
func heard(c detect.Change) engine.Assessed {
	ev := engine.Assessed{
		Host: c.Host, Verdict: engine.Verdict(c.Verdict), Suspect: c.Suspect, Boot: c.Boot, LastLife: c.LastLife,
		Since: c.Since, Reason: c.Reason,
	}
	for _, x := range c.Evidence {
		ev.Evidence = append(ev.Evidence, sentence(x))
		if x.Kind == detect.KindPower && x.Via != "" {
			ev.Via = x.Via
		}
	}
	return ev
}

// sentence is an observation in words: when, who, where, what. What it doesn't know of these it leaves out.
func sentence(x detect.Evidence) string {
	where := x.Source
	switch {
	case x.Plane != "" && where != "":
		where += " on " + string(x.Plane)
	case x.Plane != "":
		where = string(x.Plane)
	}
	if x.At.IsZero() {
		return where + ": " + x.Says
	}
	return x.At.UTC().Format("15:04:05.0") + " " + where + ": " + x.Says
}
