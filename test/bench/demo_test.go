//go:build bench

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// demoStages are one demo's times in seconds since its fault, by the simulator's truth.
type demoStages struct {
	Suspect     float64 `json:"suspect_s"`
	Verdict     float64 `json:"verdict_s"`
	Proof       float64 `json:"proof_s"`
	Resurrected float64 `json:"resurrected_s"`
}

// TestDemo is the demo's rows: real protocols, a simulated Nova and BMCs. dead_after is 12 s with the demo's two planes.
func TestDemo(t *testing.T) {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "demo\truns\tsuspect\tverdict\tproof\tlast VM\tmedian verdict\tmedian verdict to proof")
	for _, c := range []struct {
		fault         string
		runs          int
		median, worst float64 // bars for the verdict
	}{
		{"--cut", number("NINELIVES_BENCH_DEMOS", 10), 3, 4.5},
		{"--freeze", max(1, number("NINELIVES_BENCH_DEMOS", 10)*3/10), 13, 13},
	} {
		var all []demoStages
		for seed := range c.runs {
			all = append(all, demo(t, c.fault, seed+1))
		}
		verdicts := sorted(all, func(s demoStages) float64 { return s.Verdict })
		proofs := sorted(all, func(s demoStages) float64 { return s.Proof - s.Verdict })
		span := func(of func(demoStages) float64) string {
			v := sorted(all, of)
			return fmt.Sprintf("%.2f–%.2f", v[0], v[len(v)-1])
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%.2f\t%.2f\n", c.fault, c.runs,
			span(func(s demoStages) float64 { return s.Suspect }), span(func(s demoStages) float64 { return s.Verdict }),
			span(func(s demoStages) float64 { return s.Proof }), span(func(s demoStages) float64 { return s.Resurrected }), median(verdicts), median(proofs))
		if m, worst := median(verdicts), verdicts[len(verdicts)-1]; m > c.median || worst > c.worst {
			t.Errorf("%s: verdict after %.2f s in the median and %.2f s at worst, the bar is %.1f and %.1f", c.fault, m, worst, c.median, c.worst)
		}
	}
	_ = w.Flush() // into memory
	t.Logf("seconds since the fault:\n%s", out.String())
}

// demo runs one and returns the stages of its only incident.
func demo(t *testing.T, fault string, seed int) demoStages {
	t.Helper()
	binary := os.Getenv("NINELIVES_BINARY")
	if binary == "" {
		binary = "../../bin/ninelives"
	}
	text, err := exec.Command(binary, "demo", "--hosts", "12", "--vms", "120", fault, "host-03", "--exit", "-o", "json", "--seed", fmt.Sprint(seed)).Output()
	if err != nil {
		t.Fatalf("demo %s, seed %d: %v", fault, seed, err)
	}
	var result struct {
		Incidents []struct {
			Host   string
			Stages demoStages
		}
		DoubleRuns int `json:"double_runs"`
	}
	if err := json.Unmarshal(text, &result); err != nil {
		t.Fatalf("demo %s, seed %d: %v", fault, seed, err)
	}
	if len(result.Incidents) != 1 || result.DoubleRuns != 0 {
		t.Fatalf("demo %s, seed %d: %+v", fault, seed, result)
	}
	return result.Incidents[0].Stages
}

func sorted(all []demoStages, of func(demoStages) float64) []float64 {
	out := make([]float64, 0, len(all))
	for _, s := range all {
		out = append(out, of(s))
	}
	slices.Sort(out)
	return out
}

// median of a sorted list.
func median(v []float64) float64 {
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}
