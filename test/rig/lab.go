//go:build e2e || bench

package rig

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Lab drives test/lab: the commands below do what they say to real processes.
type Lab struct {
	dir string // test/lab
	Run string // where the running lab keeps its files
}

// Machine is one compute host of the lab.
type Machine struct {
	Host       string `json:"host"`
	Management string `json:"management"`
	Storage    string `json:"storage"`
	BMC        string `json:"bmc"`
	Identity   string `json:"identity"`
	Dir        string `json:"dir"`
	Logs       string `json:"logs"`
	Real       bool   `json:"real"`
}

// Truth is what really runs on a host, from the kernel.
type Truth struct {
	Power     string   `json:"power"`
	State     string   `json:"state"`
	Boot      string   `json:"boot"`
	Gate      string   `json:"gate"`
	Processes []string `json:"processes"`
	QEMU      []string `json:"qemu"`
	Cut       []string `json:"cut"`
}

// Write is one request to nova-api, as the proxy before it saw it: when it came, how long it took, from which address.
type Write struct {
	Time   float64 `json:"time"`
	Took   float64 `json:"took"`
	From   string  `json:"from"`
	Method string  `json:"method"`
	Path   string  `json:"path"`
	Body   string  `json:"body"`
	Status int     `json:"status"`
	Lost   bool    `json:"lost"`
}

func findLab(t testing.TB) *Lab {
	t.Helper()
	dir, err := filepath.Abs("../lab")
	if err != nil {
		t.Fatal(err)
	}
	run := os.Getenv("NINELIVES_LAB")
	if run == "" {
		run = "/tmp/ninelives-lab"
	}
	return &Lab{dir: dir, Run: run}
}

// Up brings the lab up; on one that is up it is a look of a few seconds.
func (l *Lab) up(t testing.TB) {
	t.Helper()
	cmd := exec.Command(filepath.Join(l.dir, "up"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the lab doesn't come up: %v\n%s", err, out)
	}
}

// Try runs one lab command.
func (l *Lab) Try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(l.dir, "lab"), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("lab %s: %w: %s%s", strings.Join(args, " "), err, stderr.String(), out)
	}
	return string(out), nil
}

// Do is Try that must succeed.
func (l *Lab) Do(t testing.TB, args ...string) string {
	t.Helper()
	out, err := l.Try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (l *Lab) machines(t testing.TB) map[string]Machine {
	t.Helper()
	var all []Machine
	Decode(t, l.Do(t, "hosts", "--json"), &all)
	out := map[string]Machine{}
	for _, m := range all {
		out[m.Host] = m
	}
	return out
}

// Truth reads who runs what.
func (l *Lab) Truth(t testing.TB) map[string]Truth {
	t.Helper()
	var out map[string]Truth
	Decode(t, l.Do(t, "truth"), &out)
	return out
}

// Writes lists what was asked of nova-api since a moment.
func (l *Lab) Writes(t testing.TB, since time.Time) []Write { return l.noted(t, "writes", since) }

// Reads lists what was read from nova-api since a moment, while `lab nova reads on` is in force.
func (l *Lab) Reads(t testing.TB, since time.Time) []Write { return l.noted(t, "reads", since) }

func (l *Lab) noted(t testing.TB, what string, since time.Time) []Write {
	t.Helper()
	var out []Write
	s := bufio.NewScanner(strings.NewReader(l.Do(t, "nova", what, fmt.Sprintf("%.3f", float64(since.UnixMilli())/1000))))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var w Write
		Decode(t, s.Text(), &w)
		out = append(out, w)
	}
	return out
}

// Accepted counts the evacuations of a VM that Nova accepted since a moment.
func (l *Lab) Accepted(t testing.TB, vm string, since time.Time) int {
	n := 0
	for _, w := range l.Writes(t, since) {
		if w.Evacuated(vm) {
			n++
		}
	}
	return n
}

// Evacuated reports whether this is an evacuation of a VM that Nova accepted.
func (w Write) Evacuated(vm string) bool {
	return strings.HasSuffix(w.Path, "/servers/"+vm+"/action") && strings.Contains(w.Body, `"evacuate"`) && w.Status >= 200 && w.Status < 300
}

// At is when it came.
func (w Write) At() time.Time { return time.UnixMicro(int64(w.Time * 1e6)) }

// Order is one thing that a BMC was told, in its own log's words ("set off", "set on").
type Order struct {
	Host string
	At   time.Time
	What string
}

// Orders lists what the host's BMC was told since a moment.
func (l *Lab) Orders(t testing.TB, host string, since time.Time) []Order {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.Run, "logs", host+".power.log"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var out []Order
	for line := range strings.Lines(string(text)) {
		stamp, what, ok := strings.Cut(strings.TrimSpace(line), " chassis ")
		at, err := time.Parse("2006-01-02T15:04:05.000Z", stamp)
		if ok && err == nil && !at.Before(since.Truncate(time.Millisecond)) {
			out = append(out, Order{Host: host, At: at, What: what})
		}
	}
	return out
}

// BMC is Orders without times.
func (l *Lab) BMC(t testing.TB, host string, since time.Time) []string {
	t.Helper()
	var out []string
	for _, o := range l.Orders(t, host, since) {
		out = append(out, o.What)
	}
	return out
}

// Decode reads JSON.
func Decode(t testing.TB, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("cannot read %.300q: %v", text, err)
	}
}

// Within waits until ok returns "", and fails with its last words otherwise.
func Within(t testing.TB, limit time.Duration, what string, ok func() string) {
	t.Helper()
	if why := Await(limit, ok); why != "" {
		t.Fatalf("not within %v: %s: %s", limit, what, why)
	}
}

// Await waits until ok returns "" and returns its last words.
func Await(limit time.Duration, ok func() string) string {
	end := time.Now().Add(limit)
	for {
		why := ok()
		if why == "" || time.Now().After(end) {
			return why
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// PIDs are the processes of a host that the lab knows by a name, such as agent or nova-compute.
func (l *Lab) PIDs(t testing.TB, host, name string) string {
	t.Helper()
	out, err := exec.Command("python3", filepath.Join(l.dir, "truth.py"), "pids", host, name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
