package quiet

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
)

// Row is one line of the bench's table.
type Row struct {
	Name string
	Options
	// Faultless: the server itself is well, so deaths must be found in time.
	Faultless bool
	// Bar: no living host may be called dead, off or rebooted here. Without it the rate is only reported.
	Bar bool
}

// The bars for deaths while the server is well: off at worst, and what dead may take beyond dead_after.
const (
	OffWorst   = 4500 * time.Millisecond
	DeadBeyond = time.Second
)

// Rows are the bench: hosts and a time for each, by seed. The first row is the whole of what the product promises.
func Rows(seed uint64, hosts int, long time.Duration) []Row {
	stalls := []Trouble{
		{Freeze, 6 * time.Hour, Uniform(10 * time.Second)}, {Cut, 6 * time.Hour, Uniform(10 * time.Second)},
		{Plane, 6 * time.Hour, Uniform(time.Minute)}, {RackPlane, 12 * time.Hour, Uniform(time.Minute)},
		{Deaf, 6 * time.Hour, Uniform(time.Minute)}, {Mute, 6 * time.Hour, Uniform(time.Minute)},
	}
	year := 365 * 24 * time.Hour
	row := func(name string, long time.Duration, o Options) Row {
		o.Seed, o.Hosts, o.For, o.Loss = seed, hosts, long, 0.02
		if o.Trouble == nil {
			o.Trouble = stalls
		}
		o.Deaths = max(5*time.Minute, long/200)
		return Row{Name: name, Options: o, Bar: true, Faultless: len(o.Server) == 0}
	}
	rows := []Row{row("hosts stall ≤ 10 s, a plane ≤ 60 s", long, Options{})}
	part := long / 12
	rows = append(rows,
		row("server starved: stops for 5 s", part, Options{Server: []Mishap{{Paused, 15 * time.Second, OneOf(5 * time.Second)}}}),
		row("server paused: 3, 10, 60 s", part, Options{Server: []Mishap{{Paused, 3 * time.Minute, OneOf(3*time.Second, 10*time.Second, time.Minute)}}}),
		row("server paused: ≤ 4 s", part, Options{Server: []Mishap{{Paused, 20 * time.Second, Uniform(4 * time.Second)}}}),
		row("server's network cut ≤ 60 s", part, Options{Server: []Mishap{{Severed, 3 * time.Minute, Uniform(time.Minute)}}}),
		row("another server takes over", part, Options{Server: []Mishap{{Replaced, 2 * time.Minute, nil}}}),
		row("server restarts, agents come back", part, Options{Server: []Mishap{{Restart, 3 * time.Minute, nil}}}),
	)
	overlap := row("planes fail independently (two at once)", part, Options{Overlap: true})
	overlap.Bar = false
	exponential := row("exponential stalls, mean 2 s, 12 a year × 730", long, Options{Trouble: []Trouble{
		{Freeze, year / 12 / 365, Exponential(2 * time.Second)}, {Cut, year / 12 / 365, Exponential(2 * time.Second)},
	}})
	exponential.Bar = false
	return append(rows, overlap, exponential)
}

// Failures says in what a row misses its bars.
func (r Row) Failures(got *Result, t detect.Times) []string {
	var out []string
	if n := got.Fatal(); r.Bar && n > 0 {
		out = append(out, fmt.Sprintf("%d living hosts were called dead, off or rebooted", n))
	}
	if got.Missed > 0 {
		out = append(out, fmt.Sprintf("%d deaths had no verdict within a minute", got.Missed))
	}
	if w := worst(got.Off); r.Faultless && w > OffWorst {
		out = append(out, fmt.Sprintf("off took %v, the bar is %v", w, OffWorst))
	}
	if w, most := worst(got.Dead), t.DeadTwoPlanes+DeadBeyond; r.Faultless && w > most {
		out = append(out, fmt.Sprintf("dead took %v, the bar is %v", w, most))
	}
	return out
}

// Table prints rows as they come: header first, then a line for each.
type Table struct{ w *tabwriter.Writer }

// NewTable begins a table.
func NewTable(w io.Writer) *Table {
	t := &Table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	fmt.Fprintln(t.w, "CASE\tHOST-HOURS\tPULSES\tTROUBLES\tSUSPECT\tBY LOSS ALONE\tDEAD/OFF/REBOOTED, LIVING\tOTHER WRONG\tTRUE ALERTS\tDEATHS\tOFF MEDIAN/WORST\tDEAD MEDIAN/WORST\tRAN")
	return t
}

// Add prints one row.
func (t *Table) Add(r Row, got *Result, took time.Duration) {
	wrong := maps.Clone(got.Wrong)
	for _, v := range []detect.Verdict{detect.Dead, detect.Off, detect.Rebooted} {
		delete(wrong, v)
	}
	fmt.Fprintf(t.w, "%s\t%.0f\t%.1f M\t%d\t%d\t%d\t%d/%d/%d\t%s\t%s\t%d\t%s\t%s\t%.0f s\n",
		r.Name, float64(r.Hosts)*r.For.Hours(), float64(got.Pulses)/1e6, sum(got.Troubles)+sum(got.Mishaps), got.Suspicions, got.Alone,
		got.Wrong[detect.Dead], got.Wrong[detect.Off], got.Wrong[detect.Rebooted], counts(wrong), counts(got.Right),
		len(got.Off)+len(got.Dead)+got.Missed, spread(got.Off), spread(got.Dead), took.Seconds())
}

// Flush writes what was added.
func (t *Table) Flush() error { return t.w.Flush() }

func sum[K comparable](m map[K]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

func counts(m map[detect.Verdict]int) string {
	var parts []string
	for _, v := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%d %s", m[v], v))
	}
	if len(parts) == 0 {
		return "0"
	}
	return strings.Join(parts, ", ")
}

// spread is the median and the worst, in seconds.
func spread(times []time.Duration) string {
	if len(times) == 0 {
		return "–"
	}
	sorted := slices.Sorted(slices.Values(times))
	return fmt.Sprintf("%.1f/%.1f", sorted[len(sorted)/2].Seconds(), sorted[len(sorted)-1].Seconds())
}

func worst(times []time.Duration) (w time.Duration) {
	for _, t := range times {
		w = max(w, t)
	}
	return w
}
