//go:build attack

package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
)

// site is some controllers on this machine, each with its directory, its server.yaml and a server process, and an
// operator at a shell. There is no cloud.
type site struct {
	t     *testing.T
	bin   string
	dir   string
	token string // whose admin token the operator has
	runs  map[string]*exec.Cmd
	at    map[string]place
}

// place is where a server listens.
type place struct{ api, agents, cluster string }

var nextPort atomic.Int32

// newPlace takes ports below those that the kernel gives to outgoing connections.
func newPlace() place {
	port := func() string {
		for {
			addr := fmt.Sprintf("127.0.0.1:%d", 10_000+(int(nextPort.Add(1))+os.Getpid()*30)%10_000)
			if l, err := net.Listen("tcp", addr); err == nil {
				_ = l.Close()
				return addr
			}
		}
	}
	return place{port(), port(), port()}
}

func newSite(t *testing.T, names ...string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), token: "server-1", runs: map[string]*exec.Cmd{}, at: map[string]place{}}
	s.bin = filepath.Join(s.dir, "ninelives")
	if out, err := exec.Command("go", "build", "-o", s.bin, "github.com/ninelives-ha/ninelives/cmd/ninelives").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, n := range names {
		s.at[n] = newPlace()
	}
	t.Cleanup(func() {
		for n := range s.runs {
			s.kill(n)
		}
	})
	return s
}

func (s *site) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// configure writes a server's file: of these servers, itself among them.
func (s *site) configure(name string, of ...string) string {
	s.t.Helper()
	var initial []string
	for _, n := range of {
		initial = append(initial, fmt.Sprintf("%s: %q", n, s.at[n].cluster))
	}
	at := s.at[name]
	text := fmt.Sprintf("name: %s\ndata: %s\nlisten: {api: %q, agents: %q, cluster: %q}\n", name, s.path(name, "data"), at.api, at.agents, at.cluster)
	if len(initial) > 0 {
		text += "cluster: {initial: {" + strings.Join(initial, ", ") + "}}\n"
	}
	s.write(s.path(name, "server.yaml"), text)
	return s.path(name, "server.yaml")
}

func (s *site) write(path, text string) {
	s.t.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// start starts a server's process.
func (s *site) start(name string, args ...string) {
	s.t.Helper()
	log, err := os.OpenFile(s.path(name, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(s.bin, append([]string{"server", "--config", s.path(name, "server.yaml")}, args...)...)
	cmd.Env = s.environment()
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = log, log, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.runs[name] = cmd
}

func (s *site) kill(name string) {
	if cmd := s.runs[name]; cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		delete(s.runs, name)
	}
}

func (s *site) environment(servers ...string) []string {
	var urls []string
	for _, n := range servers {
		urls = append(urls, "http://"+s.at[n].api)
	}
	token, _ := os.ReadFile(s.path(s.token, "data", "admin.token"))
	return append(os.Environ(), "OS_AUTH_URL=http://127.0.0.1:1/v3", "OS_USERNAME=u", "OS_PASSWORD=p", "OS_PROJECT_NAME=p", "OS_CLOUD=",
		"NINELIVES_SERVER="+strings.Join(urls, ","), "NINELIVES_TOKEN="+strings.TrimSpace(string(token)))
}

// says runs a command at the first three servers.
func (s *site) says(args ...string) (code int, text string) {
	s.t.Helper()
	return s.saysAt([]string{"server-1", "server-2", "server-3"}, args...)
}

func (s *site) saysAt(servers []string, args ...string) (code int, text string) {
	s.t.Helper()
	cmd := exec.Command(s.bin, args...)
	cmd.Env = s.environment(servers...)
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// wants runs a command that must end like this and say this.
func (s *site) wants(code int, pattern string, args ...string) {
	s.t.Helper()
	got, text := s.says(args...)
	s.t.Logf("$ ninelives %s\n%s(exit %d)", strings.ReplaceAll(strings.Join(args, " "), s.dir, "…"), strings.ReplaceAll(text, s.dir, "…"), got)
	if got != code || !regexp.MustCompile(pattern).MatchString(text) {
		s.t.Errorf("wanted exit %d and %q", code, pattern)
	}
}

// until waits for a minute.
func (s *site) until(what string, ok func() bool) {
	s.t.Helper()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(end) {
			_, text := s.says("cluster", "list")
			s.t.Fatalf("not within a minute: %s\n%s", what, text)
		}
	}
}

func (s *site) members() (m api.Membership) {
	_, text := s.says("cluster", "list", "-o", "json")
	_ = json.Unmarshal([]byte(text), &m)
	return m
}

// whole waits until these are the servers, all work, and one leads.
func (s *site) whole(names ...string) {
	s.t.Helper()
	s.until(strings.Join(names, ", ")+" work", func() bool {
		m := s.members()
		var work []string
		for _, x := range m.Servers {
			if x.Healthy && !x.Learner && x.API != "" {
				work = append(work, x.Name)
			}
		}
		return m.Quorum && m.Leader != "" && len(m.Servers) == len(names) && slices.Equal(work, names)
	})
}

func (s *site) leader() string { return s.members().Leader }

// missed waits until one is known not to work.
func (s *site) missed(name string) {
	s.t.Helper()
	s.until(name+" is missed", func() bool {
		m := s.members()
		return m.Leader != "" && m.Leader != name && slices.ContainsFunc(m.Servers, func(x api.ClusterServer) bool { return x.Name == name && !x.Healthy })
	})
}

// away moves a data directory away, as the messages say.
func (s *site) away(parts ...string) {
	s.t.Helper()
	if err := os.RemoveAll(s.path(parts...)); err != nil {
		s.t.Fatal(err)
	}
}
