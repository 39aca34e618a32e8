package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// obj is a JSON object.
type obj map[string]any

func writeJSON(w http.ResponseWriter, code int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError) // a simulator's own mistake, seen by whoever asked
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(text) // the caller has gone: nothing to tell anybody
}

func parseMinor(s string) (int, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "2."))
	if err != nil || !strings.HasPrefix(s, "2.") || n < 1 {
		return 0, fmt.Errorf("%q is no Nova microversion", s)
	}
	return n, nil
}

func (c *Cloud) routes() http.Handler {
	mux := http.NewServeMux()
	c.keystoneRoutes(mux)
	c.novaRoutes(mux)
	c.placementRoutes(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.log.Debug("request", "method", r.Method, "path", r.URL.Path)
		w.Header().Set("X-Openstack-Request-Id", "req-"+c.ids.uuid()) // every OpenStack service sends one, with errors too
		mux.ServeHTTP(w, r)
	})
}

// call is one request to Nova on its way.
type call struct {
	*http.Request
	mv     int
	body   []byte
	caller world.Caller
	base   string // of the compute endpoint
}

// answer is Nova's. A nil body is an empty one. wait is how long Nova takes over it.
type answer struct {
	code int
	body any
	wait time.Duration
}

func ok(body any) answer { return answer{code: http.StatusOK, body: body} }

func no(e *world.Error) answer {
	names := map[int]string{
		400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod", 409: "conflictingRequest",
		413: "overLimit", 415: "badMediaType", 429: "overLimit", 501: "notImplemented", 503: "serviceUnavailable",
	}
	return answer{code: e.Code, body: obj{or(names[e.Code], "computeFault"): obj{"code": e.Code, "message": e.Message}}}
}

func bad(format string, args ...any) answer {
	return no(&world.Error{Code: 400, Message: fmt.Sprintf(format, args...)})
}

// handler answers a call; it runs under the world's lock.
type handler func(w *world.World, q *call) answer

func (c *Cloud) novaRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /compute/{$}", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, obj{"versions": []obj{c.novaVersion()}})
	})
	for _, p := range []string{"GET /compute/v2.1", "GET /compute/v2.1/{$}"} {
		mux.HandleFunc(p, func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, obj{"version": c.novaVersion()})
		})
	}
	for pattern, h := range map[string]handler{
		"GET /servers":                          listServers(false),
		"GET /servers/detail":                   listServers(true),
		"GET /servers/{id}":                     showServer,
		"DELETE /servers/{id}":                  deleteServer,
		"POST /servers/{id}/action":             serverAction,
		"GET /servers/{id}/os-instance-actions": listActions,
		"GET /servers/{id}/migrations":          liveMigrations,
		"GET /os-services":                      listServices,
		"PUT /os-services/{id}":                 putService,
		"PUT /os-services/force-down":           forceDown,
		"GET /os-hypervisors":                   listHypervisors(false),
		"GET /os-hypervisors/detail":            listHypervisors(true),
		"GET /os-migrations":                    listMigrations,
		"GET /os-aggregates":                    listAggregates,
		"GET /os-availability-zone":             listZones,
		"GET /os-availability-zone/detail":      listZones,
		"GET /os-server-groups":                 listGroups,
		"GET /flavors":                          listFlavors,
		"GET /flavors/detail":                   listFlavors,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" /compute/v2.1"+path, c.nova(h))
	}
	mux.HandleFunc("/compute/v2.1/", c.nova(func(*world.World, *call) answer {
		return no(&world.Error{Code: 404, Message: "The resource could not be found."})
	}))
}

func (c *Cloud) novaVersion() obj {
	return obj{
		"id": "v2.1", "status": "CURRENT", "version": fmt.Sprintf("2.%d", c.max), "min_version": "2.1", "updated": "2013-07-23T11:33:21Z",
		"links": []obj{{"rel": "self", "href": c.base + "/compute/v2.1/"}},
	}
}

