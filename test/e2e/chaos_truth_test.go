//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/test/rig"
)

// life is one process that the lab's recorder saw: a VM's QEMU, or a host's nova-compute, which carries the VMs of the fake
// driver. No end: it goes on.
type life struct {
	Host, VM   string
	begin, end float64
}

func (l life) at(t float64) bool { return l.begin <= t && (l.end == 0 || t < l.end) }

// lives reads what the recorder has seen so far.
func (r *row) lives() []life {
	r.Helper()
	f, err := os.Open(r.record)
	if err != nil {
		r.Fatal(err)
	}
	defer f.Close()
	var out []life
	open := map[int]int{} // by pid
	for s := bufio.NewScanner(f); s.Scan(); {
		var e struct {
			At               float64
			What, Host, UUID string
			PID              int
		}
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			continue // the line that is being written
		}
		if e.What == "begin" {
			open[e.PID] = len(out)
			out = append(out, life{Host: e.Host, VM: e.UUID, begin: e.At})
		} else if i, ok := open[e.PID]; ok {
			out[i].end = e.At
			delete(open, e.PID)
		}
	}
	if len(out) == 0 {
		r.Fatal("the recorder has seen nothing: it proves nothing")
	}
	return out
}

// neverTwice judges by the recorder and by what Nova was asked: no VM had two QEMUs at one time; each evacuation that Nova
// accepted left from a host whose nova-compute was dead at that moment; and another one of the same VM followed only when
// the one before had failed by Nova's own record, or its destination was dead, too.
func (r *row) neverTwice() {
	r.Helper()
	lives := r.lives()
	for i, a := range lives {
		for _, b := range lives[i+1:] {
			if a.VM != "" && a.VM == b.VM && (a.at(b.begin) || b.at(a.begin)) {
				r.Errorf("VM %s ran twice at once: %+v and %+v", a.VM, a, b)
			}
		}
	}
	ran := func(host string, at float64) bool {
		return slices.ContainsFunc(lives, func(l life) bool { return l.VM == "" && l.Host == host && l.at(at) })
	}
	writes := r.Lab.Writes(r, r.fault)
	for _, vm := range r.vms {
		var accepted []rig.Write
		for _, w := range writes {
			if w.Evacuated(vm.ID) {
				accepted = append(accepted, w)
			}
		}
		moves := r.Watch.Of(vm.ID, r.fault.Add(-time.Second))
		slices.SortFunc(moves, func(a, b rig.Moved) int { return a.Begun.Compare(b.Begun) })
		if len(accepted) != len(moves) || len(moves) == 0 {
			r.Errorf("%s: Nova accepted %d evacuations and has %d on record: %+v", vm.Name, len(accepted), len(moves), moves)
			continue
		}
		for i, w := range accepted {
			if ran(moves[i].Source, w.Time) {
				r.Errorf("%s was evacuated from %s at %s, while nova-compute ran there", vm.Name, moves[i].Source, w.At())
			}
			if i == 0 {
				continue
			}
			if before := moves[i-1]; before.Status != "failed" && before.Status != "error" && ran(before.Dest, w.Time) {
				r.Errorf("%s was evacuated once more at %s, while its evacuation to %s was %s there", vm.Name, w.At(), before.Dest, before.Status)
			}
		}
	}
}
