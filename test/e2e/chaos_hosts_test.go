//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/test/rig"
)

// bootThree boots VMs on three hosts: four, four, and a real guest.
func bootThree(r *row) {
	for i, n := range []int{4, 4, 1} {
		var got []struct{ ID string }
		rig.Decode(r, r.Lab.Do(r, "vms", "boot", fmt.Sprint(n), r.spec.hosts[i], "--prefix", r.prefix(), "--json"), &got)
		all := r.list()
		for _, g := range got {
			r.vms = append(r.vms, all[g.ID])
		}
	}
}

// twoMore: while one host's VMs come back, two more hosts fail, one of them perhaps a destination. Every VM of the three
// ends up running on a living host.
func twoMore(r *row) {
	var boots []string
	for _, host := range r.spec.hosts {
		boots = append(boots, r.Lab.Truth(r)[host].Boot)
	}
	r.strike("host", r.host, "off")
	r.struckMeanwhile()
	struck := time.Now()
	for _, host := range r.spec.hosts[1:] {
		r.Lab.Do(r, "host", host, "off")
	}
	r.Logf("%v fail %.1f s after %s", r.spec.hosts[1:], struck.Sub(r.fault).Seconds(), r.host)
	rig.Within(r, 6*time.Minute, "all VMs ACTIVE on living hosts", func() string {
		now, err := r.Nova.Servers("name=" + r.prefix())
		if err != nil {
			return err.Error()
		}
		for _, vm := range r.vms {
			if s := now[vm.ID]; s.Status != "ACTIVE" || slices.Contains(r.spec.hosts, s.Host) || s.Task != "" || s.PowerState != 1 {
				return fmt.Sprintf("%+v; %s", s, r.standing())
			}
		}
		return ""
	})
	r.bookMoves(r.vms)
	for i, host := range r.spec.hosts {
		r.host = host
		r.fenced()
		r.readmitted(4*time.Minute, boots[i])
	}
}
