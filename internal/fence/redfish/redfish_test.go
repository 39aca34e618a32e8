package redfish_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/fence/redfish"
)

const (
	user     = "fencer"
	password = "s3cret-redfish"
)

// service is a Redfish service with quirks.
type service struct {
	*httptest.Server

	mu      sync.Mutex
	state   string
	systems []string
	allowed []string
	resets  []string
	gets    int
	// answer to a reset; 0 is 204 and obedience.
	status int
	ignore bool   // accept and do nothing
	lag    int    // readings that still show the old state
	old    string // the state before
	hang   chan struct{}
	moved  string // where a reset is redirected to
}

func start(t *testing.T) *service {
	t.Helper()
	s := &service{state: "On", systems: []string{"1"}, allowed: []string{"On", "ForceOff", "GracefulShutdown"}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /redfish/v1/Systems", s.list)
	mux.HandleFunc("GET /redfish/v1/Systems/{id}", s.show)
	mux.HandleFunc("POST /redfish/v1/Systems/{id}/Actions/ComputerSystem.Reset", s.reset)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			http.Error(w, "{}", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that a test makes fail
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func reply(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func (s *service) list(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	members := []any{}
	for _, id := range s.systems {
		members = append(members, map[string]string{"@odata.id": "/redfish/v1/Systems/" + id})
	}
	reply(w, map[string]any{"Members": members})
}

func (s *service) show(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	if !slices.Contains(s.systems, r.PathValue("id")) {
		http.NotFound(w, r)
		return
	}
	state := s.state
	if s.lag > 0 {
		s.lag--
		state = s.old
	}
	reply(w, map[string]any{
		"PowerState": state, "UUID": "4C4C4544-0032-4B10-8035-B4C04F385132", "SerialNumber": "CN1234",
		"Actions": map[string]any{"#ComputerSystem.Reset": map[string]any{
			"target":                            r.URL.Path + "/Actions/ComputerSystem.Reset",
			"ResetType@Redfish.AllowableValues": s.allowed,
		}},
	})
}

func (s *service) reset(w http.ResponseWriter, r *http.Request) {
	var body struct{ ResetType string }
	data, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(data, &body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resets = append(s.resets, body.ResetType)
	if s.moved != "" {
		http.Redirect(w, r, s.moved, http.StatusTemporaryRedirect)
		return
	}
	if !s.ignore && s.status == 0 {
		s.old = s.state
		s.state = map[string]string{"ForceOff": "Off", "On": "On"}[body.ResetType]
	}
	if s.hang != nil {
		<-s.hang
	}
	if s.status != 0 {
		w.WriteHeader(s.status)
		reply(w, map[string]any{"error": map[string]any{"@Message.ExtendedInfo": []any{map[string]string{"Message": "The server is already\npowered off."}}}})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *service) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.resets...)
}

// open trusts the service's certificate by ca_file.
func (s *service) open(t *testing.T, edit func(*fence.Spec)) fence.Device {
	t.Helper()
	dir := t.TempDir()
	ca, pass := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "pass")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := errors.Join(os.WriteFile(ca, cert, 0o600), os.WriteFile(pass, []byte(password), 0o600)); err != nil {
		t.Fatal(err)
	}
	spec := fence.Spec{Driver: fence.DriverRedfish, Address: s.URL, Username: user, PasswordFile: pass, CAFile: ca}
	if edit != nil {
		edit(&spec)
	}
	dev, err := fence.Drivers{fence.DriverRedfish: redfish.Open}.Open(spec, fence.Options{Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dev.Close() })
	return dev
}

func granted() error { return nil }

func TestOffAndOnAreReadBack(t *testing.T) {
	s := start(t)
	dev := s.open(t, nil)
	for _, step := range []struct {
		send func(context.Context, fence.Permit) error
		want fence.State
	}{{nil, fence.StateOn}, {dev.Off, fence.StateOff}, {dev.On, fence.StateOn}} {
		if step.send != nil {
			if err := step.send(t.Context(), granted); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := dev.Power(t.Context()); err != nil || got != step.want {
			t.Errorf("power %s, %v; want %s", got, err, step.want)
		}
	}
	if got := strings.Join(s.sent(), " "); got != "ForceOff On" {
		t.Errorf("resets %s", got)
	}
	id, err := dev.Identity(t.Context())
	if err != nil || !id.Match(fence.Identity{UUID: "44454c4c-3200-104b-8035-b4c04f385132"}) {
		t.Errorf("identity %+v, %v", id, err)
	}
}

func TestQuirks(t *testing.T) {
	tests := []struct {
		name   string
		edit   func(*service)
		proven bool
		why    string
	}{
		{"409 already off", func(s *service) { s.state, s.status = "Off", 409 }, true, ""},
		{"400 but off", func(s *service) { s.state, s.status = "Off", 400 }, true, ""},
		{"lagging state", func(s *service) { s.lag, s.old = 4, "On" }, true, ""},
		{"accepted but stays on", func(s *service) { s.ignore = true }, false, "off was accepted; still reads on"},
		{"powering off for ever", func(s *service) { s.ignore, s.state = true, "PoweringOff" }, false, "neither on nor off"},
		{"refused", func(s *service) { s.status = 500 }, false, "HTTP 500 Internal Server Error: The server is already powered off."},
		{"forbidden", func(s *service) { s.status = 403 }, false, "HTTP 403"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			tt.edit(s)
			out := fence.OffLevel(t.Context(), []fence.Device{s.open(t, nil)}, granted,
				fence.OffOptions{OffTimeout: 2 * time.Second, ReadEvery: 50 * time.Millisecond})
			if out.Proven != tt.proven || !strings.Contains(out.Why, tt.why) {
				t.Errorf("proven %v, %q; want %v, %q", out.Proven, out.Why, tt.proven, tt.why)
			}
			if n := len(s.sent()); n != 1 {
				t.Errorf("%d resets", n)
			}
		})
	}
}

func TestNothingIsSentWithout(t *testing.T) {
	tests := []struct {
		name   string
		server func(*service)
		spec   func(*fence.Spec)
		permit fence.Permit
		want   string
	}{
		{"permit", nil, nil, func() error { return errors.New("deposed") }, "no permit: deposed"},
		{"ForceOff", func(s *service) { s.allowed = []string{"GracefulShutdown"} }, nil, granted, "only GracefulShutdown"},
		{"one system", func(s *service) { s.systems = []string{"a", "b"} }, nil, granted, "has 2 systems (a, b)"},
		{"trust", nil, func(s *fence.Spec) { s.CAFile = "" }, granted, "is not trusted (give ca_file, or insecure: true)"},
		{"login", nil, func(s *fence.Spec) { s.Username = "nobody" }, granted, "HTTP 401"},
		{"a system of that name", nil, func(s *fence.Spec) { s.System = "2" }, granted, "HTTP 404"},
		{"password", nil, func(s *fence.Spec) { s.PasswordFile = "/nonexistent/pass" }, granted, "cannot read the password"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t)
			if tt.server != nil {
				tt.server(s)
			}
			dev := s.open(t, tt.spec)
			err := dev.Off(t.Context(), tt.permit)
			if !errors.Is(err, fence.ErrNotSent) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Off: %v, want not sent, %q", err, tt.want)
			}
			// Nor later, by a connection that still holds it.
			if _, err := dev.Power(t.Context()); err == nil && tt.name == "permit" && s.gets < 2 {
				t.Error("the device doesn't work any more")
			}
			if got := s.sent(); len(got) > 0 {
				t.Errorf("sent %v", got)
			}
		})
	}
}

