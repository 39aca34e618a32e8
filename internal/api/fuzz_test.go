package api

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// withBodies are the operations that take a body, as the description knows them, with a name in each place of their paths.
func withBodies(t testing.TB, base string) [][2]string {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]struct{ RequestBody json.RawMessage }
	}
	if err := json.NewDecoder(request(t, "GET", base+"/openapi.json", "").Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	var out [][2]string
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if op.RequestBody != nil {
				out = append(out, [2]string{strings.ToUpper(method), regexp.MustCompile(`{\w+}`).ReplaceAllString(path, "a")})
			}
		}
	}
	slices.SortFunc(out, func(a, b [2]string) int { return strings.Compare(a[1]+a[0], b[1]+b[0]) })
	if len(out) < 15 {
		t.Fatalf("only %v take a body", out)
	}
	return out
}

// answered: whatever was sent, the answer is one that the API gives on purpose.
func answered(t *testing.T, resp *http.Response, sent string) {
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusInternalServerError || resp.StatusCode == 0 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		t.Errorf("%q: %d %s", sent, resp.StatusCode, text)
	}
}

// FuzzBodies sends each operation whatever may come as its body.
func FuzzBodies(f *testing.F) {
	_, base := serve(f, &fake{})
	all := withBodies(f, base)
	for i := range all {
		for _, body := range []string{
			`{"reason":"r","on":true,"hosts":["a"],"host":"a","path":"p","source":"rules: []","life":"24h","force":true,"shadow":true,"vm":"v"}`,
			`[[[[`, `{"reason":null}`, `null`, `{"hosts":[null,{}]}`, `{"life":"-1h","on":"yes"}`, ``,
		} {
			f.Add(i, []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, i int, body []byte) {
		op := all[uint(i)%uint(len(all))]
		answered(t, request(t, op[0], base+op[1], string(body)), op[0]+" "+op[1]+" "+string(body))
	})
}

// FuzzPaths asks for whatever may stand in an address.
func FuzzPaths(f *testing.F) {
	_, base := serve(f, &fake{})
	for _, path := range []string{
		"/v1/hosts?limit=-1&after=%00", "/v1/hosts/%2e%2e/x", "/v1/vms?limit=99999999999999999999", "/v1/incidents?state=all&host=%F0%9F", "/v1/incidents/7f",
		"/v1/audit?since=tomorrow", "/v1/policy/explain?vm=", "/v1/events?after=a-b", "/v1//status", "/v1/status?x=y", "/healthz", "/metrics", "/",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if !strings.HasPrefix(path, "/") {
			return
		}
		if _, err := http.NewRequest(http.MethodGet, base+path, nil); err != nil {
			return // no client can send it
		}
		answered(t, request(t, "GET", base+path, ""), path)
	})
}
