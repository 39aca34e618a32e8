package house

import (
	"fmt"
	"slices"
	"strings"
)

// wiring are the only packages that bring the shells together.
var wiring = []string{"internal/server", "internal/agent", "internal/cli", "internal/sim"}

// apart are packages that don't know of each other.
var apart = []string{"internal/detect", "internal/fence", "internal/cloud", "internal/policy", "internal/store"}

// shells touch the world; a package outside wiring may use one of them at most.
var shells = []string{"internal/detect", "internal/fence", "internal/cloud", "internal/store", "internal/transport"}

// owned are libraries that only one place of ours may import, so that a change
// of the library is a change of one package.
var owned = []struct {
	library string
	owners  []string
}{
	{"github.com/gophercloud/", []string{"internal/cloud/openstack"}},
	{"go.etcd.io/", []string{"internal/store"}},
	{"google.golang.org/grpc", []string{"internal/transport", "proto"}}, // proto: generated code
}

// impure is what a package without I/O must not import.
var impure = []string{"net", "net/http", "os", "os/exec", "io/fs", "log", "log/slog", "sync", "syscall", "context", "math/rand", "math/rand/v2"}

// pure are the packages without clock, network, goroutine or log.
var pure = []string{"internal/engine", "internal/policy"}

// in reports whether pkg is root or lies below it.
func in(pkg, root string) bool { return pkg == root || strings.HasPrefix(pkg, root+"/") }

func inAny(pkg string, roots []string) string {
	for _, r := range roots {
		if in(pkg, r) {
			return r
		}
	}
	return ""
}

// dependencies checks who imports whom. Tests may import what they need.
func dependencies(files []source) []violation {
	var out []violation
	used := map[string]map[string]bool{} // package outside wiring -> shells it imports
	for _, s := range files {
		if s.test {
			continue
		}
		fail := func(line int, format string, args ...any) {
			out = append(out, violation{s.file, line, fmt.Sprintf(format, args...)})
		}
		for _, imp := range s.imports {
			for _, o := range owned {
				if strings.HasPrefix(imp.path, o.library) && inAny(s.pkg, o.owners) == "" {
					fail(imp.line, "%s imports %s; only %s may: go through its interface", s.pkg, imp.path, strings.Join(o.owners, " and "))
				}
			}
			if inAny(s.pkg, pure) != "" && slices.Contains(impure, imp.path) {
				fail(imp.line, "%s imports %s, but it is pure: time, randomness and the world are handed in as events", s.pkg, imp.path)
			}
			ours, found := strings.CutPrefix(imp.path, module)
			if !found {
				continue
			}
			if why := forbidden(s.pkg, ours); why != "" {
				fail(imp.line, "%s imports %s: %s", s.pkg, ours, why)
			}
			if shell := inAny(ours, shells); shell != "" && !in(s.pkg, shell) && inAny(s.pkg, wiring) == "" {
				if used[s.pkg] == nil {
					used[s.pkg] = map[string]bool{}
				}
				if used[s.pkg][shell] = true; len(used[s.pkg]) == 2 {
					fail(imp.line, "%s brings two shells together (%s is the second); only %s wire: declare an interface where you use it", s.pkg, shell, strings.Join(wiring, ", "))
				}
			}
		}
	}
	return out
}

// forbidden says why pkg may not import ours, "" if it may.
func forbidden(pkg, ours string) string {
	from, to := inAny(pkg, apart), inAny(ours, apart)
	switch {
	case in(pkg, "cmd") && !in(ours, "internal/cli"):
		return "main only hands over to internal/cli"
	case ours == "internal/planted":
		return "" // constants; in the build for the simulation's own test, what it must find
	case in(pkg, "internal/engine") && !in(ours, "internal/engine") && !in(ours, "internal/policy"):
		return "the engine imports no package of ours but policy: it decides, shells act"
	case from != "" && to != "" && from != to:
		return strings.Join(apart, ", ") + " don't know of each other; server, agent, cli and sim bring them together"
	case (from != "" || in(pkg, "internal/transport") || in(pkg, "internal/yamlfile")) && inAny(ours, append([]string{"internal/engine", "internal/api", "internal/dashboard"}, wiring...)) != "":
		return "what is wired together must not know who wires it"
	}
	return ""
}
