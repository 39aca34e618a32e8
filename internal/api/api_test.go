package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

var update = flag.Bool("update", false, "write docs/openapi.yaml anew")

func send(t testing.TB, method, url, body, authorization string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func problemIn(t testing.TB, resp *http.Response) Problem {
	t.Helper()
	var p Problem
	if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("%s: content type %q, want a problem", resp.Request.URL.Path, got)
	}
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		t.Fatalf("%s: %v", resp.Request.URL.Path, err)
	}
	return p
}

// paths are all operations of the description, with every parameter filled in.
func paths(t testing.TB, base string) map[string][]string {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.NewDecoder(request(t, "GET", base+"/openapi.json", "").Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for path, methods := range doc.Paths {
		path = strings.NewReplacer("{host}", "compute-01", "{zone}", "az1", "{id}", "7f3a00", "{vm}", "db-1").Replace(path)
		for m := range methods {
			out[path] = append(out[path], strings.ToUpper(m))
		}
	}
	return out
}

func TestNothingAnswersWithoutTheToken(t *testing.T) {
	b := &fake{}
	_, base := serve(t, b)
	all := paths(t, base)
	if len(all) < 25 {
		t.Fatalf("only %d paths in the description: %v", len(all), all)
	}
	all["/metrics"], all["/openapi.json"], all["/openapi.yaml"] = []string{"GET"}, []string{"GET"}, []string{"GET"}
	all["/"], all["/v1/nothing"], all["/docs"] = []string{"GET"}, []string{"GET", "POST"}, []string{"GET"}
	all["/healthz/../v1/status"], all["//healthz"], all["/healthz/"] = []string{"GET"}, []string{"GET"}, []string{"GET"}
	before := b.calls()
	for path, methods := range all {
		for _, m := range append(methods, "OPTIONS", "HEAD", "DELETE") {
			for _, auth := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Basic " + testToken, testToken, "Bearer " + testToken + "x", "Bearer " + testToken[1:]} {
				resp := send(t, m, base+path, "{}", auth)
				if resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s %s with %q: %s", m, path, auth, resp.Status)
				}
				resp.Body.Close()
			}
		}
		if t.Failed() {
			break
		}
	}
	if b.calls() != before {
		t.Errorf("the backend was called: %v", b.called)
	}
	p := problemIn(t, send(t, "GET", base+"/v1/status", "", ""))
	if p.Status != 401 || !strings.Contains(p.Do, "token") {
		t.Errorf("not helpful: %+v", p)
	}
	// The token in the query counts for nothing: it would end up in logs.
	if resp := send(t, "GET", base+"/v1/events?token="+testToken, "", ""); resp.StatusCode != 401 {
		t.Errorf("token in the query: %s", resp.Status)
	}
}

