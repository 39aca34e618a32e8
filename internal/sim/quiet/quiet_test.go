package quiet

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ninelives-ha/ninelives/internal/detect"
)

// TestNoFalseVerdicts is the bench in small. NINELIVES_FALSE_HOURS and NINELIVES_FALSE_HOSTS make it the whole
// (`make bench-false`); NINELIVES_FALSE_SEED plays another life.
func TestNoFalseVerdicts(t *testing.T) {
	times, err := detect.Derive(detect.Config{})
	if err != nil {
		t.Fatal(err)
	}
	number := func(name string, byDefault int) int {
		n, err := strconv.Atoi(os.Getenv(name))
		if err != nil {
			return byDefault
		}
		return n
	}
	seed, hosts := number("NINELIVES_FALSE_SEED", 1), number("NINELIVES_FALSE_HOSTS", 60)
	long := time.Duration(number("NINELIVES_FALSE_HOURS", 2)) * time.Hour
	table := NewTable(os.Stdout)
	for _, row := range Rows(uint64(seed), hosts, long) {
		began := time.Now()
		got := Run(row.Options)
		table.Add(row, got, time.Since(began))
		for _, f := range row.Failures(got, times) {
			t.Errorf("%s (seed %d): %s", row.Name, seed, f)
		}
		for _, s := range got.Stories {
			t.Logf("%s: %s", row.Name, s)
		}
	}
	fmt.Println()
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestSameSeedSameResult(t *testing.T) {
	for _, row := range Rows(7, 25, 36*time.Minute) {
		if d := cmp.Diff(Run(row.Options), Run(row.Options)); d != "" {
			t.Errorf("%s: two runs differ:\n%s", row.Name, d)
		}
	}
}

// TestTheBenchCanFail plants what it is there to find.
func TestTheBenchCanFail(t *testing.T) {
	rows := Rows(3, 60, 2*time.Hour)
	short := rows[0].Options
	short.DeadAfter = 8 * time.Second
	denies := Options{
		Seed: 13, Hosts: 60, For: 30 * time.Minute, Loss: 0.02, Denies: true,
		Trouble: []Trouble{{Cut, 10 * time.Minute, OneOf(10 * time.Second)}},
		Server:  []Mishap{{Paused, 6 * time.Second, OneOf(1900 * time.Millisecond)}},
	}
	told := denies
	told.Denies = false
	if got := Run(told); got.Fatal() > 0 {
		t.Errorf("a server that is paused again and again and says so: %d false verdicts: %v", got.Fatal(), got.Stories)
	}
	for name, o := range map[string]Options{"dead_after below the longest stall": short, "a paused server that doesn't say so": denies} {
		if got := Run(o); got.Wrong[detect.Dead] == 0 {
			t.Errorf("%s: no living host was called dead; the bench is blind", name)
		}
	}
}
