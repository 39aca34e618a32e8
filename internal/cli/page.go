package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

// page is what a command shows to people. Lines and tables are gathered and written at once.
type page struct {
	now    time.Time
	colour bool
	text   bytes.Buffer
}

func (a *app) page() *page {
	return &page{now: a.env.Now(), colour: a.env.OutTerminal && a.colours()}
}

// colours: not where NO_COLOR (no-color.org) is set or the terminal can't.
func (a *app) colours() bool {
	return a.env.Getenv("NO_COLOR") == "" && a.env.Getenv("TERM") != "dumb"
}

func (p *page) flush(w io.Writer) error {
	_, err := w.Write(p.text.Bytes())
	return err
}

// line writes a line. What came from elsewhere is made safe for a terminal by words().
func (p *page) line(format string, args ...any) {
	fmt.Fprintf(&p.text, format+"\n", args...)
}

// gap writes an empty line, unless nothing or another one is above it.
func (p *page) gap() {
	if p.text.Len() > 0 && !bytes.HasSuffix(p.text.Bytes(), []byte("\n\n")) {
		p.text.WriteByte('\n')
	}
}

// table writes rows under a head in columns.
func (p *page) table(head string, rows [][]string) {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(strings.Fields(head), "\t"))
	for _, r := range rows {
		for i := range r {
			r[i] = words(r[i])
		}
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	_ = w.Flush() // into memory
	p.columns(b.String(), true)
}

// rows writes lines in columns, indented by two.
func (p *page) rows(rows [][]string) {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		for i := range r {
			r[i] = words(r[i])
		}
		fmt.Fprintln(w, "  "+strings.Join(r, "\t"))
	}
	_ = w.Flush() // into memory
	p.columns(b.String(), false)
}

// columns takes the blanks off the ends of lines and colours the words that matter. Colours come after the alignment:
// their bytes would be counted as width.
func (p *page) columns(text string, head bool) {
	for i, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		l = strings.TrimRight(l, " ")
		if p.colour && head && i == 0 {
			l = bold + l + reset
		} else if p.colour {
			l = paintWords(l)
		}
		p.line("%s", l)
	}
}

const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	bold   = "\x1b[1m"
	reset  = "\x1b[0m"
)

func (a *app) errPaint(colour, text string) string {
	if !a.env.ErrTerminal || !a.colours() {
		return text
	}
	return colour + text + reset
}

func (p *page) paint(colour, text string) string {
	if !p.colour {
		return text
	}
	return colour + text + reset
}

// loud are the words of tables that get a colour, where they stand between two blanks.
var loud = map[string]string{
	string(engine.Off): red, string(engine.Dead): red, string(engine.Contradiction): red, string(engine.Failed): red,
	"critical": red, "error": red, "NO": red,
	string(engine.Isolated): yellow, string(engine.Degraded): yellow, string(engine.Hung): yellow, string(engine.AgentDown): yellow,
	string(engine.Held): yellow, string(engine.Unaccounted): red, "suspect": yellow, "maintenance": yellow, "warning": yellow,
	string(engine.Up): green, string(engine.Recovered): green, "ok": green,
}

func paintWords(line string) string {
	var b strings.Builder
	for i, field := range strings.Split(line, "  ") { // columns are two blanks apart at least
		if i > 0 {
			b.WriteString("  ")
		}
		word := strings.TrimSpace(field)
		if c, ok := loud[word]; ok {
			field = strings.Replace(field, word, c+word+reset, 1)
		}
		b.WriteString(field)
	}
	return b.String()
}

// words makes text from elsewhere fit for one line of a terminal: names of VMs are their users' choice.
func words(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r == '\r' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
}
