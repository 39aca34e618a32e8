//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/test/rig"
)

// spec is one row of the table.
type spec struct {
	name  string
	dot   bool     // every change must pass it
	wave  int      // rows of one wave run side by side, waves one after the other
	hosts []string // victims; the first is where the VMs are
	vms   int
	boot  func(*row) // nil: vms plain VMs on the first victim
	run   func(*row)
}

// row is one spec being run.
type row struct {
	*testing.T
	*suite
	spec  *spec
	wave  *wave
	host  string
	vms   []rig.Server // as they were before the fault
	fault time.Time
	fig   figures
}

// suite is what all rows share.
type suite struct {
	*rig.Rig
	book   *book
	record string // what ran where and when, with three servers
}

// wave lets all rows that run side by side begin their faults together.
type wave struct {
	ready sync.WaitGroup
}

// TestRows is the table of what must be shown on a real OpenStack.
func TestRows(t *testing.T) {
	kind := os.Getenv("NINELIVES_E2E")
	if kind == "chaos" {
		t.Skip("only the rows with three servers: TestChaos")
	}
	f := newSuite(rig.SetUp(t), "e2e")
	f.all(t, rows(), func(s *spec) bool { return s.dot || kind == "full" })
}

func newSuite(r *rig.Rig, name string) *suite { return &suite{Rig: r, book: newBook(r.Lab.Run, name)} }

// all runs a table's rows, wave by wave.
func (f *suite) all(t *testing.T, table []spec, which func(*spec) bool) {
	t.Helper()
	chosen := map[int][]*spec{}
	var order []int
	for _, s := range table {
		if which(&s) && wanted(s.name) {
			if chosen[s.wave] == nil {
				order = append(order, s.wave)
			}
			chosen[s.wave] = append(chosen[s.wave], &s)
		}
	}
	slices.Sort(order)
	defer f.book.close(t)
	for _, n := range order {
		f.Settled(t, 240*time.Second)
		w := &wave{}
		w.ready.Add(len(chosen[n]))
		t.Run(fmt.Sprintf("wave %d", n), func(t *testing.T) {
			for _, s := range chosen[n] {
				t.Run(s.name, func(t *testing.T) {
					t.Parallel()
					f.row(t, s, w)
				})
			}
		})
	}
	f.Settled(t, 240*time.Second)
	f.nobodyElse(t, table)
}

// wanted: NINELIVES_ROWS=a,b runs rows whose names hold a or b, while working on them.
func wanted(name string) bool {
	only := os.Getenv("NINELIVES_ROWS")
	return only == "" || slices.ContainsFunc(strings.Split(only, ","), func(s string) bool { return strings.Contains(name, s) })
}

// row runs one row and books its figures.
func (f *suite) row(t *testing.T, s *spec, w *wave) {
	began := time.Now()
	r := &row{T: t, suite: f, spec: s, wave: w, fig: figures{Row: s.name, Result: "FAILED"}}
	arrived := sync.OnceFunc(w.ready.Done)
	defer func() {
		arrived()
		r.fig.Took = time.Since(began).Seconds()
		if !t.Failed() && !t.Skipped() {
			r.fig.Result = "ok"
		}
		f.book.add(r.fig)
		if t.Failed() {
			t.Log("what is known of it:\n" + f.Keep(t, strings.ReplaceAll(s.name, " ", "-"), s.hosts, began))
		}
		r.cleanUp()
	}()
	if len(s.hosts) > 0 {
		r.host = s.hosts[0]
		r.fig.Host = strings.Join(s.hosts, " ")
	}
	r.rest()
	switch {
	case s.boot != nil:
		s.boot(r)
	case s.vms > 0:
		r.bootVMs(s.vms, r.host)
	}
	r.fig.VMs = len(r.vms)
	// The server must have seen the VMs in its inventory, as it would have in a cloud that lives for longer than a test.
	arrived()
	w.ready.Wait()
	s.run(r)
}

