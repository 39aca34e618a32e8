//go:build e2e || bench

package rig

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
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

// Product is one `ninelives server` as an operator runs it, and the command line to ask it.
type Product struct {
	Binary string
	Config string
	API    *client.Client

	Name    string // of three: which one it is, and its address on the management plane
	Address string

	dir    string // its configuration, data and log
	apiURL string
	agents string // address of the agents' port
	token  string // "": the one in its data directory
	net    string // network namespace it runs in, "": the machine's own
	caFile string // of the API's certificate, "": clear text on loopback

	cmd  *exec.Cmd
	done chan error
}

// ServerSpec is what differs between the servers that the rows start.
type ServerSpec struct {
	Dir    string
	Name   string
	Agents string // address for the agents' port; its port is chosen
	Clouds string // path of clouds.yaml
	Data   string // "": Dir/data
}

// NewProduct writes a server.yaml on free ports.
func NewProduct(t testing.TB, binary string, s ServerSpec) *Product {
	t.Helper()
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if s.Data == "" {
		s.Data = filepath.Join(s.Dir, "data")
	}
	if s.Name == "" {
		s.Name = "server-1"
	}
	p := &Product{Binary: binary, dir: s.Dir, Config: filepath.Join(s.Dir, "server.yaml")}
	api := freeAddress(t, "127.0.0.1")
	p.apiURL, p.agents = "http://"+api, freeAddress(t, s.Agents)
	text := fmt.Sprintf("name: %s\ndata: %s\nlisten: {api: %q, agents: %q, cluster: %q}\ncloud: {name: lab, config: %s}\ntimes: {hung_after: 70s}\n",
		s.Name, s.Data, api, p.agents, freeAddress(t, "127.0.0.1"), s.Clouds)
	if err := os.WriteFile(p.Config, []byte(text), 0o600); err != nil {
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

// Start begins the server; its log is appended to server.log.
func (p *Product) Start(t testing.TB, flags ...string) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(p.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	args := append([]string{p.Binary, "server", "--config", p.Config}, flags...)
	if p.net != "" {
		args = append([]string{"nsenter", "--net=/run/netns/" + p.net}, args...) // becomes the server: same pid
	}
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	p.cmd.Env = append(os.Environ(), "HOME="+p.dir)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan error) { done <- cmd.Wait() }(p.cmd, p.done)
}

// Ready waits until the server answers, and makes the client.
func (p *Product) Ready(t testing.TB, limit time.Duration) {
	t.Helper()
	Within(t, limit, "the server answers", func() string {
		select {
		case err := <-p.done:
			p.done <- err
			t.Fatalf("the server ended: %v\n%s", err, p.Log(40))
		default:
		}
		if err := p.connect(); err != nil {
			return err.Error()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := p.API.Ready(ctx); err != nil {
			return err.Error()
		}
		return ""
	})
}

// connect makes the client.
func (p *Product) connect() error {
	token, err := p.adminToken()
	if err != nil {
		return err
	}
	transport, err := p.transport()
	if err != nil {
		return err
	}
	p.API, err = client.New(p.apiURL, token, transport)
	return err
}

// transport trusts the API's certificate; nil where it has none.
func (p *Product) transport() (http.RoundTripper, error) {
	if p.caFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(p.caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}, nil
}

func (p *Product) adminToken() (string, error) {
	if p.token != "" {
		return p.token, nil
	}
	text, err := os.ReadFile(p.tokenFile())
	return string(text), err
}

// Kill ends it as a power cut of its machine would; stop as an init system would.
func (p *Product) Kill() { p.end(syscall.SIGKILL, 10*time.Second) }
func (p *Product) Stop() { p.end(syscall.SIGTERM, 20*time.Second) }
func (p *Product) end(s syscall.Signal, limit time.Duration) {
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

// Agents is the address of the agents' port.
func (p *Product) Agents() string { return p.agents }

// Signal sends the server's process a signal.
func (p *Product) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Ends waits for the process to end by itself and returns its exit code, -1 if it doesn't.
func (p *Product) Ends(limit time.Duration) int {
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

func (p *Product) tokenFile() string {
	for line := range strings.Lines(p.Text()) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			return filepath.Join(strings.TrimSpace(data), "admin.token")
		}
	}
	return ""
}

// Text is the server.yaml.
func (p *Product) Text() string {
	text, _ := os.ReadFile(p.Config) // written by NewProduct
	return string(text)
}

// Log is the end of the server's log.
func (p *Product) Log(lines int) string { return Tail(filepath.Join(p.dir, "server.log"), lines) }

// Tail is the end of a file.
func Tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Result is what a command came to.
type Result struct {
	Code   int
	Stdout string
	Stderr string
}

// Run runs one command of the command line against this server.
func (p *Product) Run(args ...string) Result {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.Env = append(os.Environ(), "NINELIVES_SERVER="+p.apiURL, "NINELIVES_CA_FILE="+p.caFile, "NO_COLOR=1")
	if token, err := p.adminToken(); err == nil {
		cmd.Env = append(cmd.Env, "NINELIVES_TOKEN="+token)
	}
	err := cmd.Run()
	r := Result{Stdout: out.String(), Stderr: errs.String()}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
	case err != nil:
		r.Code, r.Stderr = -1, r.Stderr+err.Error()
	}
	return r
}

// Do runs a command that must succeed.
func (p *Product) Do(t testing.TB, args ...string) string {
	t.Helper()
	r := p.Run(args...)
	if r.Code != 0 {
		t.Fatalf("ninelives %s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// JSON runs a command with -o json and decodes its answer.
func (p *Product) JSON(t testing.TB, into any, args ...string) {
	t.Helper()
	out := p.Do(t, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("ninelives %s: %v\n%.500s", strings.Join(args, " "), err, out)
	}
}

// Status, Host and Incident ask the API: quicker than the command line. They are the leader's answers, whichever server is
// asked.
func (p *Product) Status() (api.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return p.API.Status(ctx)
}

// OwnStatus is what this server says itself, whoever leads.
func (p *Product) OwnStatus() (api.Status, error) {
	var s api.Status
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	token, err := p.adminToken()
	if err != nil {
		return s, err
	}
	transport, err := p.transport()
	if err != nil {
		return s, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.apiURL+"/v1/status", nil)
	if err != nil {
		return s, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("%s answers %s", p.Name, resp.Status)
	}
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// Host is one host.
func (p *Product) Host(name string) (api.HostDetail, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return p.API.Host(ctx, name)
}

// Incident is the newest incident of a host whose verdict came after a moment.
func (p *Product) Incident(host string, since time.Time) (api.IncidentDetail, bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	all, err := p.API.Incidents(ctx, "all", host)
	if err != nil {
		return api.IncidentDetail{}, false, err
	}
	for _, in := range all {
		if in.Host == host && in.Stages.Verdict.After(since) {
			d, err := p.API.Incident(ctx, in.ID)
			return d, err == nil, err
		}
	}
	return api.IncidentDetail{}, false, nil
}

// DataDir is the server's data directory.
func (p *Product) DataDir() string { return filepath.Dir(p.tokenFile()) }

// Runs reports whether its process is there.
func (p *Product) Runs() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case err := <-p.done:
		p.done <- err
		return false
	default:
		return true
	}
}
