package detect

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected lines of testdata/*.txt")

var zero = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// TestScenarios replays testdata/*.txt. A line is `TIME WORD [HOST] [key=value…]`; `FROM..TO/EVERY` repeats it. Timers
// fire exactly when due. Lines after ---- are what came out, rewritten by -update.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(text), got); diff != "" {
				t.Errorf("%s: expected -, came +; go test -run '%s' -update rewrites it:\n%s", file, t.Name(), diff)
			}
		})
	}
}

type event struct {
	at    time.Duration
	words []string
}

func replay(t *testing.T, text string) string {
	t.Helper()
	times, err := Derive(Config{})
	if err != nil {
		t.Fatal(err)
	}
	d := New(times)
	var out strings.Builder
	var events []event
	last := zero
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "  "):
			continue // an expected line: written anew below
		case trimmed == "----":
			out.WriteString(line)
			slices.SortStableFunc(events, func(a, b event) int { return int(a.at - b.at) })
			for _, e := range events {
				run(t, d, e, &last, &out)
			}
			events = nil
			continue
		case trimmed != "" && trimmed[0] != '#':
			events = append(events, expand(t, trimmed)...)
		}
		out.WriteString(line)
	}
	if len(events) > 0 {
		t.Fatal("lines after the last ----")
	}
	return out.String()
}

func expand(t *testing.T, line string) []event {
	t.Helper()
	words := strings.Fields(line)
	from, rest, many := strings.Cut(words[0], "..")
	if !many {
		return []event{{at: span(t, from), words: words[1:]}}
	}
	to, every, ok := strings.Cut(rest, "/")
	if !ok {
		t.Fatalf("%q: want FROM..TO/EVERY", line)
	}
	var es []event
	for at := span(t, from); at <= span(t, to); at += span(t, every) {
		es = append(es, event{at: at, words: words[1:]})
	}
	return es
}

func span(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// run lets the timers fire that are due before the event, then hands it in.
func run(t *testing.T, d *Detector, e event, last *time.Time, out *strings.Builder) {
	t.Helper()
	now := zero.Add(e.at)
	awake := now // a server that was late fired no timer meanwhile
	if by, ok := strings.CutPrefix(e.words[len(e.words)-1], "by="); ok && e.words[0] == "late" {
		awake = now.Add(-span(t, by))
	}
	for due := d.Due(); !due.IsZero() && due.Before(awake); due = d.Due() {
		if due.Before(*last) {
			due = *last
		}
		print1(out, due, d.Step(due, Tick{}))
	}
	*last = now
	args := map[string]string{}
	for _, w := range e.words[1:] {
		k, v, ok := strings.Cut(w, "=")
		if !ok {
			k, v = "host", w
		}
		args[k] = v
	}
	switch e.words[0] {
	case "wanted":
		for _, w := range d.Wanted(now) {
			fmt.Fprintf(out, "  %s wanted %s %v probe every %v power every %v\n", stamp(now), w.Host, w.Planes, w.ProbeEvery, w.PowerEvery)
		}
	case "waiting":
		a, _ := d.Assess(now, args["host"])
		fmt.Fprintf(out, "  %s waiting %s %q\n", stamp(now), a.Host, a.Waiting)
	case "snapshot":
		s := d.Snapshot(now)
		fmt.Fprintf(out, "  %s snapshot seen=%v suspects=%d", stamp(now), s.Seen, s.Suspects)
		for _, h := range s.Troubled {
			fmt.Fprintf(out, " %s(%s)", h.Host, h.Verdict)
		}
		out.WriteString("\n")
	default:
		print1(out, now, d.Step(now, observe(t, e.words[0], args)))
	}
}

func observe(t *testing.T, word string, a map[string]string) Observation {
	t.Helper()
	host := a["host"]
	or := func(key, byDefault string) string {
		if v, ok := a[key]; ok {
			return v
		}
		return byDefault
	}
	switch word {
	case "known":
		var planes []Plane
		for _, p := range strings.Split(or("planes", "management,storage"), ",") {
			planes = append(planes, Plane(p))
		}
		return HostKnown{Host: host, Zone: or("zone", "nova"), Planes: planes, Protected: a["protected"] != "no", Boot: a["boot"]}
	case "forgotten":
		return HostForgotten{Host: host}
	case "pulse":
		return Pulse{Host: host, Boot: or("boot", "a"), Stream: or("stream", "1"), Server: or("server", "s1"), Age: span(t, or("age", "0s"))}
	case "lost":
		return StreamLost{Host: host, Stream: or("stream", "1"), Server: or("server", "s1"), Reset: a["how"] == "reset"}
	case "goodbye":
		return Goodbye{Host: host, Boot: or("boot", "a")}
	case "probe":
		answer := Answer(a["answer"])
		if answer == "none" {
			answer = AnswerNone
		}
		return Probe{Host: host, Plane: Plane(or("plane", "management")), Prober: or("by", "s1"), Answer: answer, Valid: a["valid"] != "no", Age: span(t, or("age", "0s"))}
	case "power":
		of, _ := strconv.Atoi(a["of"])
		state := PowerState(a["state"])
		if state == "unknown" {
			state = PowerUnknown
		}
		return Power{Host: host, Device: or("device", "bmc-"+host), Kind: a["kind"], Bound: a["bound"] != "no", State: state, Of: of}
	case "service":
		return Service{Host: host, UpdatedAt: zero.Add(span(t, a["updated"]))}
	case "late":
		return Late{By: span(t, a["by"])}
	case "relay-lost":
		return RelayLost{Server: a["server"]}
	case "takeover":
		return Takeover{}
	case "cleared":
		return Cleared{Host: host, Device: a["device"]}
	case "tick":
		return Tick{}
	}
	t.Fatalf("no such word: %q", word)
	return nil
}

func stamp(now time.Time) string { return fmt.Sprintf("%.2fs", now.Sub(zero).Seconds()) }

func print1(out *strings.Builder, now time.Time, changes []Change) {
	for _, c := range changes {
		fmt.Fprintf(out, "  %s %s %s", stamp(now), c.Host, c.Verdict)
		if c.Suspect {
			out.WriteString(" suspect")
		}
		if c.OldBoot != "" {
			fmt.Fprintf(out, " boot=%s oldboot=%s", c.Boot, c.OldBoot)
		}
		fmt.Fprintf(out, " %q", c.Reason)
		if len(c.Muted) > 0 {
			fmt.Fprintf(out, " muted=%s", strings.Join(c.Muted, ","))
		}
		out.WriteString("\n")
	}
}
