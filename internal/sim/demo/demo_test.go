package demo

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

// slow says whether the demos that take a minute are to be played too: NINELIVES_DEMO=all go test ./internal/sim/demo
func slow(t *testing.T) {
	t.Helper()
	if os.Getenv("NINELIVES_DEMO") != "all" {
		t.Skip("set NINELIVES_DEMO=all to play this one too")
	}
}

// play runs one scripted demo and checks what holds for all: no VM ever ran twice, and the JSON has its shape.
func play(t *testing.T, o Options, s Script) (Result, time.Duration) {
	t.Helper()
	t.Parallel()
	var story strings.Builder
	o.Tell = func(line string) { story.WriteString(line + "\n") }
	if os.Getenv("NINELIVES_DEMO_LOG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	defer cancel()
	d, err := Start(ctx, o)
	if err != nil {
		t.Fatalf("%v\n%s", err, story.String())
	}
	dir := d.dir
	begun := time.Now()
	res, err := d.Run(ctx, s)
	took := time.Since(begun)
	if err := d.Stop(ctx); err != nil {
		t.Errorf("the demo does not end cleanly: %v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, story.String())
	}
	text, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("exit %d in %s: %s %s", res.Code, took.Round(time.Millisecond), text, res.Reason)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the story:\n%s", story.String())
		}
	})
	if res.DoubleRuns != 0 {
		t.Errorf("%d VMs ran twice", res.DoubleRuns)
	}
	return res, took
}

// recovered checks an incident whose VMs all came back.
func recovered(t *testing.T, r Result, i int, host string, verdict engine.Verdict, vms int) Incident {
	t.Helper()
	if r.Code != ExitRecovered || r.VMsDown != 0 || len(r.Incidents) <= i {
		t.Fatalf("exit %d (%s), %d VMs down, %d incidents; want 0, 0 and more than %d", r.Code, r.Reason, r.VMsDown, len(r.Incidents), i)
	}
	in := r.Incidents[i]
	if in.Host != host || in.Verdict != verdict || in.Phase != engine.PhaseRecovered || in.Proof == nil || in.Proof.Kind != "power-off" || in.Proof.Device == "" {
		t.Errorf("%s %s %s, proof %+v; want %s %s recovered by power-off", in.Host, in.Verdict, in.Phase, in.Proof, host, verdict)
	}
	if in.VMs != (VMs{Total: vms, Recovered: vms}) || len(in.Interlocks) != 0 {
		t.Errorf("VMs %+v, interlocks %v; want all %d recovered and none", in.VMs, in.Interlocks, vms)
	}
	s := in.Stages
	if !(0 < s.Suspect && s.Suspect <= s.Verdict && s.Verdict < s.Proof && s.Proof < s.Resurrected) {
		t.Errorf("stages %+v are out of order", s)
	}
	if got := r.HostStates[host]; got != "readmitted" {
		t.Errorf("%s is %q, want readmitted", host, got)
	}
	return in
}

// within checks a figure of docs/figures.md, loosely: a test machine is busy.
func within(t *testing.T, what string, got, most float64) {
	t.Helper()
	if got <= 0 || got > most {
		t.Errorf("%s after %.1f s, want at most %.1f s", what, got, most)
	}
}

func TestCut(t *testing.T) {
	r, _ := play(t, Options{Hosts: 6, VMs: 24, Seed: 1}, Script{Cut: []string{"host-03"}})
	in := recovered(t, r, 0, "host-03", engine.Off, 4)
	within(t, "verdict", in.Stages.Verdict, 6)
}

func TestNothing(t *testing.T) {
	r, _ := play(t, Options{Hosts: 2, VMs: 2, Seed: 2, Redfish: 2}, Script{})
	if r.Code != ExitRecovered || len(r.Incidents) != 0 || len(r.HostStates) != 0 {
		t.Errorf("exit %d, %d incidents, states %v; want 0 and none", r.Code, len(r.Incidents), r.HostStates)
	}
}

func TestCutBehindRedfish(t *testing.T) {
	slow(t)
	r, _ := play(t, Options{Hosts: 4, VMs: 16, Seed: 3, Redfish: 2}, Script{Cut: []string{"host-02"}})
	recovered(t, r, 0, "host-02", engine.Off, 4)
}

