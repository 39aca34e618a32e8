package wire

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"fmt"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// The simulated cloud's administrator and its ordinary user.
const (
	Username    = "admin"
	Password    = "simulated"
	ProjectName = "admin"
	Domain      = "Default"
	Region      = "RegionOne"

	adminUser    = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
	adminProject = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
	demoUser     = "1d2c3b4a59687f0e1d2c3b4a59687f0e"
	tokenLife    = time.Hour // Keystone's default
)

// AuthURL is Keystone's address, ending in /v3.
func (c *Cloud) AuthURL() string { return c.base + "/identity/v3" }

type tokenStore struct {
	mu   sync.Mutex
	live map[string]time.Time // until when
}

func (t *tokenStore) add(id string, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live[id] = until
}

func (t *tokenStore) valid(id string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return now.Before(t.live[id])
}

// RevokeTokens makes every token invalid, as a restart of Keystone with new keys does.
func (c *Cloud) RevokeTokens() {
	c.tokens.mu.Lock()
	defer c.tokens.mu.Unlock()
	c.tokens.live = map[string]time.Time{}
}

// idSource makes request ids and tokens. It is apart from the world's chance:
// the number of requests must not change what happens in the world.
type idSource struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func (s *idSource) seed(seed uint64) { s.rng = rand.New(rand.NewPCG(seed, 0x77697265)) }

func (s *idSource) uuid() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, b := s.rng.Uint64(), s.rng.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%x%03x-%012x", uint32(a>>32), uint16(a>>16), uint16(a)&0xfff, 8|(b>>62), uint16(b>>48)&0xfff, b&0xffffffffffff)
}

type authRequest struct {
	Auth struct {
		Identity struct {
			Methods  []string
			Password struct {
				User struct {
					ID, Name, Password string
					Domain             domain
				}
			}
		}
		Scope *struct {
			Project *struct {
				ID, Name string
				Domain   domain
			}
			System *struct{ All bool }
		}
	}
}

type domain struct{ ID, Name string }

func (d domain) known() bool {
	return (d.ID == "" || d.ID == "default") && (d.Name == "" || d.Name == Domain) && d != domain{}
}

// allowed says whether Keystone lets the caller in. An unknown project gives
// the same 401 as a wrong password, and Keystone never says which.
func (r authRequest) allowed() bool {
	u := r.Auth.Identity.Password.User
	byName := u.Name == Username && u.Domain.known()
	if len(r.Auth.Identity.Methods) != 1 || r.Auth.Identity.Methods[0] != "password" || u.Password != Password || !byName && u.ID != adminUser {
		return false
	}
	s := r.Auth.Scope
	if s == nil || s.Project == nil {
		return true
	}
	return s.Project.ID == adminProject || s.Project.Name == ProjectName && s.Project.Domain.known()
}

func (c *Cloud) postToken(w http.ResponseWriter, r *http.Request) {
	var req authRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&req); err != nil {
		keystoneError(w, http.StatusBadRequest, "Expecting to find auth in request body.")
		return
	}
	if !req.allowed() {
		keystoneError(w, http.StatusUnauthorized, "The request you have made requires authentication.")
		return
	}
	now, id := c.now(), c.ids.uuid()
	c.tokens.add(id, now.Add(tokenLife))
	w.Header().Set("X-Subject-Token", id)
	dom := obj{"id": "default", "name": Domain}
	token := obj{
		"methods": []string{"password"}, "issued_at": now.UTC().Format("2006-01-02T15:04:05.000000Z"),
		"expires_at": now.Add(tokenLife).UTC().Format("2006-01-02T15:04:05.000000Z"), "audit_ids": []string{id[:22]},
		"user":  obj{"id": adminUser, "name": Username, "domain": dom, "password_expires_at": nil},
		"roles": []obj{{"id": "r1", "name": "admin"}, {"id": "r2", "name": "member"}, {"id": "r3", "name": "reader"}},
	}
	if s := req.Auth.Scope; s != nil && s.System != nil {
		token["system"] = obj{"all": true}
		token["catalog"] = c.catalog()
	} else if s != nil {
		token["project"] = obj{"id": adminProject, "name": ProjectName, "domain": dom}
		token["is_domain"] = false
		token["catalog"] = c.catalog()
	}
	writeJSON(w, http.StatusCreated, obj{"token": token})
}

