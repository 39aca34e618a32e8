//go:build scale

package scale

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// roleEnv has this test binary be the server or the fleet.
const roleEnv = "NINELIVES_SCALE_ROLE"

func TestMain(m *testing.M) {
	role, spec, _ := strings.Cut(os.Getenv(roleEnv), " ")
	var err error
	switch role {
	case "server":
		err = run(spec, runServer)
	case "fleet":
		err = run(spec, runFleet)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
}

func run[T any](text string, f func(T) error) error {
	var spec T
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	return f(spec)
}

// process is one of the two others. It ends when its standard input does, so also when this process ends in any way.
type process struct {
	cmd *exec.Cmd
	in  *json.Encoder
	end func() error
	out *bufio.Scanner
}

func spawn(t *testing.T, role string, spec any, env ...string) *process {
	t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	if role == "fleet" { // in truth agents have their hosts' cores, and none of the server's
		cmd = exec.Command("nice", "-n", "10", os.Args[0])
	}
	cmd.Env = append(append(os.Environ(), roleEnv+"="+role+" "+string(text)), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, in: json.NewEncoder(in), end: in.Close, out: bufio.NewScanner(out)}
	t.Cleanup(func() { p.stop(t) })
	return p
}

// line is the next line of its output.
func (p *process) line(t *testing.T) string {
	t.Helper()
	if !p.out.Scan() {
		t.Fatal("a process ended without an answer")
	}
	return p.out.Text()
}

// tell gives a command and returns the count that it answers.
func (p *process) tell(t *testing.T, c command) int {
	t.Helper()
	if err := p.in.Encode(c); err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(p.line(t))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// stop ends it in order, or after 30 s without.
func (p *process) stop(t *testing.T) {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.end()
	hard := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer hard.Stop()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("a process ended badly: %v", err)
	}
}

// cpu is the processor time used so far, of all cores.
func (p *process) cpu(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	field := func(n int) int64 { v, _ := strconv.ParseInt(f[n-3], 10, 64); return v }
	const ticks = 100 // USER_HZ, the same on every Linux that Go runs on
	return time.Duration(field(14)+field(15)) * time.Second / ticks
}

// memory is the resident memory now, and the most there ever was, in bytes.
func (p *process) memory(t *testing.T) (now, most int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			now = kib << 10
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			most = kib << 10
		}
	}
	return now, most
}