func TestTwoCuts(t *testing.T) {
	slow(t)
	r, _ := play(t, Options{Hosts: 8, VMs: 40, Seed: 4, Redfish: 4}, Script{Cut: []string{"host-02", "host-07"}})
	recovered(t, r, 0, "host-02", engine.Off, 5)
	recovered(t, r, 1, "host-07", engine.Off, 5)
}

func TestFreeze(t *testing.T) {
	slow(t)
	r, _ := play(t, Options{Hosts: 6, VMs: 24, Seed: 5}, Script{Freeze: []string{"host-05"}})
	in := recovered(t, r, 0, "host-05", engine.Dead, 4)
	within(t, "verdict", in.Stages.Verdict, 16)
	if in.Stages.Verdict < 11 {
		t.Errorf("dead after %.1f s of silence: sooner than dead_after allows", in.Stages.Verdict)
	}
}

func TestIsolate(t *testing.T) {
	slow(t)
	r, _ := play(t, Options{Hosts: 6, VMs: 24, Seed: 6}, Script{Isolate: []string{"host-04"}})
	if r.Code != ExitRecovered || len(r.Incidents) != 1 || r.VMsDown != 0 {
		t.Fatalf("exit %d (%s), %d incidents, %d VMs down; want 0, one, none", r.Code, r.Reason, len(r.Incidents), r.VMsDown)
	}
	if in := r.Incidents[0]; in.Verdict != engine.Isolated || in.Phase != engine.PhaseAlert || in.Proof != nil {
		t.Errorf("%s, %s, proof %+v; want isolated, alert, none", in.Verdict, in.Phase, in.Proof)
	}
	if got := r.HostStates["host-04"]; got != "isolated" {
		t.Errorf("host-04 is %q, want isolated", got)
	}
}

func TestDeadBMC(t *testing.T) {
	slow(t)
	r, _ := play(t, Options{Hosts: 6, VMs: 24, Seed: 7}, Script{Cut: []string{"host-03"}, DeadBMC: []string{"host-03"}})
	if r.Code != ExitHeld || r.VMsDown != 4 || len(r.Incidents) != 1 {
		t.Fatalf("exit %d (%s), %d VMs down, %d incidents; want 3, 4, one", r.Code, r.Reason, r.VMsDown, len(r.Incidents))
	}
	if in := r.Incidents[0]; in.Verdict != engine.Dead || in.Proof != nil || len(in.Interlocks) == 0 || in.VMs != (VMs{Total: 4, Held: 4}) {
		t.Errorf("%s, proof %+v, VMs %+v, interlocks %v; want dead, none, 4 held, and why it waits", in.Verdict, in.Proof, in.VMs, in.Interlocks)
	}
}

func TestNovaOutage(t *testing.T) {
	slow(t)
	r, _ := play(t, Options{Hosts: 6, VMs: 24, Seed: 8}, Script{Cut: []string{"host-03"}, NovaOutage: 20 * time.Second})
	in := recovered(t, r, 0, "host-03", engine.Off, 4)
	if in.Stages.Proof > 10 || in.Stages.Resurrected < 20 {
		t.Errorf("stages %+v: want the proof without waiting for Nova, and VMs only when it is back", in.Stages)
	}
}

func TestMistakesOfUsage(t *testing.T) {
	for _, tc := range []struct {
		o    Options
		s    Script
		want string
	}{
		{Options{Hosts: 1}, Script{}, "--hosts 1"},
		{Options{Hosts: 3, VMs: -1}, Script{}, "--vms -1"},
		{Options{Hosts: 3}, Script{Cut: []string{"host-04"}}, "--cut host-04: there is no such host; there are host-01, host-02, host-03"},
		{Options{Hosts: 30}, Script{DeadBMC: []string{"x"}}, "there are host-01 to host-30"},
		{Options{Hosts: 3}, Script{NovaOutage: -1}, "--nova-outage"},
	} {
		if err := Check(tc.o, tc.s); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v %+v: %v, want %q", tc.o, tc.s, err, tc.want)
		}
	}
}
