package openstack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

// noEnv hides the caller's own credentials.
func noEnv(t *testing.T) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "OS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clouds.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestOpenErrors: what an operator can have wrong before anything is asked, and what they read then.
func TestOpenErrors(t *testing.T) {
	noEnv(t)
	two := writeFile(t, "clouds: {prod: {auth: {auth_url: 'http://k:5000/v3', username: u, password: p}}, lab: {auth: {auth_url: 'http://k:5000/v3', username: u}}}\n")
	for _, tc := range []struct {
		name string
		o    Options
		says string
	}{
		{"nothing at all", Options{}, "no cloud is named: set cloud.name in server.yaml"},
		{"no file", Options{Cloud: "prod"}, `cannot find cloud "prod": no clouds.yaml at clouds.yaml, `},
		{"no such file", Options{Cloud: "prod", ConfigFile: "/nonexistent/clouds.yaml"}, "no clouds.yaml at /nonexistent/clouds.yaml"},
		{"unknown name", Options{Cloud: "prdo", ConfigFile: two}, `has no cloud "prdo"; it has: lab, prod`},
		{"no clouds", Options{Cloud: "prod", ConfigFile: writeFile(t, "cloud: {}\n")}, "none at all"},
		{"not YAML", Options{Cloud: "prod", ConfigFile: writeFile(t, "clouds: [\n")}, "cannot read"},
		{"no password", Options{Cloud: "lab", ConfigFile: two}, "no password for user u at http://k:5000/v3"},
		{"no user", Options{Login: &Login{AuthURL: "http://k/v3", Password: "p"}}, "no user for http://k/v3"},
		{"no scheme", Options{Login: &Login{AuthURL: "k:5000/v3", Username: "u", Password: "p"}}, "must begin with http"},
		{"interface", Options{Login: &Login{AuthURL: "http://k/v3", Username: "u", Password: "p", Interface: "privat"}}, `"privat" is none of public, internal, admin`},
		{"CA file", Options{Login: &Login{AuthURL: "http://k/v3", Username: "u", Password: "p", CACertFile: "/nonexistent.pem"}}, "CA certificate"},
	} {
		if _, err := Open(tc.o); !contains(err, tc.says) {
			t.Errorf("%s: got %v\nwant it to say %q", tc.name, err, tc.says)
		}
	}
}

// TestSources: the same login from clouds.yaml and from the environment.
func TestSources(t *testing.T) {
	f := newFake(t, says(200, `{"services": []}`))
	noEnv(t)
	file := writeFile(t, fmt.Sprintf(`clouds:
  prod:
    region_name: RegionOne
    interface: internal
    auth: {auth_url: %s/v3, username: u, password: p, project_name: service, user_domain_name: Default, project_domain_name: Default}
  good:
    auth: {auth_url: %s/v3, username: u, password: p, project_name: service, user_domain_name: Default, project_domain_name: Default}
`, f.URL, f.URL))
	c, err := Open(Options{Cloud: "good", ConfigFile: file})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Services(t.Context()); err != nil {
		t.Error(err)
	}
	if want := `cloud "good" of ` + file; c.Source() != want {
		t.Errorf("source %q, want %q", c.Source(), want)
	}
	t.Setenv("OS_CLIENT_CONFIG_FILE", file)
	if c, err = Open(Options{Cloud: "prod"}); err != nil {
		t.Fatal(err)
	}
	if _, err = c.Services(t.Context()); !contains(err, `no compute endpoint (interface internal) in region "RegionOne"; the catalogue has: public in region RegionOne`) {
		t.Errorf("got %v", err)
	}
	for k, v := range map[string]string{"OS_AUTH_URL": f.URL + "/v3", "OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_PROJECT_NAME": "service", "OS_USER_DOMAIN_NAME": "Users", "OS_INTERFACE": "publicURL"} {
		t.Setenv(k, v)
	}
	if c, err = Open(Options{}); err != nil {
		t.Fatal(err)
	}
	if a := c.cred.auth; a.DomainName != "Users" || a.Scope.ProjectName != "service" || a.Scope.DomainName != "Default" && a.Scope.DomainName != "Users" {
		t.Errorf("auth options: domain %q, scope %+v", a.DomainName, a.Scope)
	}
	if _, err := c.Services(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCapabilities(t *testing.T) {
	f := newFake(t, says(500, ""))
	c := f.client(t)
	caps, err := c.Capabilities(t.Context())
	if err != nil || caps.Max != 93 || caps.Min != 1 || caps.KeepsStopped() || caps.UserID != "u1" || caps.Project != "service" || caps.Endpoints["placement"] != f.URL+"/placement/" {
		t.Errorf("%+v, %v", caps, err)
	}
	f.set(func() { f.max = "2.100" })
	if caps, err = c.Capabilities(t.Context()); err != nil || !caps.KeepsStopped() || c.session.Load().caps.Max != 100 {
		t.Errorf("after an upgrade: %+v, %v", caps, err)
	}
	for _, bad := range []string{"2.72", "", "3.1", "2.x"} {
		f.set(func() { f.max = bad })
		if _, err := f.client(t).Capabilities(t.Context()); !errors.Is(err, cloud.ErrUnavailable) {
			t.Errorf("microversion %q: got %v", bad, err)
		}
	}
	f.set(func() { f.max = "2.72" })
	if _, err := f.client(t).Capabilities(t.Context()); !contains(err, "too old: it offers microversions up to 2.72, Ninelives needs 2.79 (Train)") {
		t.Errorf("got %v", err)
	}
}

// TestLoginLater: a client opened while Keystone refuses works as soon as it doesn't.
func TestLoginLater(t *testing.T) {
	f := newFake(t, says(200, `{"services": []}`))
	f.refuse = true
	c := f.client(t)
	if _, err := c.Services(t.Context()); !errors.Is(err, cloud.ErrUnauthorized) || !contains(err, "doesn't accept user ninelives: check name, password") {
		t.Errorf("got %v", err)
	}
	f.set(func() { f.refuse = false })
	if _, err := c.Services(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSecretsStayHidden(t *testing.T) {
	l := Login{AuthURL: "http://k/v3", Username: "u", Password: "hunter2", ApplicationCredentialSecret: "hunter3"}
	for _, text := range []string{fmt.Sprint(l), fmt.Sprintf("%v %+v %#v", l, l, l), fmt.Sprintf("%+v", Options{Login: &l}), l.LogValue().String()} {
		if strings.Contains(text, "hunter") {
			t.Errorf("a secret shows: %s", text)
		}
	}
}
