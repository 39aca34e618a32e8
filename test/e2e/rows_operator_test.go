//go:build e2e

package e2e

import (
	"fmt"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/test/rig"
)

const operatorsReason = "disk to be changed on Monday (Ops)"

// bootDisabled: the operator has disabled the service before the failure.
func bootDisabled(r *row) {
	r.bootVMs(r.spec.vms, r.host)
	r.Nova.SetService(r, r.host, map[string]any{"status": "disabled", "disabled_reason": operatorsReason})
	r.Cleanup(func() { r.Nova.SetService(r, r.host, map[string]any{"status": "enabled"}) })
	time.Sleep(15 * time.Second) // the services are read each 10 s
}

// disabledBefore: still disabled, with the operator's reason, after readmission.
func disabledBefore(r *row) {
	r.strike("host", r.host, "off")
	r.awaitVerdict(engine.Off, 30*time.Second)
	r.awaitBack(2*time.Minute, r.vms)
	r.fenced()
	r.awaitPhase(3*time.Minute, engine.PhaseClosed)
	rig.Within(r, time.Minute, "Nova's service as the operator left it", func() string {
		all, err := r.Nova.Services()
		if s := all[r.host]; err != nil || s.ForcedDown || s.Status != "disabled" || s.DisabledReason != operatorsReason {
			return asText(s, err)
		}
		return ""
	})
	for _, w := range r.Lab.Writes(r, r.fault) {
		if contains(w.Path, "/os-services/") && contains(w.Body, "enabled") {
			r.Errorf("somebody enabled a service: %s", w.Body)
		}
	}
}

// bootApart boots VMs that come back one after the other, since an anti-affinity group has one member under way at a
// time: so half-way is long enough to do something.
func bootApart(r *row) {
	var group struct {
		Group struct{ ID string } `json:"server_group"`
	}
	r.Nova.Do(r, "POST", "/os-server-groups", map[string]any{"server_group": map[string]any{
		"name": r.prefix(), "policy": "anti-affinity", "rules": map[string]any{"max_server_per_host": 10},
	}}, &group)
	r.Cleanup(func() { r.Nova.Do(r, "DELETE", "/os-server-groups/"+group.Group.ID, nil, nil) })
	for i := range 3 {
		r.vms = append(r.vms, r.Nova.Boot(r, rig.VMSpec{Name: fmt.Sprintf("%s%d", r.prefix(), i), Host: r.host, Group: group.Group.ID}))
	}
	rig.Within(r, 2*time.Minute, "the inventory knows the group", func() string {
		h, err := r.Main.Host(r.host)
		n := 0
		for _, vm := range h.Guests {
			if len(vm.Apart) > 0 {
				n++
			}
		}
		if err != nil || n < 3 {
			return fmt.Sprintf("%d of 3 (%v)", n, err)
		}
		return ""
	})
}

// unforced: the operator takes forced_down away half-way: hold, and go on when told to.
func unforced(r *row) {
	boot := r.bootOf()
	r.strike("host", r.host, "off")
	r.halfWay()
	r.Nova.SetService(r, r.host, map[string]any{"forced_down": false})
	reason := r.awaitInterlock(engine.LockUnforced, time.Minute)
	before := r.evacuated()
	time.Sleep(15 * time.Second)
	if now := r.evacuated(); now > before+1 || now == len(r.vms) {
		r.Errorf("%d evacuations when it held, %d 15 s later, although held: %s", before, now, reason)
	}
	in, _, err := r.Main.Incident(r.host, r.fault)
	if err != nil {
		r.Fatal(err)
	}
	r.Main.Do(r, "incident", "retry", in.ID, "--reason", "go on")
	r.awaitRecovered(4 * time.Minute)
	r.readmitted(3*time.Minute, boot)
}

func (r *row) evacuated() int {
	n := 0
	for _, vm := range r.vms {
		n += r.Lab.Accepted(r, vm.ID, r.fault)
	}
	return n
}

// foreign: somebody else evacuates half-way: hold, and name them.
func foreign(r *row) {
	boot := r.bootOf()
	r.strike("host", r.host, "off")
	r.halfWay()
	for _, vm := range r.vms {
		if r.Lab.Accepted(r, vm.ID, r.fault) == 0 {
			r.Nova.Act(r, vm.ID, map[string]any{"evacuate": map[string]any{}})
			break
		}
	}
	reason := r.awaitInterlock(engine.LockForeign, time.Minute)
	r.Logf("it says: %s", reason)
	before := r.evacuated()
	time.Sleep(15 * time.Second)
	if now := r.evacuated(); now > before {
		r.Errorf("%d evacuations when it held, %d 15 s later: %s", before, now, reason)
	}
	in, _, err := r.Main.Incident(r.host, r.fault)
	if err != nil {
		r.Fatal(err)
	}
	r.Main.Do(r, "incident", "retry", in.ID, "--reason", "that was me")
	rig.Within(r, 4*time.Minute, "all VMs ACTIVE elsewhere", func() string {
		for _, s := range r.list() {
			if s.Status != "ACTIVE" || s.Host == r.host {
				return fmt.Sprintf("%+v; %s", s, r.standing())
			}
		}
		return ""
	})
	for _, vm := range r.vms {
		if n := r.Lab.Accepted(r, vm.ID, r.fault); n != 1 {
			r.Errorf("Nova accepted %d evacuations of %s, expected one", n, vm.Name)
		}
	}
	r.awaitPhase(4*time.Minute, engine.PhaseClosed)
	_ = boot
}
