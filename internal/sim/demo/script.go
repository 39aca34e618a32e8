package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

const (
	heldFor   = 10 * time.Second // nothing moves for that long while interlocks stand: held
	alertFor  = 3 * time.Second  // an alert that stays so is all there is to come
	returnFor = 60 * time.Second // how long a recovered incident's host is waited for
	lookEvery = 100 * time.Millisecond
)

// Run plays a script on the settled cloud and waits until every incident is finished or held. The error is about the
// demo itself; what became of the VMs is in the result.
func (d *Demo) Run(ctx context.Context, s Script) (Result, error) {
	if err := Check(d.o, s); err != nil {
		return Result{}, err
	}
	listening, stop := d.listening(ctx)
	defer stop()
	d.running.Go(func() { d.listen(listening) })
	if err := d.await(ctx, s); err != nil {
		return Result{}, err
	}
	begun := d.strike(s)
	return d.follow(ctx, s, begun)
}

// await waits until the server may judge by silence: a new leader declares nobody dead before all agents have had the
// time to come back to it. A BMC that reads off needs no such wait.
func (d *Demo) await(ctx context.Context, s Script) error {
	times, err := detect.Derive(detect.Config{})
	if err != nil {
		return err
	}
	// The fault comes at a moment of chance between two pulses, as in life, and not always right after a start.
	chance := rand.New(rand.NewPCG(d.o.Seed, 1)) //nolint:gosec // reproducible on purpose
	left := time.Duration(chance.Int64N(int64(times.Pulse)))
	if wave := time.Until(d.leads.Add(times.ReconnectWave + times.Pulse)); wave > 0 && len(s.Freeze)+len(s.Isolate)+len(s.DeadBMC) > 0 {
		d.tell("A new leader judges nobody by silence for %.0f s; %.0f s of it are left.", times.ReconnectWave.Seconds(), wave.Seconds())
		left += wave
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("the demo was interrupted: %w", ctx.Err())
	case <-time.After(left):
		return nil
	}
}

// strike brings all faults on at once.
func (d *Demo) strike(s Script) time.Time {
	begun := time.Now()
	for _, h := range s.DeadBMC {
		d.killBMC(h)
	}
	for _, list := range []struct {
		how   fault
		hosts []string
	}{{faultCut, s.Cut}, {faultFreeze, s.Freeze}, {faultIsolate, s.Isolate}} {
		for _, h := range list.hosts {
			d.hit(h, list.how)
		}
	}
	if s.NovaOutage > 0 {
		d.breakNova(s.NovaOutage)
	}
	return begun
}

func (d *Demo) hit(host string, how fault) {
	words := map[fault]string{
		faultCut: "loses its power", faultFreeze: "freezes: silent everywhere, its power stays on", faultIsolate: "loses the management network",
	}
	d.truth.do(host, how)
	d.tell("** %s %s.", host, words[how])
}

func (d *Demo) killBMC(host string) {
	d.cloud.World(func(w *world.World) { w.SetBMC(host, func(b *world.BMC) { b.Dead = true }) })
	d.tell("** %s's BMC is dead.", host)
}

func (d *Demo) breakNova(outage time.Duration) {
	d.cloud.World(func(w *world.World) { w.NovaOutage(outage) })
	d.tell("** Nova answers 503 for %s.", outage)
}

// follow looks until nothing more is to come.
func (d *Demo) follow(ctx context.Context, s Script, begun time.Time) (Result, error) {
	named := slices.Concat(s.Cut, s.Freeze, s.Isolate, s.DeadBMC)
	slices.Sort(named)
	named = slices.Compact(named)
	within := s.Within
	if within == 0 {
		within = 5 * time.Minute
	}
	ctx, cancel := context.WithDeadline(ctx, begun.Add(within))
	defer cancel()
	w := watch{begun: begun, calm: begun.Add(s.NovaOutage), hits: d.truth.hits()}
	for {
		incidents, err := d.incidents(ctx)
		if err == nil {
			if w.over(incidents, time.Now()) {
				return d.result(incidents, named, ""), nil
			}
			w.last = incidents
		}
		select {
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded { //nolint:errorlint // a context's own error is never wrapped
				return d.result(w.last, named, fmt.Sprintf("not finished within %s: %s", within, w.waiting)), nil
			}
			return Result{}, fmt.Errorf("the demo was interrupted: %w", ctx.Err())
		case err := <-d.srv.Failed():
			return Result{}, fmt.Errorf("the server's database has failed: %w", err)
		case <-time.After(lookEvery):
		}
	}
}

// incidents are all incidents with their VMs.
func (d *Demo) incidents(ctx context.Context) ([]api.IncidentDetail, error) {
	list, err := d.api.Incidents(ctx, "all", "")
	if err != nil {
		return nil, err
	}
	out := []api.IncidentDetail{}
	for _, in := range list {
		detail, err := d.api.Incident(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, detail)
	}
	return out, nil
}

// watch judges when a script is over.
type watch struct {
	begun   time.Time
	calm    time.Time // from when on nothing of the script itself makes the server wait
	hits    map[string]hit
	last    []api.IncidentDetail
	print   string    // how things stood
	moved   time.Time // when that last changed
	waiting string    // what for
}

func (w *watch) over(incidents []api.IncidentDetail, now time.Time) bool {
	print, pending, held, returning := "", 0, 0, 0
	seen := map[string]bool{}
	for _, in := range incidents {
		seen[in.Host] = true
		print += fingerprint(in)
		switch {
		case in.Phase == engine.PhaseClosed, in.Phase == engine.PhaseAlert:
		case in.Phase == engine.PhaseRecovered:
			returning++
			w.waiting = in.Host + " is not back yet"
		default:
			pending++
			w.waiting = fmt.Sprintf("%s's incident is %s", in.Host, in.Phase)
			if len(in.Interlocks) > 0 {
				held++
			}
		}
	}
	for host := range w.hits {
		if !seen[host] {
			pending++
			w.waiting = host + " has no incident yet"
		}
	}
	if print != w.print || w.moved.IsZero() {
		w.print, w.moved = print, now
	}
	still := now.Sub(later(w.moved, w.calm))
	switch {
	case pending > 0:
		return pending == held && still >= heldFor
	case returning > 0:
		return still >= returnFor
	default:
		return len(w.hits) == 0 || still >= alertFor || !w.alerts(incidents)
	}
}

// alerts reports whether an incident is only an alert, which may yet become more.
func (w *watch) alerts(incidents []api.IncidentDetail) bool {
	return slices.ContainsFunc(incidents, func(in api.IncidentDetail) bool { return in.Phase == engine.PhaseAlert })
}

// fingerprint is what changes when an incident moves. The times of tries that come and go are left out.
func fingerprint(in api.IncidentDetail) string {
	text := fmt.Sprint(in.ID, in.Phase, in.Verdict, in.Counts, in.Return.PowerOn, in.Return.Boot, in.Return.Healthy, in.Return.PutBack)
	for _, l := range in.Interlocks {
		text += l.Code
	}
	return text
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