func (c *Cloud) catalog() []obj {
	var out []obj
	for _, s := range [][3]string{
		{"identity", "keystone", "/identity/v3"}, {"compute", "nova", "/compute/v2.1"},
		{"placement", "placement", "/placement"}, {"image", "glance", "/image"},
	} {
		var ends []obj
		for _, face := range []string{"public", "internal", "admin"} {
			ends = append(ends, obj{"id": s[1] + "-" + face, "interface": face, "region": Region, "region_id": Region, "url": c.base + s[2]})
		}
		out = append(out, obj{"id": s[1], "type": s[0], "name": s[1], "endpoints": ends})
	}
	return out
}

func (c *Cloud) keystoneRoutes(mux *http.ServeMux) {
	version := func(w http.ResponseWriter) obj {
		return obj{"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z", "links": []obj{{"rel": "self", "href": c.AuthURL() + "/"}},
			"media-types": []obj{{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}}}
	}
	mux.HandleFunc("GET /identity/{$}", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusMultipleChoices, obj{"versions": obj{"values": []obj{version(w)}}})
	})
	for _, p := range []string{"GET /identity/v3", "GET /identity/v3/{$}"} {
		mux.HandleFunc(p, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, obj{"version": version(w)}) })
	}
	mux.HandleFunc("POST /identity/v3/auth/tokens", c.postToken)
	mux.HandleFunc("GET /identity/v3/projects", c.authed(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, obj{"projects": []obj{project(adminProject, ProjectName), project(world.DemoProject, "demo")}, "links": obj{"next": nil}})
	}))
	mux.HandleFunc("GET /identity/v3/users", c.authed(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, obj{"users": []obj{user(adminUser, Username), user(demoUser, "demo")}, "links": obj{"next": nil}})
	}))
	mux.HandleFunc("GET /identity/v3/users/{id}", c.authed(func(w http.ResponseWriter, r *http.Request) {
		name, ok := map[string]string{adminUser: Username, demoUser: "demo"}[r.PathValue("id")]
		if !ok {
			keystoneError(w, http.StatusNotFound, "Could not find user: "+r.PathValue("id")+".")
			return
		}
		writeJSON(w, http.StatusOK, obj{"user": user(r.PathValue("id"), name)})
	}))
	mux.HandleFunc("GET /identity/v3/projects/{id}", c.authed(func(w http.ResponseWriter, r *http.Request) {
		name, ok := map[string]string{adminProject: ProjectName, world.DemoProject: "demo"}[r.PathValue("id")]
		if !ok {
			keystoneError(w, http.StatusNotFound, "Could not find project: "+r.PathValue("id")+".")
			return
		}
		writeJSON(w, http.StatusOK, obj{"project": project(r.PathValue("id"), name)})
	}))
}

func project(id, name string) obj {
	return obj{"id": id, "name": name, "domain_id": "default", "enabled": true, "is_domain": false, "parent_id": "default"}
}

func user(id, name string) obj {
	return obj{"id": id, "name": name, "domain_id": "default", "enabled": true}
}

func keystoneError(w http.ResponseWriter, code int, msg string) {
	writeJSON(w, code, obj{"error": obj{"code": code, "title": http.StatusText(code), "message": msg}})
}

// authed lets requests with a valid token through.
func (c *Cloud) authed(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !c.tokens.valid(r.Header.Get("X-Auth-Token"), c.now()) {
			w.Header().Set("WWW-Authenticate", `Keystone uri="`+c.base+`/identity"`)
			keystoneError(w, http.StatusUnauthorized, "The request you have made requires authentication.")
			return
		}
		h(w, r)
	}
}
