//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/test/rig"
)

// bootGuest boots the guest that writes a counter to its disk, and waits until it counts.
func bootGuest(r *row) {
	r.bootVMs(1, r.host)
	rig.Within(r, 90*time.Second, "the guest counts", func() string {
		if n := r.counter(); n < 3 {
			return fmt.Sprint(n)
		}
		return ""
	})
}

func (r *row) counter() int {
	n, err := strconv.Atoi(strings.TrimSpace(r.Lab.Do(r, "guest-counter", r.vms[0].ID)))
	if err != nil {
		r.Fatal(err)
	}
	return n
}

// realGuest: the same disk continues the count on the other host; at no moment two QEMUs.
func realGuest(r *row) {
	record := filepath.Join(r.Lab.Run, "e2e", "qemu.jsonl")
	r.Lab.Do(r, "record", "start", record)
	r.Cleanup(func() { r.Lab.Do(r, "record", "stop") })
	boot, vm := r.bootOf(), r.vms[0]
	r.strike("host", r.host, "off")
	stopped := r.counter()
	r.awaitVerdict(engine.Off, 30*time.Second)
	r.awaitBack(2*time.Minute, r.vms)
	rig.Within(r, 90*time.Second, "the count goes on", func() string {
		if n := r.counter(); n < stopped+3 {
			return fmt.Sprintf("%d, was %d when the host died", n, stopped)
		}
		return ""
	})
	console := rig.Tail(filepath.Join(r.Lab.Run, "shared", "real", vm.ID, "console.log"), 50)
	if !strings.Contains(console, fmt.Sprintf("counter was %d", stopped)) {
		r.Errorf("the guest did not find the count at %d:\n%s", stopped, console)
	}
	r.fenced()
	r.readmitted(3*time.Minute, boot)
	now := r.Lab.Truth(r)
	if q := now[r.host].QEMU; len(q) > 0 {
		r.Errorf("%s runs QEMU %v after its return", r.host, q)
	}
	r.Lab.Do(r, "record", "stop")
	var runs map[string]struct {
		Max  int `json:"max"`
		Runs []struct{ Host string }
	}
	report := r.Lab.Do(r, "record", "report", record)
	rig.Decode(r, report, &runs)
	got := runs[vm.ID]
	if got.Max != 1 {
		r.Errorf("at most %d QEMUs of the guest at one time, expected one:\n%s", got.Max, report)
	}
	if n := len(got.Runs); n != 2 || got.Runs[0].Host != r.host || got.Runs[1].Host == r.host {
		r.Errorf("the guest ran %+v, expected first on %s, then elsewhere", got.Runs, r.host)
	}
	if in, _, err := r.Main.Incident(r.host, r.fault); err != nil || !slices.ContainsFunc(in.Guests, func(g engine.Recovery) bool { return g.VM.ID == vm.ID && g.SeenBy == "agent" }) {
		r.Errorf("no agent saw the guest's QEMU (%v): %+v", err, in.Guests)
	}
}
