//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// figures are one row's stages, in seconds since its fault; a stage that isn't of the row is nil.
type figures struct {
	Row        string   `json:"row"`
	Result     string   `json:"result"`
	Host       string   `json:"host,omitempty"`
	VMs        int      `json:"vms"`
	Verdict    string   `json:"verdict,omitempty"`
	Suspect    *float64 `json:"suspect_s,omitempty"`
	VerdictAt  *float64 `json:"verdict_s,omitempty"`
	Proof      *float64 `json:"proof_s,omitempty"`
	FirstVM    *float64 `json:"first_vm_s,omitempty"`
	LastVM     *float64 `json:"last_vm_s,omitempty"`
	Readmitted *float64 `json:"readmitted_s,omitempty"`
	Gap        *float64 `json:"gap_s,omitempty"` // from the loss of a leader to the next act of another one
	Took       float64  `json:"took_s"`
}

// book collects the rows' figures.
type book struct {
	mu   sync.Mutex
	path string
	rows []figures
}

func newBook(run, name string) *book { return &book{path: filepath.Join(run, name+"-figures.json")} }

func (b *book) add(f figures) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rows = append(b.rows, f)
}

// close writes the file and shows the table.
func (b *book) close(t *testing.T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text, err := json.MarshalIndent(b.rows, "", " ")
	if err == nil {
		err = os.WriteFile(b.path, append(text, '\n'), 0o644)
	}
	if err != nil {
		t.Error(err)
	}
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "row\tresult\thost\tVMs\tverdict\tsuspect\tverdict\tproof\tfirst VM\tlast VM\treadmitted\tgap\ttook")
	for _, f := range b.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.0f\n", f.Row, f.Result, f.Host, f.VMs, f.Verdict,
			seconds(f.Suspect), seconds(f.VerdictAt), seconds(f.Proof), seconds(f.FirstVM), seconds(f.LastVM), seconds(f.Readmitted), seconds(f.Gap), f.Took)
	}
	_ = w.Flush() // into memory
	t.Logf("seconds since the fault (also in %s):\n%s", b.path, out.String())
}

func seconds(s *float64) string {
	if s == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f", *s)
}

// since is the time from the fault to a moment, nil if it never came.
func since(fault, at time.Time) *float64 {
	if at.IsZero() || fault.IsZero() {
		return nil
	}
	s := at.Sub(fault).Seconds()
	return &s
}
