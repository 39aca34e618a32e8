package house

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

const root = "../.."

func TestRulesOfTheHouse(t *testing.T) {
	files, broken := read(os.DirFS(root))
	if len(files) < 20 {
		t.Fatalf("only %d Go files found below %s", len(files), root)
	}
	broken = append(broken, dependencies(files)...)
	broken = append(broken, hygiene(files)...)
	broken = append(broken, words(os.DirFS(root))...)
	for _, v := range broken {
		t.Error(v)
	}
}

// Each case is a tree that breaks one rule, and the words it must be met with;
// an empty want is a tree that breaks none.
func TestCheckersFindViolations(t *testing.T) {
	imports := func(pkg string, paths ...string) string {
		return "package " + pkg + "\n\nimport (\n\t_ \"" + strings.Join(paths, "\"\n\t_ \"") + "\"\n)\n"
	}
	const bubble = "package fence\n\nimport (\n\t\"testing/synctest\"\n\t\"time\"\n)\n\nfunc f() {\n\tsynctest.Test(nil, func() {\n"
	for _, tc := range []struct{ name, file, text, want string }{
		{"engine may import policy", "internal/engine/a.go", imports("engine", module+"internal/policy"), ""},
		{"engine imports a shell", "internal/engine/a.go", imports("engine", module+"internal/store"), "internal/engine/a.go:4: internal/engine imports internal/store: the engine imports no package of ours but policy"},
		{"engine imports yamlfile", "internal/engine/a.go", imports("engine", module+"internal/yamlfile"), "no package of ours but policy"},
		{"policy may import yamlfile", "internal/policy/a.go", imports("policy", module+"internal/yamlfile"), ""},
		{"fence imports cloud", "internal/fence/ipmi/a.go", imports("ipmi", module+"internal/fence", module+"internal/cloud"), "a.go:5: internal/fence/ipmi imports internal/cloud: internal/detect,"},
		{"a driver imports its package", "internal/fence/ipmi/a.go", imports("ipmi", module+"internal/fence"), ""},
		{"a longer name is another package", "internal/fences/a.go", imports("fences", module+"internal/cloud"), ""},
		{"store imports server", "internal/store/a.go", imports("store", module+"internal/server"), "must not know who wires it"},
		{"main does work", "cmd/ninelives/main.go", imports("main", module+"internal/server"), "main only hands over to internal/cli"},
		{"main hands over", "cmd/ninelives/main.go", imports("main", module+"internal/cli"), ""},
		{"server wires", "internal/server/a.go", imports("server", module+"internal/store", module+"internal/cloud"), ""},
		{"api wires", "internal/api/a.go", imports("api", module+"internal/store", module+"internal/cloud"), "internal/api brings two shells together (internal/cloud is the second)"},
		{"api uses one shell", "internal/api/a.go", imports("api", module+"internal/store", module+"internal/engine"), ""},
		{"gophercloud outside", "internal/cloud/a.go", imports("cloud", "github.com/gophercloud/gophercloud/v2"), "only internal/cloud/openstack may"},
		{"gophercloud inside", "internal/cloud/openstack/a.go", imports("openstack", "github.com/gophercloud/gophercloud/v2"), ""},
		{"etcd outside", "internal/server/a.go", imports("server", "go.etcd.io/etcd/client/v3"), "only internal/store may"},
		{"grpc outside", "internal/agent/a.go", imports("agent", "google.golang.org/grpc"), "only internal/transport and proto may"},
		{"grpc codes outside", "internal/agent/a.go", imports("agent", "google.golang.org/grpc/codes"), "only internal/transport and proto may"},
		{"a test may import anything", "internal/cloud/a_test.go", imports("cloud", module+"internal/sim", "google.golang.org/grpc"), ""},
		{"engine logs", "internal/engine/a.go", imports("engine", "log/slog"), "but it is pure"},
		{"engine reads the clock", "internal/engine/a.go", "package engine\n\nimport \"time\"\n\nvar x = time.Now\n", "a.go:5: time.Now in internal/engine, which is pure"},
		{"engine starts a goroutine", "internal/engine/a.go", "package engine\n\nfunc f() { go f() }\n", "a goroutine in internal/engine"},
		{"engine counts time", "internal/engine/a.go", "package engine\n\nimport \"time\"\n\nconst x = time.Second\n", ""},
		{"a test sleeps", "internal/fence/a_test.go", "package fence_test\n\nimport clock \"time\"\n\nfunc f() { clock.Sleep(1) }\n", "a_test.go:5: time.Sleep in a test"},
		{"a test sleeps in virtual time", "internal/fence/a_test.go", bubble + "\t\ttime.Sleep(1)\n\t})\n}\n", ""},
		{"a test sleeps beside virtual time", "internal/fence/a_test.go", bubble + "\t})\n\ttime.Sleep(1)\n}\n", "a_test.go:11: time.Sleep in a test"},
		{"an end-to-end test may", "test/e2e/a_test.go", "package e2e\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n", ""},
		{"code may", "internal/fence/a.go", "package fence\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n", ""},
		{"a long file", "internal/fence/a.go", "package fence\n" + strings.Repeat("//\n", 500), "501 lines"},
		{"a file of 500", "internal/fence/a.go", "package fence\n" + strings.Repeat("//\n", 499), ""},
		{"a long test", "internal/fence/a_test.go", "package fence\n" + strings.Repeat("//\n", 700), ""},
		{"a long generated file", "proto/a.go", "// Code generated by a tool. DO NOT EDIT.\n\npackage proto\n" + strings.Repeat("//\n", 700), ""},
		{"a nameless package", "internal/fence/common/a.go", "package common\n", `a package named "common" says nothing`},
		{"a nameless directory", "internal/fence/util/a.go", "package fence\n", `a package named "util" says nothing`},
		{"init", "internal/fence/a.go", "package fence\n\nfunc init() {}\n", "no work in init()"},
		{"a method named init", "internal/fence/a.go", "package fence\n\ntype a int\n\nfunc (a) init() {}\n", ""},
		{"not Go", "internal/fence/a.go", "package fence\n\nfunc {", "cannot be parsed"},
		{"testdata is left alone", "internal/fence/testdata/util/a.go", "package util\n", ""},
	} {
		files, broken := read(fstest.MapFS{tc.file: {Data: []byte(tc.text)}})
		broken = append(append(broken, dependencies(files)...), hygiene(files)...)
		got := fmt.Sprint(broken)
		switch {
		case tc.want == "" && len(broken) > 0:
			t.Errorf("%s: nothing is wrong, but: %s", tc.name, got)
		case tc.want != "" && (len(broken) != 1 || !strings.Contains(got, tc.want)):
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

// The words are put together, so that this file doesn't hold them.
func TestWordsAreFound(t *testing.T) {
	later, home := "TO"+"DO", "/ho"+"me/"
	tree := fstest.MapFS{
		"a.go":                        {Data: []byte("package a\n\n// " + later + ": think\n")},
		"docs/a.md":                   {Data: []byte("see " + home + "ana/notes\n")},
		".ci/run":                     {Data: []byte("export GOPATH=/ro" + "ot/go\n")},
		"fine.md":                     {Data: []byte("WhatToDo, /root/ninelives.bundle, $HOME/.config, ProtectHome=yes\n")},
		"go.sum":                      {Data: []byte(later + " h1:\n")},
		"binary":                      {Data: []byte(later + "\x00")},
		".git/config":                 {Data: []byte(later)},
		"bin/a":                       {Data: []byte(later)},
		"internal/a/testdata/rapid/x": {Data: []byte(later)},
	}
	got := fmt.Sprint(words(tree))
	for _, want := range []string{"a.go:3: " + later, "docs/a.md:1: " + home + "ana", ".ci/run:1: "} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if n := len(words(tree)); n != 3 {
		t.Errorf("%d findings, want 3: %s", n, got)
	}
}

func TestStalePagesAreFound(t *testing.T) {
	tree := fstest.MapFS{"docs/a.md": {Data: []byte("one\ntwo\n")}, "docs/b.md": {Data: []byte("same\n")}}
	got := fmt.Sprint(stale(tree, map[string][]byte{"docs/a.md": []byte("one\n2\n"), "docs/b.md": []byte("same\n"), "docs/c.md": nil}, "run it"))
	for _, want := range []string{"docs/a.md:2: is not what the code says now; run it", "docs/c.md:0: cannot be read"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if strings.Contains(got, "b.md") {
		t.Errorf("b.md is current: %s", got)
	}
}
