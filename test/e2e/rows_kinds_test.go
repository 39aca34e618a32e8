//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/test/rig"
)

// kind is a VM in a state of its own and what must become of it.
type kind struct {
	name   string
	make   func(*row, rig.Server)
	state  engine.State // in the incident, before the host is back
	reason string       // part of the reason
	moved  bool         // it is elsewhere afterwards
	status string       // afterwards
}

func kinds() []kind {
	return []kind{
		{name: "stopped", state: engine.Skipped, reason: "stopped", status: "SHUTOFF", make: func(r *row, vm rig.Server) {
			r.Nova.Act(r, vm.ID, map[string]any{"os-stop": nil})
			r.Nova.Becomes(r, vm.ID, "SHUTOFF")
		}},
		{name: "paused", state: engine.Recovered, moved: true, status: "PAUSED", make: func(r *row, vm rig.Server) {
			r.Nova.Act(r, vm.ID, map[string]any{"pause": nil})
			r.Nova.Becomes(r, vm.ID, "PAUSED")
		}},
		{name: "error", state: engine.Recovered, moved: true, status: "ACTIVE", make: func(r *row, vm rig.Server) {
			r.Nova.Act(r, vm.ID, map[string]any{"os-resetState": map[string]any{"state": "error"}})
		}},
		{name: "optout", state: engine.Skipped, reason: "opted out", status: "ACTIVE"},
		{name: "locked", state: engine.Recovered, moved: true, status: "ACTIVE", make: func(r *row, vm rig.Server) {
			r.Nova.Act(r, vm.ID, map[string]any{"lock": nil})
		}},
		{name: "plain", state: engine.Recovered, moved: true, status: "ACTIVE"},
		{name: "deleted", state: engine.Skipped, reason: "gone"},
	}
}

// bootKinds boots one VM of each kind.
func bootKinds(r *row) {
	for _, k := range kinds() {
		r.vms = append(r.vms, r.Nova.Boot(r, rig.VMSpec{Name: r.prefix() + k.name, Host: r.host}))
	}
	for i, k := range kinds() {
		if k.make != nil {
			k.make(r, r.vms[i])
		}
	}
}

// vmKinds: each ends as the design says.
func vmKinds(r *row) {
	boot := r.bootOf()
	r.strike("host", r.host, "off")
	for i, k := range kinds() {
		if k.name == "deleted" {
			rig.Within(r, time.Minute, "the plan is made", func() string {
				if in, _, err := r.Main.Incident(r.host, r.fault); !in.Planned {
					return asText(in.Phase, err)
				}
				return ""
			})
			r.Nova.Do(r, "DELETE", "/servers/"+r.vms[i].ID, nil, nil)
		}
	}
	settled := r.awaitPhase(4*time.Minute, engine.PhaseRecovered, engine.PhaseClosed)
	r.bookMoves(r.vms)
	r.readmitted(4*time.Minute, boot)
	now := r.list()
	for i, k := range kinds() {
		id := r.vms[i].ID
		g := slices.IndexFunc(settled.Guests, func(g engine.Recovery) bool { return g.VM.ID == id })
		if g < 0 {
			r.Errorf("%s: not in the incident", k.name)
			continue
		}
		got := settled.Guests[g]
		if k.name != "deleted" && (got.State != k.state || !strings.Contains(got.Reason, k.reason)) {
			r.Errorf("%s: %s (%s), expected %s (…%s…)", k.name, got.State, got.Reason, k.state, k.reason)
		}
		s, there := now[id]
		if k.name == "deleted" {
			if there {
				r.Errorf("deleted: Nova still lists it: %+v", s)
			}
			continue
		}
		if s.Status != k.status || (s.Host != r.host) != k.moved {
			r.Errorf("%s: %+v, expected %s, moved %v", k.name, s, k.status, k.moved)
		}
		if s.Locked != (k.name == "locked") {
			r.Errorf("%s: locked %v", k.name, s.Locked)
		}
		if n := r.Lab.Accepted(r, id, r.fault); n > 1 || (n == 1) != k.moved {
			r.Errorf("%s: %d evacuations", k.name, n)
		}
	}
}