// rest waits until none of the row's hosts would fail for the third time within ten minutes: Ninelives leaves such a host
// to an operator.
func (r *row) rest() {
	r.Helper()
	const repeated = 10 * time.Minute
	rig.Within(r, repeated+time.Minute, "hosts have rested", func() string {
		for _, host := range r.spec.hosts {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			all, err := r.Main.API.Incidents(ctx, "all", host)
			cancel()
			if err != nil {
				return err.Error()
			}
			lately := slices.DeleteFunc(all, func(in api.Incident) bool { return in.Host != host || time.Since(in.Stages.Verdict) > repeated })
			if len(lately) > 1 {
				return fmt.Sprintf("%s has failed %d times within ten minutes", host, len(lately))
			}
		}
		return ""
	})
}

func (r *row) prefix() string { return "e2e-" + strings.ReplaceAll(r.spec.name, " ", "-") + "-" }

// bootVMs boots plain VMs, seen by r.vms.
func (r *row) bootVMs(n int, host string) {
	r.Helper()
	var got []struct{ ID string }
	rig.Decode(r, r.Lab.Do(r, "vms", "boot", fmt.Sprint(n), host, "--prefix", r.prefix(), "--json"), &got)
	all := r.list()
	for _, g := range got {
		r.vms = append(r.vms, all[g.ID])
	}
	if len(r.vms) != n {
		r.Fatalf("%d VMs wanted, booted: %+v", n, r.vms)
	}
}

// list reads the row's VMs from Nova.
func (r *row) list() map[string]rig.Server {
	r.Helper()
	var all map[string]rig.Server
	rig.Within(r, time.Minute, "Nova lists VMs", func() string {
		var err error
		if all, err = r.Nova.Servers("name=" + r.prefix()); err != nil {
			return err.Error()
		}
		return ""
	})
	return all
}

// strike does something to the victim and takes the time: the fault's moment is before it began.
func (r *row) strike(args ...string) {
	r.Helper()
	r.fault = time.Now()
	r.Lab.Do(r, args...)
}

// cleanUp deletes the row's VMs and leaves its hosts as they were.
func (r *row) cleanUp() {
	if out, err := r.Lab.Try("vms", "delete", r.prefix()); err != nil && r.spec.vms > 0 {
		r.Logf("VMs are left: %v %s", err, out)
	}
}

// awaitVerdict waits for the host's incident.
func (r *row) awaitVerdict(v engine.Verdict, limit time.Duration) api.IncidentDetail {
	r.Helper()
	var in api.IncidentDetail
	rig.Within(r, limit, "verdict "+string(v)+" of "+r.host, func() string {
		got, ok, err := r.Main.Incident(r.host, r.fault)
		switch {
		case err != nil:
			return err.Error()
		case !ok:
			h, err := r.Main.Host(r.host)
			return fmt.Sprintf("no incident; %s is %q, suspect %v, %s (%v)", r.host, h.Verdict, h.Suspect, h.Waiting, err)
		case got.Verdict != v:
			return fmt.Sprintf("incident %s says %s: %s", got.ID, got.Verdict, got.Reason)
		}
		in = got
		return ""
	})
	r.fig.Verdict = string(v)
	r.stages(in)
	return in
}

// awaitInterlock waits until the host's incident is held by an interlock, and returns its reason.
func (r *row) awaitInterlock(code string, limit time.Duration) string {
	r.Helper()
	var reason string
	rig.Within(r, limit, "interlock "+code, func() string {
		in, ok, err := r.Main.Incident(r.host, r.fault)
		if err != nil || !ok {
			return fmt.Sprintf("incident: %v %v", ok, err)
		}
		for _, l := range in.Interlocks {
			if l.Code == code {
				reason = l.Reason
				return ""
			}
		}
		return fmt.Sprintf("phase %s, interlocks %+v", in.Phase, in.Interlocks)
	})
	return reason
}