// nova is what every call to Nova goes through: faults, token, microversion,
// the world's lock, and what a proxy in between does to the answer.
func (c *Cloud) nova(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := &call{Request: r, base: c.base + "/compute/v2.1"}
		q.caller = world.Caller{User: adminUser, Project: adminProject, RequestID: w.Header().Get("X-Openstack-Request-Id")}
		w.Header().Set("X-Compute-Request-Id", q.caller.RequestID)
		var err error
		if q.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20)); err != nil {
			send(w, bad("cannot read the request: %v", err))
			return
		}
		var fate world.Fate
		c.World(func(w *world.World) { fate = w.FateOf(r.Method != http.MethodGet) })
		c.pause(fate.Slow)
		switch {
		case fate.Status != 0:
			send(w, no(&world.Error{Code: fate.Status, Message: fate.Message}))
			return
		case !c.tokens.valid(r.Header.Get("X-Auth-Token"), c.now()):
			keystoneError(w, http.StatusUnauthorized, "The request you have made requires authentication.")
			return
		}
		if q.mv, err = c.microversion(r.Header); err != nil {
			send(w, no(&world.Error{Code: http.StatusNotAcceptable, Message: err.Error()}))
			return
		}
		version := fmt.Sprintf("2.%d", q.mv)
		w.Header().Set("OpenStack-API-Version", "compute "+version)
		w.Header().Set("X-OpenStack-Nova-API-Version", version)
		w.Header().Set("Vary", "OpenStack-API-Version, X-OpenStack-Nova-API-Version")
		if fate.Hold > 0 {
			c.held(w, q, h, fate)
			return
		}
		a := c.act(q, h)
		if fate.Lose {
			panic(http.ErrAbortHandler) // the way net/http offers to break the connection without an answer
		}
		c.pause(a.wait)
		send(w, a)
	}
}

func (c *Cloud) act(q *call, h handler) (a answer) {
	c.World(func(w *world.World) { a = h(w, q) })
	return a
}

// held is a proxy that keeps a request for a while and then delivers it, no
// matter whether its caller still waits.
func (c *Cloud) held(w http.ResponseWriter, q *call, h handler, f world.Fate) {
	done := make(chan answer, 1)
	c.wg.Go(func() {
		c.pause(f.Hold)
		if c.ctx.Err() == nil {
			done <- c.act(q, h)
		}
	})
	var gaveUp <-chan time.Time
	if f.GaveUp > 0 && f.GaveUp < f.Hold {
		t := time.NewTimer(f.GaveUp)
		defer t.Stop()
		gaveUp = t.C
	}
	select {
	case a := <-done:
		send(w, a)
	case <-gaveUp:
		http.Error(w, "<html><body><h1>504 Gateway Time-out</h1></body></html>", http.StatusGatewayTimeout)
	case <-c.ctx.Done():
	}
}

func send(w http.ResponseWriter, a answer) {
	if a.body == nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(a.code)
		return
	}
	writeJSON(w, a.code, a.body)
}

// microversion is what the caller asks for; nothing: 2.1.
func (c *Cloud) microversion(h http.Header) (int, error) {
	asked := h.Get("X-OpenStack-Nova-API-Version")
	if kind, v, found := strings.Cut(h.Get("OpenStack-API-Version"), " "); found && kind == "compute" {
		asked = v
	}
	switch asked {
	case "":
		return 1, nil
	case "latest":
		return c.max, nil
	}
	n, err := parseMinor(asked)
	if err != nil || n > c.max {
		return 0, fmt.Errorf("version %s is not supported by the API: the minimum is 2.1, the maximum 2.%d", asked, c.max)
	}
	return n, nil
}

// strict decodes a request body as Nova's schemas do: unknown keys are an error.
func strict(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// stamp and fraction are Nova's two ways to write a time.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

func fraction(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000")
}

// nextLink is the link to a listing's next page.
func (q *call) nextLink(marker string) []obj {
	v := q.URL.Query()
	v.Set("marker", marker)
	path := strings.TrimPrefix(q.URL.Path, "/compute/v2.1")
	return []obj{{"rel": "next", "href": q.base + path + "?" + v.Encode()}}
}

// limit reads the page size; false: it is no number.
func (q *call) limit() (int, bool) {
	s := q.URL.Query().Get("limit")
	if s == "" {
		return 0, true
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0
}
