//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/test/rig"
)

// frozenShortly: silent for 5 s, then back: no fence, no incident that acts.
func frozenShortly(r *row) {
	boot := r.bootOf()
	r.strike("host", r.host, "freeze")
	time.Sleep(5 * time.Second)
	r.Lab.Do(r, "host", r.host, "thaw")
	rig.Within(r, 30*time.Second, r.host+" is up", func() string {
		h, err := r.Main.Host(r.host)
		if err != nil || h.Verdict != engine.Up || h.Suspect {
			return fmt.Sprintf("%s, suspect %v (%v)", h.Verdict, h.Suspect, err)
		}
		return ""
	})
	time.Sleep(15 * time.Second) // what was begun by mistake would show by now
	if in, ok, err := r.Main.Incident(r.host, r.fault); ok || err != nil {
		r.Errorf("incident %+v (%v), expected none", in.Incident, err)
	}
	if now := r.bootOf(); now != boot {
		r.Errorf("boot %s, was %s", now, boot)
	}
	r.untouched()
}

// hung: the kernel answers and nothing else does: it waits for the operator, whose word has it fenced.
func hung(r *row) {
	boot := r.bootOf()
	r.strike("host", r.host, "hang")
	in := r.awaitVerdict(engine.Hung, 3*time.Minute)
	if in.Phase != engine.PhaseAlert {
		r.Errorf("phase %s, expected an alert", in.Phase)
	}
	time.Sleep(10 * time.Second)
	if did := r.Lab.BMC(r, r.host, r.fault); len(did) > 0 {
		r.Errorf("the BMC was told %v before the operator said anything", did)
	}
	r.Main.Do(r, "host", "fence", r.host, "--reason", "it hangs", "--yes")
	r.awaitBack(2*time.Minute, r.vms)
	r.fenced()
	r.readmitted(2*time.Minute, boot)
}

// rebootsByItself: its VMs are restarted in place, none is lost, none is evacuated.
func rebootsByItself(r *row) {
	boot := r.bootOf()
	r.strike("host", r.host, "reboot")
	r.awaitVerdict(engine.Rebooted, time.Minute)
	in := r.awaitPhase(3*time.Minute, engine.PhaseClosed)
	if in.Counts[engine.Recovered] != len(r.vms) {
		r.Errorf("%v of %d VMs, expected all recovered", in.Counts, len(r.vms))
	}
	if now := r.bootOf(); now == boot || now == "" {
		r.Errorf("boot %q, expected a new one", now)
	}
	for _, vm := range r.vms {
		if n := r.restarts(vm.ID); n != 1 {
			r.Errorf("%s was restarted %d times, expected once", vm.Name, n)
		}
	}
	r.untouched()
}

// restarts counts the restarts in place that Nova accepted for a VM.
func (r *row) restarts(vm string) int {
	n := 0
	for _, w := range r.Lab.Writes(r, r.fault) {
		if w.Path == "/v2.1/servers/"+vm+"/action" && w.Status >= 200 && w.Status < 300 && (contains(w.Body, "reboot") || contains(w.Body, "os-start")) {
			n++
		}
	}
	return n
}

// storm: four hosts of six lose their network at once: nobody is fenced, it is said why, and it ends by itself.
func storm(r *row) {
	time.Sleep(time.Minute) // hosts of earlier rows that were suspect within it are counted, and share no switch with these
	r.ApplyPolicy(r, 30, "10s")
	defer r.ApplyPolicy(r, 100, "0s")
	r.fault = time.Now()
	for _, host := range r.spec.hosts {
		r.Lab.Do(r, "host", host, "cut", "management")
		r.Lab.Do(r, "host", host, "cut", "storage")
	}
	heal := func() {
		for _, host := range r.spec.hosts {
			r.Lab.Do(r, "host", host, "heal", "management")
			r.Lab.Do(r, "host", host, "heal", "storage")
		}
	}
	r.Cleanup(heal)
	reason := r.awaitInterlock(engine.LockStorm, 90*time.Second)
	for _, word := range append(slices.Clone(r.spec.hosts), "storm", "switch leaf-1") {
		if !contains(reason, word) {
			r.Errorf("the interlock says nothing of %q: %s", word, reason)
		}
	}
	if s, err := r.Main.Status(); err != nil || !slices.ContainsFunc(s.Interlocks, func(l heldBy) bool { return l.Code == engine.LockStorm }) {
		r.Errorf("status shows no storm (%v): %+v", err, s.Interlocks)
	}
	time.Sleep(20 * time.Second)
	for _, host := range r.spec.hosts {
		if did := r.Lab.BMC(r, host, r.fault); len(did) > 0 {
			r.Errorf("the BMC of %s was told %v", host, did)
		}
	}
	heal()
	rig.Within(r, 2*time.Minute, "the storm is over by itself", func() string {
		s, err := r.Main.Status()
		if err != nil || len(s.Incidents) > 0 || s.Hosts.Up != len(r.Machines) {
			return asText(s.Incidents, err)
		}
		return ""
	})
	for _, host := range r.spec.hosts {
		if did := r.Lab.BMC(r, host, r.fault); len(did) > 0 {
			r.Errorf("the BMC of %s was told %v", host, did)
		}
	}
	r.untouched()
}