// bootOwnStore gives the victim a store that nobody else sees, and boots VMs there.
func bootOwnStore(r *row) {
	r.Lab.Do(r, "host", r.host, "store", "own")
	r.AgentConfig(r, r.Machines[r.host], true)
	r.Cleanup(func() {
		r.Lab.Do(r, "host", r.host, "store", "shared")
		r.AgentConfig(r, r.Machines[r.host], false)
		r.Reboot(r.T, r.host)
	})
	r.Reboot(r.T, r.host) // Nova and the agent read it at their start
	r.Settled(r, 3*time.Minute)
	r.vms = append(r.vms, r.Nova.Boot(r, rig.VMSpec{Name: r.prefix() + "image", Host: r.host}))
	r.vms = append(r.vms, r.Nova.Boot(r, rig.VMSpec{Name: r.prefix() + "rebuild", Host: r.host}))
}

// ownStore: an image-booted VM whose disk nobody else sees is held, and restarted where it was when its host is back; one
// that may be rebuilt comes back empty elsewhere.
func ownStore(r *row) {
	boot := r.bootOf()
	r.strike("host", r.host, "off")
	settled := r.awaitPhase(3*time.Minute, engine.PhaseRecovered, engine.PhaseClosed)
	for _, g := range settled.Guests {
		switch {
		case g.VM.ID == r.vms[0].ID && (g.State != engine.Held || !strings.Contains(g.Reason, "no host sees its disk")) && g.State != engine.Restarting:
			r.Errorf("the image-booted VM is %s: %s", g.State, g.Reason)
		case g.VM.ID == r.vms[1].ID && g.State != engine.Recovered:
			r.Errorf("the VM that may be rebuilt is %s: %s", g.State, g.Reason)
		}
	}
	in := r.readmitted(4*time.Minute, boot)
	if in.Counts[engine.Recovered] != 2 {
		r.Errorf("in the end %v, expected both recovered", in.Counts)
	}
	now := r.list()
	if s := now[r.vms[0].ID]; s.Host != r.host || s.Status != "ACTIVE" || r.Lab.Accepted(r, s.ID, r.fault) != 0 {
		r.Errorf("the image-booted VM: %+v, expected where it was, never evacuated", s)
	}
	if s := now[r.vms[1].ID]; s.Host == r.host || s.Status != "ACTIVE" {
		r.Errorf("the VM that may be rebuilt: %+v, expected elsewhere", s)
	}
}

// migrating: the host dies in the middle of a live migration, whose destination is slow. The VM is left alone until the
// other end is settled, and then comes back once.
func migrating(r *row) {
	boot, vm, slow := r.bootOf(), r.vms[0], r.spec.hosts[1]
	// Nova-compute of the destination stands still, its agent doesn't: the migration hangs in its first step.
	r.signal(slow, syscall.SIGSTOP)
	r.Cleanup(func() { r.signal(slow, syscall.SIGCONT) })
	r.Nova.Act(r, vm.ID, map[string]any{"os-migrateLive": map[string]any{"host": slow, "block_migration": "auto"}})
	rig.Within(r, 20*time.Second, "the VM is migrating", func() string {
		if s := r.list()[vm.ID]; s.Task != "migrating" {
			return fmt.Sprintf("%+v", s)
		}
		return ""
	})
	r.strike("host", r.host, "off")
	var held string
	rig.Within(r, time.Minute, "the VM is held", func() string {
		in, _, err := r.Main.Incident(r.host, r.fault)
		for _, g := range in.Guests {
			if g.VM.ID == vm.ID && g.State == engine.Held {
				held = g.Reason
				return ""
			}
		}
		return asText(in.Counts, err)
	})
	r.Logf("held: %s", held)
	r.signal(slow, syscall.SIGCONT)
	rig.Within(r, 6*time.Minute, "the VM is ACTIVE elsewhere, or restarted in place", func() string {
		if s := r.list()[vm.ID]; s.Status != "ACTIVE" || s.Task != "" || s.PowerState != 1 {
			return fmt.Sprintf("%+v; %s", s, r.standing())
		}
		if in, _, err := r.Main.Incident(r.host, r.fault); in.Phase != engine.PhaseClosed {
			return asText(in.Phase, err)
		}
		return ""
	})
	if n := r.Lab.Accepted(r, vm.ID, r.fault); n > 1 {
		r.Errorf("%d evacuations", n)
	}
	r.readmitted(2*time.Minute, boot)
}

// signal stops or continues nova-compute of a host.
func (r *row) signal(host string, what syscall.Signal) {
	r.Helper()
	for _, pid := range strings.Fields(r.Lab.PIDs(r, host, "nova-compute")) {
		n, err := strconv.Atoi(pid)
		if err == nil {
			err = syscall.Kill(n, what)
		}
		if err != nil {
			r.Error(err)
		}
	}
}
