//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
)

// product is one `ninelives server` as an operator runs it, and the command line to ask it.
type product struct {
	binary string
	dir    string // its configuration, data and log
	config string
	apiURL string
	agents string // address of the agents' port

	cmd  *exec.Cmd
	done chan error
	api  *client.Client
}

// serverSpec is what differs between the servers that the rows start.
type serverSpec struct {
	dir    string
	name   string
	agents string // address for the agents' port; its port is chosen
	clouds string // path of clouds.yaml
	data   string // "": dir/data
}

// newProduct writes a server.yaml on free ports.
func newProduct(t testing.TB, binary string, s serverSpec) *product {
	t.Helper()
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if s.data == "" {
		s.data = filepath.Join(s.dir, "data")
	}
	if s.name == "" {
		s.name = "server-1"
	}
	p := &product{binary: binary, dir: s.dir, config: filepath.Join(s.dir, "server.yaml")}
	api := freeAddress(t, "127.0.0.1")
	p.apiURL, p.agents = "http://"+api, freeAddress(t, s.agents)
	text := fmt.Sprintf("name: %s\ndata: %s\nlisten: {api: %q, agents: %q, cluster: %q}\ncloud: {name: lab, config: %s}\n",
		s.name, s.data, api, p.agents, freeAddress(t, "127.0.0.1"), s.clouds)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func freeAddress(t testing.TB, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start begins the server; its log is appended to server.log.
func (p *product) start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(p.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd = exec.Command(p.binary, "server", "--config", p.config)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	p.cmd.Env = append(os.Environ(), "HOME="+p.dir)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan error) { done <- cmd.Wait() }(p.cmd, p.done)
}

// ready waits until the server answers, and makes the client.
func (p *product) ready(t testing.TB, limit time.Duration) {
	t.Helper()
	within(t, limit, "the server answers", func() string {
		select {
		case err := <-p.done:
			p.done <- err
			t.Fatalf("the server ended: %v\n%s", err, p.log(40))
		default:
		}
		token, err := os.ReadFile(p.tokenFile())
		if err != nil {
			return err.Error()
		}
		if p.api, err = client.New(p.apiURL, string(token), nil); err != nil {
			return err.Error()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := p.api.Ready(ctx); err != nil {
			return err.Error()
		}
		return ""
	})
}

// kill ends it as a power cut of its machine would; stop as an init system would.
func (p *product) kill() { p.end(syscall.SIGKILL, 10*time.Second) }
func (p *product) stop() { p.end(syscall.SIGTERM, 20*time.Second) }
func (p *product) end(s syscall.Signal, limit time.Duration) {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(s) // it may be gone already
	select {
	case <-p.done:
	case <-time.After(limit):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	p.cmd = nil
}

// ends waits for the process to end by itself and returns its exit code, -1 if it doesn't.
func (p *product) ends(limit time.Duration) int {
	select {
	case err := <-p.done:
		p.done <- err
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode()
		}
		return 0
	case <-time.After(limit):
		return -1
	}
}

func (p *product) tokenFile() string {
	for line := range strings.Lines(p.text()) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			return filepath.Join(strings.TrimSpace(data), "admin.token")
		}
	}
	return ""
}

func (p *product) text() string {
	text, _ := os.ReadFile(p.config) // written by newProduct
	return string(text)
}

// log is the end of the server's log.
func (p *product) log(lines int) string { return tail(filepath.Join(p.dir, "server.log"), lines) }

func tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// result is what a command came to.
type result struct {
	code   int
	stdout string
	stderr string
}

// run runs one command of the command line against this server.
func (p *product) run(args ...string) result {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = append(os.Environ(), "NINELIVES_SERVER="+p.apiURL, "NO_COLOR=1")
	if token, err := os.ReadFile(p.tokenFile()); err == nil {
		cmd.Env = append(cmd.Env, "NINELIVES_TOKEN="+string(token))
	}
	err := cmd.Run()
	r := result{stdout: out.String(), stderr: errs.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		r.code, r.stderr = -1, r.stderr+err.Error()
	}
	return r
}

// do runs a command that must succeed.
func (p *product) do(t testing.TB, args ...string) string {
	t.Helper()
	r := p.run(args...)
	if r.code != 0 {
		t.Fatalf("ninelives %s: exit %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// json runs a command with -o json and decodes its answer.
func (p *product) json(t testing.TB, into any, args ...string) {
	t.Helper()
	out := p.do(t, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("ninelives %s: %v\n%.500s", strings.Join(args, " "), err, out)
	}
}

func (p *product) status() (api.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return p.api.Status(ctx)
}

func (p *product) host(name string) (api.HostDetail, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return p.api.Host(ctx, name)
}

// incident is the newest incident of a host whose verdict came after a moment.
func (p *product) incident(host string, since time.Time) (api.IncidentDetail, bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	all, err := p.api.Incidents(ctx, "all", host)
	if err != nil {
		return api.IncidentDetail{}, false, err
	}
	for _, in := range all {
		if in.Host == host && in.Stages.Verdict.After(since) {
			d, err := p.api.Incident(ctx, in.ID)
			return d, err == nil, err
		}
	}
	return api.IncidentDetail{}, false, nil
}
