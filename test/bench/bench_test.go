//go:build bench

package bench

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/test/rig"
)

// way is one way to evacuate a host: how many calls at once, and who chooses the destinations.
type way struct {
	Name    string `json:"name"`
	AtOnce  int    `json:"at_once,omitempty"`
	Spread  bool   `json:"spread,omitempty"` // named targets in turn; else the scheduler chooses
	Product bool   `json:"product,omitempty"`
}

// figure is one run: seconds until the first and the last VM was back, counted from the proof (the product) or from the
// first call (a bare loop), and what nova-api had to do for it, as the proxy before it saw it.
type figure struct {
	way
	VMs      int                  `json:"vms"`
	Asked    float64              `json:"first_evacuate_s"` // the first evacuate came to Nova
	Accepted float64              `json:"last_accepted_s"`  // Nova had answered the last one
	First    float64              `json:"first_s"`
	Last     float64              `json:"last_s"`
	Requests map[string]*requests `json:"requests"`
}

// requests of one kind, and how long Nova took for all of them.
type requests struct {
	N       int     `json:"n"`
	Seconds float64 `json:"seconds"`
}

type bench struct {
	*testing.T
	*rig.Rig
	host   string // the victim of this run
	hosts  []string
	count  int
	began  time.Time
	runs   []figure
	struck []time.Time // when each of them began
}

// TestRecovery compares: first each way of a bare loop once, then the best of them and the product in turn.
func TestRecovery(t *testing.T) {
	b := &bench{T: t, Rig: rig.SetUp(t), count: number("NINELIVES_BENCH_VMS", 20), began: time.Now()}
	defer b.report()
	for host, m := range b.Machines {
		if !m.Real {
			b.hosts = append(b.hosts, host)
		}
	}
	slices.Sort(b.hosts)
	b.Lab.Do(t, "nova", "reads", "on")
	t.Cleanup(func() { b.Lab.Do(t, "nova", "reads", "off") })
	b.agentCost()
	best := way{}
	seconds := 0.0
	for _, w := range []way{{AtOnce: 4, Spread: true}, {AtOnce: 8, Spread: true}, {AtOnce: 16, Spread: true}, {AtOnce: 8}} {
		w.Name = fmt.Sprintf("bare loop, %d at once, %s", w.AtOnce, map[bool]string{true: "named targets", false: "scheduler's choice"}[w.Spread])
		f := b.bare(w)
		if best.Name == "" || f.Last < seconds {
			best, seconds = w, f.Last
		}
	}
	t.Logf("best bare loop: %s", best.Name)
	var ratios []float64
	for i := range number("NINELIVES_BENCH_PAIRS", 5) {
		var p, l figure
		if i%2 == 0 { // neither always comes first
			p, l = b.product(), b.bare(best)
		} else {
			l, p = b.bare(best), b.product()
		}
		ratios = append(ratios, (p.Last-1)/l.Last) // the bar allows 1 s besides
		t.Logf("pair: product %.1f s, bare loop %.1f s, ratio %.2f", p.Last, l.Last, p.Last/l.Last)
	}
	slices.Sort(ratios)
	if n := len(ratios); n > 0 && ratios[n/2] > 1.15 {
		t.Errorf("median of (product - 1 s) / bare loop is %.2f, the bar is 1.15: %v", ratios[n/2], ratios)
	}
}

func number(name string, byDefault int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return byDefault
}

// rest is how long a host may not fail three times in: Ninelives would leave it to people.
const rest = 10*time.Minute + 10*time.Second

// boot boots the VMs of one run on the next victim.
func (b *bench) boot() []string {
	b.Helper()
	n := len(b.runs)
	b.host = b.hosts[n%len(b.hosts)]
	if before := n - 2*len(b.hosts); before >= 0 {
		time.Sleep(time.Until(b.struck[before].Add(rest)))
	}
	b.struck = append(b.struck, time.Now())
	var got []struct{ ID string }
	rig.Decode(b, b.Lab.Do(b, "vms", "boot", fmt.Sprint(b.count), b.host, "--prefix", "bench", "--json"), &got)
	ids := make([]string, 0, len(got))
	for _, g := range got {
		ids = append(ids, g.ID)
	}
	return ids
}