// awaitPhase waits for the host's incident to reach a phase.
func (r *row) awaitPhase(limit time.Duration, phases ...engine.Phase) api.IncidentDetail {
	r.Helper()
	var in api.IncidentDetail
	rig.Within(r, limit, fmt.Sprintf("incident of %s %v", r.host, phases), func() string {
		got, ok, err := r.Main.Incident(r.host, r.fault)
		if err != nil || !ok {
			return fmt.Sprintf("no incident (%v)", err)
		}
		in = got
		if !slices.Contains(phases, got.Phase) {
			return fmt.Sprintf("phase %s, %v, interlocks %+v", got.Phase, got.Counts, got.Interlocks)
		}
		return ""
	})
	r.stages(in)
	return in
}

// stages books when the server says that it came to its decisions; when VMs were back is Nova's word.
func (r *row) stages(in api.IncidentDetail) {
	s := in.Stages
	r.fig.Suspect, r.fig.VerdictAt, r.fig.Proof = since(r.fault, s.Suspect), since(r.fault, s.Verdict), since(r.fault, s.Proof)
	if in.Return.Readmitted.After(r.fault) {
		r.fig.Readmitted = since(r.fault, in.Return.Readmitted)
	}
}

// awaitBack waits until each VM is ACTIVE on another host, says Nova, after exactly one evacuation, says the proxy before
// Nova and Nova's own records.
func (r *row) awaitBack(limit time.Duration, vms []rig.Server) {
	r.Helper()
	// Nova's migration records tell without costing nova-api much; the VMs themselves are read once at the end.
	rig.Within(r, limit, "all VMs are evacuated", func() string {
		missing := 0
		for _, vm := range vms {
			if !slices.ContainsFunc(r.Watch.Of(vm.ID, r.fault.Add(-time.Second)), func(m rig.Moved) bool { return !m.Finished.IsZero() }) {
				missing++
			}
		}
		if missing > 0 {
			in, _, err := r.Main.Incident(r.host, r.fault)
			return fmt.Sprintf("%d of %d missing; phase %s %v, interlocks %+v %v", missing, len(vms), in.Phase, in.Counts, in.Interlocks, err)
		}
		return ""
	})
	r.bookMoves(vms)
	rig.Within(r, 20*time.Second, "all VMs ACTIVE elsewhere", func() string {
		now := r.list()
		for _, vm := range vms {
			s := now[vm.ID]
			if s.Status != "ACTIVE" || s.Host == "" || s.Host == vm.Host || s.PowerState != 1 {
				return fmt.Sprintf("%+v", s)
			}
		}
		return ""
	})
	r.once(vms)
}

func (r *row) bookMoves(vms []rig.Server) {
	var first, last time.Time
	for _, vm := range vms {
		for _, m := range r.Watch.Of(vm.ID, r.fault.Add(-time.Second)) {
			if m.Finished.IsZero() {
				continue
			}
			if first.IsZero() || m.Finished.Before(first) {
				first = m.Finished
			}
			if m.Finished.After(last) {
				last = m.Finished
			}
		}
	}
	r.fig.FirstVM, r.fig.LastVM = since(r.fault, first), since(r.fault, last)
}

// once checks that nothing was doubled: each VM had one evacuation accepted, and Nova has one record of it.
func (r *row) once(vms []rig.Server) {
	r.Helper()
	for _, vm := range vms {
		if n := r.Lab.Accepted(r, vm.ID, r.fault); n != 1 {
			r.Errorf("Nova accepted %d evacuations of %s, expected one", n, vm.Name)
		}
		if m := r.Watch.Of(vm.ID, r.fault.Add(-time.Second)); len(m) != 1 {
			r.Errorf("Nova has %d evacuations of %s on record, expected one: %+v", len(m), vm.Name, m)
		}
	}
}

