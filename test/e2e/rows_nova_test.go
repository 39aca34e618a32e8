//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/test/rig"
)

type heldBy = api.HeldBy

func contains(s, sub string) bool { return strings.Contains(s, sub) }

func asText(v any, err error) string { return fmt.Sprintf("%+v (%v)", v, err) }

// halfWay waits until Nova accepted an evacuation and not yet all.
func (r *row) halfWay() {
	r.Helper()
	rig.Within(r, time.Minute, "an evacuation is under way", func() string {
		for _, vm := range r.vms {
			if r.Lab.Accepted(r, vm.ID, r.fault) > 0 {
				return ""
			}
		}
		return r.standing()
	})
}

// awaitRecovered is awaitBack for rows in which the proxy can't tell what Nova accepted: Nova's records alone count.
func (r *row) awaitRecovered(limit time.Duration) {
	r.Helper()
	rig.Within(r, limit, "all VMs ACTIVE elsewhere", func() string {
		now, err := r.Nova.Servers("name=" + r.prefix())
		if err != nil {
			return err.Error()
		}
		for _, vm := range r.vms {
			if s := now[vm.ID]; s.Status != "ACTIVE" || s.Host == vm.Host || s.Task != "" {
				return fmt.Sprintf("%+v; %s", s, r.standing())
			}
		}
		return ""
	})
	// Nova shows the VM ACTIVE before it writes its record of the move.
	rig.Within(r, 2*time.Minute, "Nova's records are final", func() string {
		for _, vm := range r.vms {
			if moves := r.Watch.Of(vm.ID, r.fault.Add(-time.Second)); !slices.ContainsFunc(moves, func(m rig.Moved) bool { return !m.Finished.IsZero() }) {
				return fmt.Sprintf("%s: %+v", vm.Name, moves)
			}
		}
		return ""
	})
	r.bookMoves(r.vms)
	for _, vm := range r.vms {
		done, failed := 0, 0
		moves := r.Watch.Of(vm.ID, r.fault.Add(-time.Second))
		for _, m := range moves {
			switch m.Status {
			case "done", "completed":
				done++
			case "failed", "error": // by Nova's own record: another one may follow
				failed++
			}
		}
		if n := r.Lab.Accepted(r, vm.ID, r.fault); done != 1 || n > failed+1 {
			r.Errorf("%s: Nova accepted %d evacuations, expected one and one more for each that failed; its records: %+v", vm.Name, n, moves)
		}
	}
}

// novaDown: nova-api goes away half-way and is back after 30 s.
func novaDown(r *row) {
	boot := r.bootOf()
	r.strike("host", r.host, "off")
	r.halfWay()
	r.Lab.Do(r, "nova-api", "stop")
	r.Cleanup(func() { r.Lab.Do(r, "nova-api", "start") })
	time.Sleep(30 * time.Second)
	r.Lab.Do(r, "nova-api", "start")
	r.awaitRecovered(5 * time.Minute)
	r.fenced()
	r.readmitted(3*time.Minute, boot)
}

// rabbitRestarted: the message bus is restarted half-way.
func rabbitRestarted(r *row) {
	boot := r.bootOf()
	r.strike("host", r.host, "off")
	r.halfWay()
	r.Lab.Do(r, "rabbit", "restart")
	r.awaitRecovered(8 * time.Minute)
	r.fenced()
	r.readmitted(4*time.Minute, boot)
}

// lostAnswers: Nova accepts and nobody hears it.
func lostAnswers(r *row) {
	boot := r.bootOf()
	r.Lab.Do(r, "proxy-lose-answer", "on", fmt.Sprint(len(r.vms)))
	r.Cleanup(func() { r.Lab.Do(r, "proxy-lose-answer", "off") })
	r.strike("host", r.host, "off")
	r.awaitBack(4*time.Minute, r.vms)
	lost := 0
	for _, w := range r.Lab.Writes(r, r.fault) {
		if w.Lost {
			lost++
		}
	}
	if lost != len(r.vms) {
		r.Errorf("%d answers were lost, expected %d", lost, len(r.vms))
	}
	r.fenced()
	r.readmitted(3*time.Minute, boot)
}

// destinationDies: the host that the VMs are on their way to loses its power. Its own incident takes them over.
func destinationDies(r *row) {
	boot := r.bootOf()
	r.strike("host", r.host, "off")
	second := ""
	rig.Within(r, time.Minute, "an evacuation is under way", func() string {
		for _, vm := range r.vms {
			for _, m := range r.Watch.Of(vm.ID, r.fault.Add(-time.Second)) {
				if m.Dest != "" {
					second = m.Dest
					return ""
				}
			}
		}
		return r.standing()
	})
	secondBoot := r.Lab.Truth(r)[second].Boot
	struck := time.Now()
	r.Lab.Do(r, "host", second, "off")
	r.Logf("the destination %s dies %.1f s after the fault", second, struck.Sub(r.fault).Seconds())
	rig.Within(r, 6*time.Minute, "all VMs ACTIVE on living hosts", func() string {
		now, err := r.Nova.Servers("name=" + r.prefix())
		if err != nil {
			return err.Error()
		}
		for _, vm := range r.vms {
			if s := now[vm.ID]; s.Status != "ACTIVE" || s.Host == r.host || s.Host == second || s.Task != "" {
				other, _, err := r.Main.Incident(second, struck)
				return fmt.Sprintf("%+v; %s; %s: %s %v (%v)", s, r.standing(), second, other.Phase, other.Counts, err)
			}
		}
		return ""
	})
	r.bookMoves(r.vms)
	proof := time.Time{}
	if in, ok, err := r.Main.Incident(second, struck); !ok || err != nil {
		r.Errorf("no incident of the destination %s (%v)", second, err)
	} else {
		proof = in.Stages.Proof
	}
	for _, vm := range r.vms {
		moves := r.Watch.Of(vm.ID, r.fault.Add(-time.Second))
		slices.SortFunc(moves, func(a, b rig.Moved) int { return a.Begun.Compare(b.Begun) })
		if len(moves) > 2 {
			r.Errorf("%s was evacuated %d times: %+v", vm.Name, len(moves), moves)
		}
		if len(moves) == 2 && (moves[0].Dest != second || moves[1].Begun.Before(proof)) {
			r.Errorf("%s was evacuated a second time before its destination had a proof (%v): %+v", vm.Name, proof, moves)
		}
	}
	r.readmitted(3*time.Minute, boot)
	r.host = second
	r.readmitted(3*time.Minute, secondBoot)
}