func TestPermitIsAskedAfterConnectAndOnce(t *testing.T) {
	s := start(t)
	asked := 0
	if err := s.open(t, nil).Off(t.Context(), func() error { asked++; return nil }); err != nil {
		t.Fatal(err)
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

func TestLostAnswerIsNotRepeated(t *testing.T) {
	s := start(t)
	s.hang = make(chan struct{})
	t.Cleanup(func() { close(s.hang) })
	dev := s.open(t, nil)
	err := dev.Off(t.Context(), granted)
	if !errors.Is(err, fence.ErrUnreachable) || errors.Is(err, fence.ErrNotSent) {
		t.Errorf("Off: %v, want no answer, perhaps sent", err)
	}
}

func TestRedirectedResetIsNotFollowed(t *testing.T) {
	s := start(t)
	s.moved = "/redfish/v1/Systems/2/Actions/ComputerSystem.Reset"
	err := s.open(t, nil).Off(t.Context(), granted)
	if err == nil || errors.Is(err, fence.ErrNotSent) || len(s.sent()) != 1 {
		t.Errorf("Off: %v, resets %v", err, s.sent())
	}
}

func TestCheck(t *testing.T) {
	s := start(t)
	if h := s.open(t, nil).Check(t.Context()); !h.OK() || h.State != fence.StateOn || !h.Found.Usable() {
		t.Errorf("health %+v", h)
	}
	s.allowed = []string{"GracefulShutdown"}
	if h := s.open(t, nil).Check(t.Context()); h.OK() || !strings.Contains(h.Trouble(), "doesn't allow a reset of type ForceOff") {
		t.Errorf("health %+v", h)
	}
	if h := s.open(t, func(s *fence.Spec) { s.Username = "nobody" }).Check(t.Context()); h.Reach.Grade != fence.GradeOK || h.Login.Grade != fence.GradeFailed {
		t.Errorf("health %+v", h)
	}
}