// untouched checks that nobody did anything to the victim or its VMs.
func (r *row) untouched() {
	r.Helper()
	if did := r.Lab.BMC(r, r.host, r.fault); len(did) > 0 {
		r.Errorf("the BMC of %s was told %v, expected nothing", r.host, did)
	}
	now := r.list()
	for _, vm := range r.vms {
		if n := r.Lab.Accepted(r, vm.ID, r.fault); n != 0 {
			r.Errorf("%s was evacuated %d times, expected never", vm.Name, n)
		}
		if s := now[vm.ID]; s.Host != r.host || s.Status != "ACTIVE" {
			r.Errorf("%s: %+v, expected ACTIVE on %s", vm.Name, s, r.host)
		}
	}
	if s := r.service(); s.ForcedDown || s.Status != "enabled" {
		r.Errorf("service of %s: %+v, expected enabled and not forced down", r.host, s)
	}
}

func (r *row) service() rig.Service {
	r.Helper()
	all, err := r.Nova.Services()
	if err != nil {
		r.Fatal(err)
	}
	return all[r.host]
}

// fenced checks that the victim's own BMC was told to switch it off.
func (r *row) fenced() {
	r.Helper()
	if did := r.Lab.BMC(r, r.host, r.fault); !slices.Contains(did, "set off") {
		r.Errorf("the BMC of %s was told %v, expected off among it", r.host, did)
	}
}

// readmitted waits until the victim is switched on, has another boot, runs agent and nova-compute, and Nova takes VMs on
// it again, as nobody had ever touched it.
func (r *row) readmitted(limit time.Duration, oldBoot string) api.IncidentDetail {
	r.Helper()
	rig.Within(r, limit, r.host+" is back", func() string {
		tr := r.Lab.Truth(r)[r.host]
		if tr.Power != "on" || tr.Boot == oldBoot || !slices.Contains(tr.Processes, "nova-compute") || !slices.Contains(tr.Processes, "agent") {
			return fmt.Sprintf("%+v, %s", tr, r.standing())
		}
		return ""
	})
	rig.Within(r, limit, r.host+" is readmitted", func() string {
		all, err := r.Nova.Services()
		if err != nil {
			return err.Error()
		}
		if s := all[r.host]; s.State != "up" || s.Status != "enabled" || s.ForcedDown || s.DisabledReason != "" {
			return fmt.Sprintf("%+v, %s", s, r.standing())
		}
		return ""
	})
	in := r.awaitPhase(30*time.Second, engine.PhaseClosed)
	for _, g := range in.Guests { // of others, a VM may have been deleted a moment ago
		ours := slices.ContainsFunc(r.vms, func(vm rig.Server) bool { return vm.ID == g.VM.ID })
		if ours && g.State != engine.Recovered && r.spec.boot == nil {
			r.Errorf("%s is %s: %s, expected recovered", g.VM.Name, g.State, g.Reason)
		}
	}
	return in
}

// standing is how the incident stands, for messages.
func (r *row) standing() string {
	in, ok, err := r.Main.Incident(r.host, r.fault)
	if !ok {
		return fmt.Sprintf("no incident (%v)", err)
	}
	last := ""
	if n := len(in.Log); n > 0 {
		last = in.Log[n-1].Text
	}
	return fmt.Sprintf("incident %s %s %v, interlocks %+v, last: %s", in.ID, in.Phase, in.Counts, in.Interlocks, last)
}

func (r *row) bootOf() string { return r.Lab.Truth(r)[r.host].Boot }

// nobodyElse checks, after all rows, that no host was fenced that nobody had broken.
func (f *suite) nobodyElse(t *testing.T, table []spec) {
	t.Helper()
	broken := map[string]bool{}
	for _, s := range table {
		for _, h := range s.hosts {
			broken[h] = true
		}
	}
	for host := range f.Machines {
		if did := f.Lab.BMC(t, host, f.Watch.Began); len(did) > 0 && !broken[host] {
			t.Errorf("%s was told %v although no row broke it", host, did)
		}
	}
}
