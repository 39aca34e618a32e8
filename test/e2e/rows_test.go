//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/test/rig"
)

// rows is the table. Hosts take turns, so that none fails three times within ten minutes: rest would wait for it. The rows that kill the server or break Nova are alone in their waves: the others need them.
func rows() []spec {
	return []spec{
		{name: "power cut", dot: true, wave: 1, hosts: []string{"compute-01"}, vms: 20, run: powerCut},
		{name: "management cut", dot: true, wave: 1, hosts: []string{"compute-02"}, vms: 4, run: managementCut},
		{name: "agent killed", dot: true, wave: 1, hosts: []string{"compute-03"}, vms: 4, run: agentKilled},
		{name: "real QEMU", dot: true, wave: 2, hosts: []string{"real-01"}, vms: 1, boot: bootGuest, run: realGuest},
		{name: "wrong things", dot: true, wave: 2, run: wrongThings},
		{name: "bmc dead", dot: true, wave: 2, hosts: []string{"compute-04"}, vms: 4, run: bmcDead},
		{name: "frozen for good", dot: true, wave: 2, hosts: []string{"compute-05"}, vms: 4, run: frozenForGood},
		{name: "server killed", dot: true, wave: 3, hosts: []string{"compute-06"}, vms: 4, run: serverKilled},

		{name: "bmc already off", wave: 4, hosts: []string{"compute-01"}, vms: 4, run: bmcAlreadyOff},
		{name: "bmc late", wave: 4, hosts: []string{"compute-02"}, vms: 4, run: bmcLate},
		{name: "bmc foreign", wave: 4, hosts: []string{"compute-03"}, vms: 4, run: bmcForeign},
		{name: "frozen 5 s", wave: 5, hosts: []string{"compute-04"}, vms: 4, run: frozenShortly},
		{name: "hung", wave: 5, hosts: []string{"compute-05"}, vms: 4, run: hung},
		{name: "reboots by itself", wave: 5, hosts: []string{"compute-06"}, vms: 4, run: rebootsByItself},
		{name: "nova-api down", wave: 6, hosts: []string{"compute-04"}, vms: 4, run: novaDown},
		{name: "answers lost", wave: 7, hosts: []string{"compute-02"}, vms: 4, run: lostAnswers},
		{name: "destination dies", wave: 8, hosts: []string{"compute-03"}, vms: 4, run: destinationDies},
		{name: "vm kinds", wave: 10, hosts: []string{"compute-01"}, vms: 7, boot: bootKinds, run: vmKinds},
		{name: "own store", wave: 10, hosts: []string{"compute-04"}, vms: 2, boot: bootOwnStore, run: ownStore},
		{name: "queued start", wave: 10, hosts: []string{"real-02"}, vms: 2, boot: bootStopped, run: queuedStart},
		{name: "disabled before", wave: 11, hosts: []string{"compute-01"}, vms: 4, boot: bootDisabled, run: disabledBefore},
		{name: "un-forced half-way", wave: 11, hosts: []string{"compute-06"}, vms: 3, boot: bootApart, run: unforced},
		{name: "foreign evacuation", wave: 12, hosts: []string{"compute-03"}, vms: 3, boot: bootApart, run: foreign},
		{name: "mid live migration", wave: 13, hosts: []string{"compute-04", "compute-05"}, vms: 1, run: migrating},
		{name: "rabbit restarted", wave: 14, hosts: []string{"compute-06"}, vms: 4, run: rabbitRestarted},
		{name: "storm", wave: 15, hosts: []string{"compute-01", "compute-02", "compute-03", "compute-04"}, vms: 4, run: storm},
	}
}

// powerCut: fenced, all VMs ACTIVE elsewhere, host powered on, readmitted.
func powerCut(r *row) {
	boot := r.bootOf()
	r.strike("host", r.host, "off")
	r.awaitVerdict(engine.Off, 30*time.Second)
	r.awaitBack(2*time.Minute, r.vms)
	r.fenced()
	r.readmitted(2*time.Minute, boot)
}