func TestHealthNeedsNoToken(t *testing.T) {
	b := &fake{}
	_, base := serve(t, b)
	for _, path := range []string{"/healthz", "/readyz"} {
		if resp := send(t, "GET", base+path, "", ""); resp.StatusCode != 200 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	b.ready = errors.New("1 of 3 servers answer")
	resp := send(t, "GET", base+"/readyz", "", "")
	if p := problemIn(t, resp); p.Status != 503 || !strings.Contains(p.Detail, "1 of 3 servers answer") {
		t.Errorf("readyz without quorum: %+v", p)
	}
	if resp := send(t, "GET", base+"/healthz", "", ""); resp.StatusCode != 200 {
		t.Errorf("healthz must not depend on the quorum: %s", resp.Status)
	}
	if resp := send(t, "POST", base+"/healthz", "", ""); resp.StatusCode != 405 {
		t.Errorf("POST /healthz: %s", resp.Status)
	}
}

func TestEveryPathAnswersItsMethodsOnly(t *testing.T) {
	b := &fake{err: Conflict("wait", "not now")} // ends everything but streams
	_, base := serve(t, b)
	for path, methods := range paths(t, base) {
		if path == "/v1/events" {
			continue
		}
		for _, m := range []string{"GET", "POST", "PUT", "DELETE", "PATCH"} {
			has := strings.Contains(strings.Join(methods, " "), m)
			resp := request(t, m, base+path, "{}")
			if (resp.StatusCode == http.StatusMethodNotAllowed) == has {
				t.Errorf("%s %s: %s (described: %v)", m, path, resp.Status, methods)
			}
			if resp.StatusCode >= 400 {
				if p := problemIn(t, resp); p.Detail == "" {
					t.Errorf("%s %s: a problem without words: %+v", m, path, p)
				}
			}
		}
	}
	if p := problemIn(t, request(t, "GET", base+"/v1/nonsense", "")); p.Status != 404 || p.Do == "" {
		t.Errorf("unknown path: %+v", p)
	}
}

func TestActsReachTheEngineAsAsked(t *testing.T) {
	for _, c := range []struct {
		path, body string
		want       engine.Asked
	}{
		{"/v1/hosts/c%2F1/maintenance", `{"on":true,"reason":"new fan"}`, engine.Asked{Verb: engine.MaintenanceOn, Host: "c/1", Reason: "new fan"}},
		{"/v1/hosts/c1/maintenance", `{"on":false}`, engine.Asked{Verb: engine.MaintenanceOff, Host: "c1"}},
		{"/v1/zones/az1/maintenance", `{"on":true,"reason":"r"}`, engine.Asked{Verb: engine.MaintenanceOn, Zone: "az1", Reason: "r"}},
		{"/v1/hosts/c1/confirm-down", `{"reason":"I pulled it"}`, engine.Asked{Verb: engine.ConfirmDown, Host: "c1", Reason: "I pulled it"}},
		{"/v1/hosts/c1/fence", `{"reason":"hung"}`, engine.Asked{Verb: engine.FenceHost, Host: "c1", Reason: "hung"}},
		{"/v1/hosts/c1/readmit", `{}`, engine.Asked{Verb: engine.ReadmitHost, Host: "c1"}},
		{"/v1/incidents/7f/retry", `{"vm":"db-1"}`, engine.Asked{Verb: engine.RetryIncident, Incident: "7f", VM: "db-1"}},
		{"/v1/incidents/7f/abort", `{"reason":"gone"}`, engine.Asked{Verb: engine.AbortIncident, Incident: "7f", Reason: "gone"}},
		{"/v1/disarm", `{"reason":"network works"}`, engine.Asked{Verb: engine.Disarm, Reason: "network works"}},
	} {
		b := &fake{}
		_, base := serve(t, b)
		resp := request(t, "POST", base+c.path, c.body)
		if resp.StatusCode != 200 || len(b.asked) != 1 {
			text, _ := io.ReadAll(resp.Body)
			t.Errorf("%s: %s %s", c.path, resp.Status, text)
			continue
		}
		if by := b.asked[0].By; by != "admin@127.0.0.1" {
			t.Errorf("%s: by %q", c.path, by)
		}
		b.asked[0].By = ""
		if d := cmp.Diff(c.want, b.asked[0]); d != "" {
			t.Errorf("%s: -want +got\n%s", c.path, d)
		}
	}
}

func TestBadBodiesChangeNothing(t *testing.T) {
	b := &fake{}
	_, base := serve(t, b)
	for _, c := range []struct {
		path, body string
		status     int
		says       string
	}{
		{"/v1/disarm", ``, 400, "body"},
		{"/v1/disarm", `{`, 400, "JSON"},
		{"/v1/disarm", `{}`, 422, "reason"},
		{"/v1/disarm", `{"reason":""}`, 422, "reason"},
		{"/v1/disarm", `{"reason":7}`, 422, "reason"},
		{"/v1/disarm", `{"reason":"a","raeson":"b"}`, 422, "raeson"},
		{"/v1/disarm", `{"reason":"a","By":"root"}`, 422, "By"},
		{"/v1/arm", `{"shadow":"yes"}`, 422, "shadow"},
		{"/v1/hosts/c1/readmit", `{"x":1}`, 422, "x"},
		{"/v1/plan", `{"hosts":[]}`, 422, "host"},
		{"/v1/tokens", `{"host":"c1","life":"soon"}`, 422, "24h"},
		{"/v1/tokens", `{"host":"c1","life":"-1h"}`, 422, "24h"},
		{"/v1/disarm", `{"reason":"` + strings.Repeat("x", smallBody) + `"}`, 413, "large"},
	} {
		resp := request(t, "POST", base+c.path, c.body)
		text, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != c.status || !strings.Contains(string(text), c.says) {
			t.Errorf("%s %.40s: %s %s\nwant %d with %q", c.path, c.body, resp.Status, text, c.status, c.says)
		}
	}
	if n := b.calls(); n != 0 {
		t.Errorf("%d calls reached the backend: %v", n, b.called)
	}
	if p := problemIn(t, request(t, "GET", base+"/v1/incidents?stat=open", "")); p.Status != 422 {
		t.Errorf("an unknown query parameter must not be ignored: %+v", p)
	}
}

func TestProblemsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		says   string
	}{
		{NotLeading("server-1", "server-2", ""), 503, "server-2 leads"},
		{NotLeading("server-1", "", ""), 503, "no server is known to lead"},
		{errors.New("etcd is on fire"), 500, "etcd is on fire"},
		{Mistaken([]Mistake{{Path: "p.yaml", Line: 3, Column: 7, Message: "no such key"}}), 422, `"line":3`},
	} {
		_, base := serve(t, &fake{err: c.err})
		resp := request(t, "GET", base+"/v1/hosts", "")
		text, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != c.status || !strings.Contains(string(text), c.says) || !strings.Contains(string(text), `"do":`) {
			t.Errorf("%v: %s %s", c.err, resp.Status, text)
		}
	}
}

