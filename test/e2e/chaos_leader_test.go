//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/test/rig"
)

// leaderDies kills the leader at a moment of a host's recovery: another server goes on and completes it.
func (r *row) leaderDies(bar time.Duration, moment func(leader *rig.Product)) {
	boot, leader := r.bootOf(), r.Leader(r)
	r.strike("host", r.host, "off")
	moment(leader)
	at := r.kill(leader)
	r.awaitBack(5*time.Minute, r.vms)
	r.fenced()
	r.readmitted(3*time.Minute, boot)
	r.gap(at, leader, bar)
}

// killedAtSuspicion: nothing was begun that could go on; the next leader comes to the verdict by itself.
func killedAtSuspicion(r *row) {
	r.leaderDies(0, func(leader *rig.Product) {
		poll(r, 5*time.Second, "the host is suspect", func() bool {
			h, err := leader.Host(r.host)
			return err == nil && h.Suspect
		})
	})
}

// killedWhileFencing: off was sent and not yet read back.
func killedWhileFencing(r *row) {
	r.leaderDies(goesOn, func(*rig.Product) {
		poll(r, 30*time.Second, "the BMC is told off", func() bool { return slices.Contains(r.Lab.BMC(r, r.host, r.fault), "set off") })
	})
}

// killedAtProof: the host is proven off, and nothing was sent for it yet, or hardly.
func killedAtProof(r *row) {
	r.leaderDies(goesOn, func(leader *rig.Product) {
		poll(r, 30*time.Second, "a proof", func() bool {
			in, ok, err := leader.Incident(r.host, r.fault)
			return err == nil && ok && !in.Stages.Proof.IsZero()
		})
	})
}

// killedWhileEvacuating: some requests are answered, some under way, some not sent.
func killedWhileEvacuating(r *row) {
	r.leaderDies(goesOn, func(*rig.Product) { r.struckMeanwhile() })
}

// killedAtReturn: all VMs are back, the host has booted, its gate is open, and nobody has taken it back yet. The next act
// waits for its nova-compute and for the settle time, so there is no bar.
func killedAtReturn(r *row) {
	r.leaderDies(0, func(*rig.Product) {
		poll(r, 2*time.Minute, "the host is switched on", func() bool { return slices.Contains(r.Lab.BMC(r, r.host, r.fault), "set on") })
		poll(r, time.Minute, "its gate is open", func() bool {
			gate, err := os.ReadFile(filepath.Join(r.Machines[r.host].Dir, "gate"))
			return err == nil && strings.TrimSpace(string(gate)) == "open"
		})
	})
}

// permitEnds is how long after the cut what a cut-off leader had decided may still leave it: its permit, half an election
// timeout, and what a request needs to get to the proxy.
const permitEnds = 1500 * time.Millisecond

// leaderCutOff: the leader hears the hosts, Nova and the BMCs, but no other server. Another one takes over; the old one
// sends nothing more, and says why.
func leaderCutOff(r *row) {
	boot, old := r.bootOf(), r.Leader(r)
	r.strike("host", r.host, "off")
	r.struckMeanwhile()
	at := time.Now()
	for _, p := range r.Servers {
		if p != old {
			old.Drop(r, p.Address, strings.Replace(p.Address, "10.77.", "10.78.", 1))
		}
	}
	r.Cleanup(func() { old.Pass(r) })
	rig.Within(r, time.Minute, "another server leads", func() string {
		for _, p := range r.Servers {
			if s, err := p.OwnStatus(); p != old && err == nil && s.Leads {
				return ""
			}
		}
		return "none does"
	})
	r.awaitBack(5*time.Minute, r.vms)
	r.fenced()
	r.gap(at, old, goesOn)
	r.readmitted(3*time.Minute, boot)
	s, err := old.OwnStatus()
	if err != nil || s.Leads || s.Servers.Quorum || s.Servers.Reason == "" {
		r.Errorf("%s is cut off and says: leads %v, quorum %v, %q (%v)", old.Name, s.Leads, s.Servers.Quorum, s.Servers.Reason, err)
	}
	for _, w := range r.Lab.Writes(r, at.Add(permitEnds)) {
		if w.From == old.Address {
			r.Errorf("%s sent %s %s %s %.1f s after it was cut off", old.Name, w.Method, w.Path, w.Body, w.At().Sub(at).Seconds())
		}
	}
	old.Pass(r)
}
