package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

const testToken = "correct-horse-battery-staple"

// fake notes what reached it. Everything works unless err is set.
type fake struct {
	mu     sync.Mutex
	called []string
	asked  []engine.Asked
	armed  []Arming
	err    error
	ready  error
	events []Event // kept ones
	live   chan Event
}

func (f *fake) note(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.called = append(f.called, what)
	return f.err
}

func (f *fake) calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.called)
}

func (f *fake) Members(context.Context) (Membership, error) {
	return Membership{}, f.note("members")
}
func (f *fake) RemoveServer(_ context.Context, _, name, reason string) (Reply, error) {
	return Reply{}, f.note("remove " + name + " " + reason)
}
func (f *fake) Backup(_ context.Context, _ string, w io.Writer) error {
	_, err := io.WriteString(w, "all records")
	return errors.Join(err, f.note("backup"))
}
func (f *fake) Ready(context.Context) error { return f.ready }

func (f *fake) Status(context.Context) (Status, error) {
	return Status{Cluster: "mycloud"}, f.note("status")
}
func (f *fake) Hosts(_ context.Context, p Page) (Part[Host], error) {
	return Part[Host]{Next: p.After}, f.note(fmt.Sprint("hosts ", p.Limit))
}
func (f *fake) Host(_ context.Context, name string) (HostDetail, error) {
	return HostDetail{Host: Host{HostFacts: engine.HostFacts{Name: name}}}, f.note("host " + name)
}

func (f *fake) Incidents(_ context.Context, state, host string, _ Page) (Part[Incident], error) {
	return Part[Incident]{}, f.note("incidents " + state + " " + host)
}

func (f *fake) Incident(_ context.Context, id string) (IncidentDetail, error) {
	return IncidentDetail{}, f.note("incident " + id)
}

func (f *fake) VMs(_ context.Context, host, project string, _ Page) (Part[VM], error) {
	return Part[VM]{}, f.note("vms " + host + " " + project)
}
func (f *fake) VM(_ context.Context, vm string) ([]VM, error) { return nil, f.note("vm " + vm) }
func (f *fake) Plan(context.Context, []string) (Plan, error)  { return Plan{}, f.note("plan") }
func (f *fake) Doctor(context.Context) (Diagnosis, error)     { return Diagnosis{}, f.note("doctor") }
func (f *fake) Rejoin(context.Context, string, string) (Reply, error) {
	return Reply{}, f.note("rejoin")
}

func (f *fake) Ask(_ context.Context, a engine.Asked) (Reply, error) {
	err := f.note(string(a.Verb))
	f.mu.Lock()
	f.asked = append(f.asked, a)
	f.mu.Unlock()
	return Reply{Text: "done"}, err
}

func (f *fake) Arm(_ context.Context, a Arming) (Reply, error) {
	f.armed = append(f.armed, a)
	return Reply{Text: "armed"}, f.note("arm")
}

func (f *fake) Token(_ context.Context, _, host string, life time.Duration) (Token, error) {
	return Token{Host: host, Token: "t", Expires: time.Unix(0, 0).Add(life)}, f.note("token")
}
func (f *fake) Policy(context.Context) (Policy, error) { return Policy{}, f.note("policy") }
func (f *fake) ApplyPolicy(context.Context, string, File) (Policy, error) {
	return Policy{}, f.note("apply")
}

func (f *fake) CheckPolicy(context.Context, File) (PolicyCheck, error) {
	return PolicyCheck{}, f.note("check")
}

func (f *fake) DiffPolicy(context.Context, File) (PolicyDiff, error) {
	return PolicyDiff{}, f.note("diff")
}

func (f *fake) ExplainPolicy(_ context.Context, vm string) ([]PolicyVerdict, error) {
	return nil, f.note("explain " + vm)
}
func (f *fake) Devices(context.Context, Page) (Part[Device], error) {
	return Part[Device]{}, f.note("devices")
}
func (f *fake) CheckDevices(context.Context, []string) ([]Device, error) { return nil, f.note("probe") }
func (f *fake) ImportDevices(context.Context, string, File) (Imported, error) {
	return Imported{}, f.note("import")
}

func (f *fake) BindDevices(context.Context, string, string, string) (Reply, error) {
	return Reply{}, f.note("bind")
}

func (f *fake) Audit(context.Context, time.Time) ([]AuditEntry, error) { return nil, f.note("audit") }

func (f *fake) Events(ctx context.Context, after string, send func(Event) error) error {
	_ = f.note("events " + after)
	past := after == ""
	for _, e := range f.events {
		if past {
			if err := send(e); err != nil {
				return err
			}
		}
		past = past || e.ID == after
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-f.live:
			if err := send(e); err != nil {
				return err
			}
		}
	}
}

// serve runs a server on loopback until the test ends.
func serve(t testing.TB, b Backend, change ...func(*Options)) (*Server, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Backend: b, Token: testToken, Listener: ln}
	for _, f := range change {
		f(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return s, "http://" + s.Addr().String()
}

// request sends one with the token.
func request(t testing.TB, method, url, body string) *http.Response {
	t.Helper()
	return send(t, method, url, body, "Bearer "+testToken)
}