type panicking struct{ fake }

func (*panicking) Devices(context.Context, Page) (Part[Device], error) { panic("a bug") }

func TestAPanicEndsItsRequestOnly(t *testing.T) {
	_, base := serve(t, &panicking{})
	if p := problemIn(t, request(t, "GET", base+"/v1/fence", "")); p.Status != 500 || !strings.Contains(p.Do, "bug") {
		t.Errorf("%+v", p)
	}
	if resp := request(t, "GET", base+"/v1/status", ""); resp.StatusCode != 200 {
		t.Errorf("after the panic: %s", resp.Status)
	}
}

func TestListsAreNeverNull(t *testing.T) {
	_, base := serve(t, &fake{})
	for _, path := range []string{"/v1/hosts", "/v1/incidents", "/v1/vms", "/v1/vms/x", "/v1/fence", "/v1/audit", "/v1/policy/explain?vm=x"} {
		text, _ := io.ReadAll(request(t, "GET", base+path, "").Body)
		if !bytes.Contains(text, []byte(":[]")) {
			t.Errorf("%s: %s", path, text)
		}
	}
}

func TestTheDescriptionIsCommitted(t *testing.T) {
	_, base := serve(t, &fake{})
	text, _ := io.ReadAll(request(t, "GET", base+"/openapi.yaml", "").Body)
	file := filepath.Join("..", "..", "docs", "openapi.yaml")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	had, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no docs/openapi.yaml yet; write it: go test ./internal/api -run TheDescription -update")
	} else if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(had, text) {
		t.Errorf("docs/openapi.yaml is not what the code says now; write it: go test ./internal/api -run TheDescription -update")
	}
}

// Every operation describes the problems it answers, and nothing but problems with what to do.
func TestTheDescriptionKnowsProblems(t *testing.T) {
	_, base := serve(t, &fake{})
	text, _ := io.ReadAll(request(t, "GET", base+"/openapi.json", "").Body)
	var doc struct {
		Paths map[string]map[string]struct {
			Responses map[string]any
			Security  []any
		}
		Components struct{ Schemas map[string]any }
		Security   []map[string]any
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for path, operations := range doc.Paths {
		for method, op := range operations {
			is, _ := json.Marshal(op.Responses["default"])
			if !strings.Contains(string(is), "schemas/Problem") || op.Responses["200"] == nil {
				t.Errorf("%s %s: responses %v", method, path, op.Responses)
			}
		}
	}
	if len(doc.Security) != 1 || doc.Components.Schemas["PolicyVM"] == nil || doc.Components.Schemas["VM"] == nil {
		t.Errorf("security %v, or the two kinds of VM are not told apart", doc.Security)
	}
}

func TestStopEndsStreamsAtOnce(t *testing.T) {
	s, base := serve(t, &fake{live: make(chan Event)})
	resp := request(t, "GET", base+"/v1/events", "")
	buf := make([]byte, 10)
	if _, err := io.ReadFull(resp.Body, buf); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to stop with an open stream", took)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
}