// back waits until every VM's evacuation is done, and books the run.
func (b *bench) back(w way, vms []string, from time.Time) figure {
	b.Helper()
	f := figure{way: w, VMs: len(vms)}
	rig.Within(b, 10*time.Minute, "all VMs are back", func() string {
		f.First, f.Last = 0, 0
		for _, vm := range vms {
			moves := b.Watch.Of(vm, from.Add(-time.Second))
			if len(moves) != 1 || moves[0].Finished.IsZero() {
				return fmt.Sprintf("%s: %+v", vm, moves)
			}
			s := moves[0].Finished.Sub(from).Seconds()
			if f.First == 0 || s < f.First {
				f.First = s
			}
			f.Last = max(f.Last, s)
		}
		return ""
	})
	b.asked(&f, from)
	b.runs = append(b.runs, f)
	b.Logf("%4.0f s  %s, %s: asked %.1f s, accepted %.1f s, first %.1f s, last %.1f s\n%s", time.Since(b.began).Seconds(), w.Name, b.host, f.Asked, f.Accepted, f.First, f.Last, f.asked())
	return f
}

var identifiers = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|\?.*`)

// asked counts what nova-api was asked from a moment until the last VM was back.
func (b *bench) asked(f *figure, from time.Time) {
	b.Helper()
	f.Requests = map[string]*requests{}
	for _, w := range append(b.Lab.Writes(b, from), b.Lab.Reads(b, from)...) {
		at := w.Time - float64(from.UnixMicro())/1e6
		if at > f.Last {
			continue
		}
		kind := w.Method + " " + identifiers.ReplaceAllString(w.Path, "")
		if strings.Contains(w.Body, `"evacuate"`) {
			kind = "evacuate"
			if f.Asked == 0 || at < f.Asked {
				f.Asked = at
			}
			f.Accepted = max(f.Accepted, at+w.Took)
		}
		if f.Requests[kind] == nil {
			f.Requests[kind] = &requests{}
		}
		f.Requests[kind].N++
		f.Requests[kind].Seconds += w.Took
	}
}

func (f figure) asked() string {
	var out strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(f.Requests)) {
		fmt.Fprintf(&out, "  %3d × %s, %.1f s in all\n", f.Requests[kind].N, kind, f.Requests[kind].Seconds)
	}
	return out.String()
}

// product is a power cut, recovered by Ninelives.
func (b *bench) product() figure {
	b.Helper()
	vms := b.boot()
	fault := time.Now()
	b.Lab.Do(b, "host", b.host, "off")
	var proof time.Time
	rig.Within(b, time.Minute, "a proof", func() string {
		in, ok, err := b.Main.Incident(b.host, fault)
		if !ok || in.Stages.Proof.IsZero() {
			return fmt.Sprintf("incident %v, phase %s (%v)", ok, in.Phase, err)
		}
		proof = in.Stages.Proof
		return ""
	})
	f := b.back(way{Name: "product", Product: true}, vms, proof)
	b.Lab.Do(b, "vms", "delete", "bench")
	rig.Within(b, 4*time.Minute, b.host+" is readmitted", func() string {
		if in, _, err := b.Main.Incident(b.host, fault); in.Phase != engine.PhaseClosed {
			return fmt.Sprintf("%s (%v)", in.Phase, err)
		}
		return ""
	})
	b.tidy()
	return f
}

// bare is the same without a server: the host is dead and forced down, and nothing but evacuate calls is made.
func (b *bench) bare(w way) figure {
	b.Helper()
	vms := b.boot()
	b.Main.Stop()
	b.Lab.Do(b, "host", b.host, "off")
	b.Nova.SetService(b, b.host, map[string]any{"forced_down": true})
	var targets []string
	for host, m := range b.Machines {
		if host != b.host && !m.Real {
			targets = append(targets, host)
		}
	}
	slices.Sort(targets)
	began := time.Now()
	queue := make(chan int, len(vms))
	for i := range vms {
		queue <- i
	}
	close(queue)
	var callers sync.WaitGroup
	for range w.AtOnce {
		callers.Go(func() {
			for i := range queue {
				body := map[string]any{}
				if w.Spread {
					body["host"] = targets[i%len(targets)]
				}
				if err := b.Nova.Try("POST", "/servers/"+vms[i]+"/action", map[string]any{"evacuate": body}, nil); err != nil {
					b.Error(err)
				}
			}
		})
	}
	callers.Wait()
	f := b.back(w, vms, began)
	b.Lab.Do(b, "host", b.host, "on") // before the server: it would fence a dead one
	b.Main.Start(b)
	b.Main.Ready(b, time.Minute)
	rig.Within(b, 3*time.Minute, "Nova takes the host back", func() string { // not before its nova-compute has begun anew
		if _, err := b.Lab.Try("nova", "un-force", b.host); err != nil {
			return err.Error()
		}
		return ""
	})
	b.tidy()
	return f
}

// tidy makes the next run begin as the first one did.
func (b *bench) tidy() {
	b.Helper()
	b.Lab.Do(b, "vms", "delete", "bench")
	b.Settled(b, 5*time.Minute)
}

// agentCost reads what the agents took of memory and CPU over a quiet minute, from the kernel.
func (b *bench) agentCost() {
	b.Helper()
	const window = time.Minute
	type usage struct{ rss, own, ticks float64 }
	read := func() map[string]usage {
		out := map[string]usage{}
		for host := range b.Machines {
			for _, pid := range strings.Fields(b.Lab.PIDs(b, host, "agent")) {
				stat, err := os.ReadFile("/proc/" + pid + "/stat")
				if err != nil {
					continue
				}
				_, rest, _ := strings.Cut(string(stat), ") ")
				f := strings.Fields(rest)
				var u, s, pages float64
				fmt.Sscan(f[11]+" "+f[12]+" "+f[21], &u, &s, &pages)
				out[host] = usage{rss: pages * 4096 / (1 << 20), own: anonymous(pid), ticks: u + s}
			}
		}
		return out
	}
	before := read()
	time.Sleep(window)
	after := read()
	worst, own, cpu := 0.0, 0.0, 0.0
	for host, a := range after {
		worst, own = max(worst, a.rss), max(own, a.own)
		cpu = max(cpu, (a.ticks-before[host].ticks)/100/window.Seconds()*100)
	}
	b.Logf("agents, %d of them, a quiet minute: at most %.1f MiB RSS, of which %.1f MiB its own (the rest is the mapped binary), and %.2f %% of a core", len(after), worst, own, cpu)
	if len(after) == 0 || own > 30 || cpu > 0.5 {
		b.Errorf("the bar is 30 MiB of its own and 0.5 %% of a core")
	}
}

// anonymous is what a process has of memory that is nobody else's, in MiB. The binary's pages, which some kernels map
// whole, are the page cache's: one copy for all its processes, given back when memory is short.
func anonymous(pid string) float64 {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64) // the kernel writes a number
			return kib / 1024
		}
	}
	return 0
}

// report prints the table and writes it beside the e2e figures.
func (b *bench) report() {
	text, err := json.MarshalIndent(b.runs, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Join(b.Lab.Run, "bench-figures.json"), append(text, '\n'), 0o644)
	}
	if err != nil {
		b.Error(err)
	}
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "way\tVMs\tfirst asked\tlast accepted\tfirst back\tlast back\tVMs/s")
	for _, f := range b.runs {
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%.2f\n", f.Name, f.VMs, f.Asked, f.Accepted, f.First, f.Last, float64(f.VMs)/f.Last)
	}
	_ = w.Flush() // into memory
	b.Logf("seconds from the proof (product) or the first call (bare loop):\n%s", out.String())
}
