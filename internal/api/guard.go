package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// withToken lets health pass freely and everything else only with the admin token, in constant time. It stands before the
// router: without the token nobody learns which paths exist.
func withToken(o Options, health, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(o.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if r.URL.Path == "/healthz" || r.URL.Path == "/readyz" {
			health.ServeHTTP(w, r)
			return
		}
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(given)) // equal lengths: not even the token's length shows
		good := subtle.ConstantTimeCompare(got[:], want[:]) == 1 || o.Trusts != nil && o.Trusts(hex.EncodeToString(got[:]))
		if !good || !strings.EqualFold(scheme, "Bearer") {
			w.Header().Set("WWW-Authenticate", `Bearer realm="ninelives"`)
			write(w, problem(http.StatusUnauthorized, "give the admin token: --token-file, or NINELIVES_TOKEN; it lies in the server's data directory (admin.token)",
				"this needs the admin token"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// health says whether the process lives, and whether it can take part.
func health(b Backend) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { alive(w) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := b.Ready(r.Context()); err != nil {
			write(w, Unavailable("see the servers and their logs; without a majority nothing is decided", "not ready: %v", err))
			return
		}
		alive(w)
	})
	return known(mux)
}

func alive(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("{\"ok\":true}\n")) // nobody to tell if the client has gone
}

// known answers what the router doesn't know as a problem, like everything else.
func known(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(&plain{ResponseWriter: w, request: r}, r)
	})
}

// plain turns the router's own 404 and 405 into problems, keeping its Allow header.
type plain struct {
	http.ResponseWriter
	request *http.Request
}

func (p *plain) WriteHeader(status int) {
	if status < 400 { // a redirect to the clean path
		p.ResponseWriter.WriteHeader(status)
		return
	}
	detail := "there is nothing at " + p.request.URL.Path
	if status == http.StatusMethodNotAllowed {
		detail = p.request.Method + " doesn't go with " + p.request.URL.Path
	}
	write(p.ResponseWriter, problem(status, "/openapi.yaml lists what there is", "%s", detail))
}

// Write drops the router's own words.
func (p *plain) Write(b []byte) (int, error) { return len(b), nil }

func write(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", p.ContentType(""))
	w.Header().Del("Content-Length")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // nobody to tell if the client has gone
}

// documents serves the description of the API, made once.
func documents(mux *http.ServeMux, api huma.API) error {
	asJSON, err := json.MarshalIndent(api.OpenAPI(), "", "  ")
	if err != nil {
		return err
	}
	asYAML, err := api.OpenAPI().YAML()
	if err != nil {
		return err
	}
	serve := func(path, kind string, text []byte) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write(text)
		})
	}
	serve("/openapi.json", "application/openapi+json", asJSON)
	serve("/openapi.yaml", "application/openapi+yaml", asYAML)
	return nil
}
