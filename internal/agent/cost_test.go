package agent

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// The agent's bars.
const (
	mostRSS = 30 << 20 // bytes
	mostCPU = 0.005    // of one core
)

// costEnv has this test binary be an agent alone in its process: "server addresses,data directory,proc".
const costEnv = "NINELIVES_TEST_AGENT"

// TestCost measures an agent in a process of its own: 1,000 processes of which 50 are QEMUs, links to three servers, a pulse each
// second. It takes as long as it is told:
//
//	NINELIVES_COST=30s go test -run TestCost -v ./internal/agent
func TestCost(t *testing.T) {
	if spec := os.Getenv(costEnv); spec != "" {
		beAnAgent(t, spec)
		return
	}
	d, err := time.ParseDuration(os.Getenv("NINELIVES_COST"))
	if err != nil {
		t.Skip("it takes half a minute: set NINELIVES_COST=30s")
	}
	s1 := newServerSide(t)
	s1.pulseMs = 1000
	cfg, _ := joinedAgent(t, s1)
	servers := append(cfg.Servers, another(t, s1), another(t, s1))
	f := fakeTable{t, cfg.Proc}
	for pid := 1; pid <= 1000; pid++ {
		switch {
		case pid <= 50:
			args := qemuArgs(fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", pid))
			for range 200 { // a real one has some 10 KiB
				args = append(args, "-device", `{"driver":"virtio-net-pci","netdev":"hostnet0"}`)
			}
			f.put(pid, "S", "qemu-system-x86", 8, args...)
		case pid <= 600:
			f.put(pid, "I", "kworker/0:1", 1)
		default:
			f.put(pid, "S", "something", 1, "/usr/bin/something", "--with=options")
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestCost$", "-test.timeout=1h")
	cmd.Env = append(os.Environ(), costEnv+"="+strings.Join([]string{strings.Join(servers, " "), cfg.Data, cfg.Proc}, ","))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range servers {
		next(t, s1.links, "its link")
	}
	<-time.After(youngFor + 2*time.Second) // at first all processes are young
	before, _ := used(t, cmd.Process.Pid)
	began := time.Now()
	<-time.After(d)
	after, rss := used(t, cmd.Process.Pid)
	share := (after - before).Seconds() / time.Since(began).Seconds()
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the agent: %v", err)
	}
	t.Logf("agent: %.2f %% of a core, %.1f MiB RSS (%s, %d cores)", 100*share, float64(rss)/(1<<20), d, runtime.NumCPU())
	if share > mostCPU || rss > mostRSS {
		t.Errorf("more than %.1f %% of a core or %d MiB", 100*mostCPU, mostRSS>>20)
	}
}

// another is one more server of the same cluster, with the same handler.
func another(t *testing.T, s *serverSide) string {
	creds, err := s.ca.IssueServer("server-2", []string{"127.0.0.1"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	more, err := transport.Listen(transport.ServerOptions{Name: "server-2", Addr: "127.0.0.1:0", Credentials: creds, CA: s.ca, Tokens: s, Handler: s})
	if err != nil {
		t.Fatal(err)
	}
	more.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := more.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return more.Addr().String()
}

func beAnAgent(t *testing.T, spec string) {
	LimitProcess()
	part := strings.Split(spec, ",")
	cfg := DefaultConfig()
	cfg.Host, cfg.Servers, cfg.Planes, cfg.ProbePort = "compute-01", strings.Fields(part[0]), map[string]string{"management": "127.0.0.1"}, 0
	cfg.Data, cfg.Proc, cfg.NovaConf = part[1], part[2], filepath.Join(part[1], "nova.conf")
	cfg.Identity = Identity{UUID: "11111111-0000-0000-0000-000000000001"}
	a, err := New(Options{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent has seen enough
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// used is a process's CPU time and resident memory.
func used(t *testing.T, pid int) (cpu time.Duration, rss int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	field := func(n int) int64 { v, _ := strconv.ParseInt(f[n-3], 10, 64); return v }
	const ticks = 100 // USER_HZ, the same on every Linux that Go runs on
	return time.Duration(field(14)+field(15)) * time.Second / ticks, field(24) * int64(syscall.Getpagesize())
}

var (
	_ transport.Handler = (*serverSide)(nil)
	_ pki.Tokens        = (*serverSide)(nil)
)