// bmcDead: held with its reason until confirm-down, then recovered.
func bmcDead(r *row) {
	boot := r.bootOf()
	r.Lab.Do(r, "bmc", r.host, "stop")
	r.Cleanup(func() { r.Lab.Do(r, "bmc", r.host, "normal") })
	r.strike("host", r.host, "off")
	r.awaitVerdict(engine.Dead, time.Minute)
	reason := r.awaitInterlock(engine.LockFenceRetry, 2*time.Minute)
	if !strings.Contains(reason, "ninelives host confirm-down "+r.host) {
		r.Errorf("the interlock says %q, expected how to confirm", reason)
	}
	for _, vm := range r.vms {
		if n := r.Lab.Accepted(r, vm.ID, r.fault); n > 0 {
			r.Errorf("%s was evacuated without a proof", vm.Name)
		}
	}
	r.Main.Do(r, "host", "confirm-down", r.host, "--reason", "I pulled the plug myself", "--yes")
	in := r.awaitPhase(30*time.Second, engine.PhaseTakingOut, engine.PhaseResurrecting, engine.PhaseRecovered)
	if in.Proof == nil || in.Proof.Kind != "operator" {
		r.Errorf("proof %+v, expected the operator's", in.Proof)
	}
	r.awaitBack(2*time.Minute, r.vms)
	r.Lab.Do(r, "bmc", r.host, "normal")
	r.Lab.Do(r, "host", r.host, "on") // whoever gave his word switches it on again
	r.readmitted(2*time.Minute, boot)
}

// managementCut: isolated, an alert and no fence.
func managementCut(r *row) {
	r.Cleanup(func() { r.Lab.Do(r, "host", r.host, "heal", "management") })
	r.strike("host", r.host, "cut", "management")
	in := r.awaitVerdict(engine.Isolated, time.Minute)
	if in.Phase != engine.PhaseAlert {
		r.Errorf("phase %s, expected an alert", in.Phase)
	}
	time.Sleep(15 * time.Second) // longer than dead_after: nothing may come of it
	r.untouched()
	r.Lab.Do(r, "host", r.host, "heal", "management")
	r.awaitPhase(time.Minute, engine.PhaseClosed)
	r.untouched()
}

// agentKilled: agent-down and no fence.
func agentKilled(r *row) {
	r.strike("host", r.host, "kill", "agent")
	in := r.awaitVerdict(engine.AgentDown, time.Minute)
	if in.Phase != engine.PhaseAlert {
		r.Errorf("phase %s, expected an alert", in.Phase)
	}
	time.Sleep(15 * time.Second)
	r.untouched()
	r.Lab.Do(r, "host", r.host, "start", "agent")
	r.awaitPhase(time.Minute, engine.PhaseClosed)
	r.untouched()
}

// frozenForGood: dead, fenced, recovered.
func frozenForGood(r *row) {
	boot := r.bootOf()
	r.strike("host", r.host, "freeze")
	r.awaitVerdict(engine.Dead, time.Minute)
	r.awaitBack(3*time.Minute, r.vms)
	r.fenced()
	r.readmitted(2*time.Minute, boot)
}

// serverKilled: -9 half-way; recovery completes, nothing doubled.
func serverKilled(r *row) {
	boot := r.bootOf()
	r.strike("host", r.host, "off")
	r.halfWay()
	epoch := r.epoch()
	r.Main.Kill()
	killed := time.Now()
	if n := r.finished(); n == len(r.vms) {
		r.Errorf("all %d VMs were back before the server was killed: nothing was half-way", n)
	}
	r.Main.Start(r)
	r.Main.Ready(r, time.Minute)
	r.Logf("killed %.1f s after the fault, answers again %.1f s later", killed.Sub(r.fault).Seconds(), time.Since(killed).Seconds())
	if now := r.epoch(); now <= epoch {
		r.Errorf("epoch %d, was %d before", now, epoch)
	}
	r.awaitBack(4*time.Minute, r.vms)
	r.fenced()
	r.readmitted(3*time.Minute, boot)
}

func (r *row) epoch() int64 {
	r.Helper()
	var epoch int64
	rig.Within(r, 30*time.Second, "the server leads", func() string {
		s, err := r.Main.Status()
		if err != nil || !s.Leads {
			return fmt.Sprintf("leads %v (%v)", s.Leads, err)
		}
		epoch = s.Epoch
		return ""
	})
	return epoch
}

// finished counts the VMs whose evacuation Nova has done.
func (r *row) finished() int {
	n := 0
	for _, vm := range r.vms {
		for _, m := range r.Watch.Of(vm.ID, r.fault.Add(-time.Second)) {
			if !m.Finished.IsZero() {
				n++
			}
		}
	}
	return n
}
