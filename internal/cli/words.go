package cli

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// span is a duration for people: two figures are enough.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second && d%time.Second >= 50*time.Millisecond:
		return fmt.Sprintf("%.1f s", math.Floor(d.Seconds()*10)/10)
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}

// ago is the whole seconds, minutes … since t; "-" if there is no t.
func (p *page) ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return span(p.now.Sub(t).Truncate(time.Second))
}

// clock is a time of day; with its date if that isn't today. All clock times are UTC, as in the reasons that servers
// give and in their logs: people on two continents look at one incident.
func (p *page) clock(t time.Time) string {
	t, now := t.UTC(), p.now.UTC()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}

// tenths is the time of day in stories, where tenths of a second matter.
func tenths(t time.Time) string { return t.UTC().Format("15:04:05.0") }

// count is "1 host", "2 hosts".
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// dash is what stands in a table where nothing is.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// short is the first part of a uuid.
func short(id string) string {
	if head, _, ok := strings.Cut(id, "-"); ok && len(head) == 8 {
		return head
	}
	return id
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

// some shows the first few of many.
func some(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// days is a duration flag that takes days, as the operators' files do.
type days time.Duration

// String is what the help shows.
func (d *days) String() string { return yamlfile.Duration(*d).String() }

// Set takes 7d, 36h, 90m …
func (d *days) Set(text string) error {
	v, err := yamlfile.ParseDuration(text)
	*d = days(v)
	return err
}

// Type names it in the help.
func (d *days) Type() string { return "duration" }
