//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/test/rig"
)

// bootStopped boots two real guests and stops them: the policy leaves the first with its host and brings the second
// back, stopped as it was.
func bootStopped(r *row) {
	for _, name := range []string{"stays", "moves"} {
		var got []struct{ ID string }
		rig.Decode(r, r.Lab.Do(r, "vms", "boot", "1", r.host, "--prefix", r.prefix()+name, "--json"), &got)
		r.Nova.Act(r, got[0].ID, map[string]any{"os-stop": nil})
		r.vms = append(r.vms, r.Nova.Becomes(r, got[0].ID, "SHUTOFF"))
	}
}

// qemuRun is one life of a VM's QEMU, as the lab's recorder saw it.
type qemuRun struct {
	Host  string
	Begin float64
}

// queuedStart: somebody starts two stopped VMs while their host is fenced: Nova takes it and queues it for the dead host.
// One of them is resurrected, and started again where it is now. When the host returns, its queue wants to start both:
// the one that stayed may run, never twice at a time; the one that runs elsewhere must not.
func queuedStart(r *row) {
	boot, stays, moves := r.bootOf(), r.vms[0], r.vms[1]
	record := filepath.Join(r.Lab.Run, "e2e", "queued-start.jsonl")
	r.Lab.Do(r, "record", "start", record)
	r.Cleanup(func() { r.Lab.Do(r, "record", "stop") })
	before := r.refusals()
	r.strike("host", r.host, "off")
	r.duringFence(func() { // before the evacuation, which Nova would not let a start through
		r.Nova.Act(r, moves.ID, map[string]any{"os-start": nil})
	})
	r.awaitPhase(time.Minute, engine.PhaseTakingOut, engine.PhaseResurrecting, engine.PhaseRecovered)
	r.Lab.Do(r, "bmc", r.host, "late", "20") // the host is switched on late enough for what follows
	r.Cleanup(func() { r.Lab.Do(r, "bmc", r.host, "normal") })
	r.Nova.Act(r, stays.ID, map[string]any{"os-start": nil})
	rig.Within(r, 2*time.Minute, "the one that moves is stopped elsewhere", func() string {
		if s := r.list()[moves.ID]; s.Host == r.host || s.Status != "SHUTOFF" || s.Task != "" {
			return fmt.Sprintf("%+v; %s", s, r.standing())
		}
		return ""
	})
	r.Nova.Act(r, moves.ID, map[string]any{"os-start": nil})
	if tr := r.Lab.Truth(r)[r.host]; tr.Power != "off" {
		r.Fatalf("%s is %+v already: nothing was queued for it", r.host, tr)
	}
	r.Nova.Becomes(r, moves.ID, "ACTIVE")
	r.readmitted(5*time.Minute, boot)
	rig.Within(r, time.Minute, "the queued start was asked for and refused", func() string {
		if r.refusals() == before {
			return "no word of it in nova-compute's log"
		}
		return ""
	})
	r.Lab.Do(r, "record", "stop")
	r.ranOnce(r.Lab.Do(r, "record", "report", record))
}

// refusals counts how often libvirt's hook has refused a VM on the host, by nova-compute's log.
func (r *row) refusals() int {
	return strings.Count(rig.Tail(filepath.Join(r.Lab.Run, "logs", r.host, "nova-compute.log"), 20000), "must not start on this host")
}

// duringFence waits for the host's incident and does something before it has a proof.
func (r *row) duringFence(do func()) {
	r.Helper()
	end := time.Now().Add(30 * time.Second)
	for {
		in, ok, err := r.Main.Incident(r.host, r.fault)
		switch {
		case ok && in.Stages.Proof.IsZero():
			r.stages(in)
			r.fig.Verdict = string(in.Verdict)
			do()
			return
		case ok || time.Now().After(end):
			r.Fatalf("no moment before the proof was seen (%v): %s", err, r.standing())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// ranOnce judges what the recorder saw since the fault. The one that stays may have two lives on its host, one after the
// other: nova-compute goes on with the power-on it finds in Nova's database, and then takes the one in its queue.
func (r *row) ranOnce(report string) {
	r.Helper()
	var seen map[string]struct {
		Max  int
		Runs []qemuRun
	}
	rig.Decode(r, report, &seen)
	lives := func(vm rig.Server, host string) int {
		n := 0
		for _, run := range seen[vm.ID].Runs {
			if run.Host == host && run.Begin > float64(r.fault.Unix()) {
				n++
			}
		}
		return n
	}
	stays, moves := r.vms[0], r.vms[1]
	for _, vm := range r.vms {
		if seen[vm.ID].Max > 1 {
			r.Errorf("%s ran twice at once:\n%s", vm.Name, report)
		}
	}
	if n := lives(moves, r.host); n > 0 {
		r.Errorf("%s was started %d times on %s, where it doesn't belong any more:\n%s", moves.Name, n, r.host, report)
	}
	now, truth := r.list(), r.Lab.Truth(r)
	for _, vm := range r.vms {
		s := now[vm.ID]
		if running := contains(fmt.Sprint(truth[s.Host].QEMU), vm.ID); running != (s.Status == "ACTIVE") {
			r.Errorf("%s: Nova says %s on %s, its QEMU runs there: %v", vm.Name, s.Status, s.Host, running)
		}
	}
	r.Logf("%s: %s on %s after %d lives there; %s: %s on %s", stays.Name, now[stays.ID].Status, r.host, lives(stays, r.host), moves.Name, now[moves.ID].Status, now[moves.ID].Host)
}
