package house

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var (
	linked = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// named is a file in a code span and the names that follow it: "`engine/life.go` back, revoke".
	named = regexp.MustCompile("`([a-z_./]+\\.go)` ?\\(?((?:[a-zA-Z]+(?:, )?)*)")
)

// missing looks for files that a page names and the tree has not: links, and code spans that begin with a directory that
// we have, or end as only a file does. They are meant from the root, from internal/, or from where the page lies.
func missing(tree fs.FS, page, text string) []violation {
	var out []violation
	for n, line := range strings.Split(text, "\n") {
		for _, m := range linked.FindAllStringSubmatch(line, -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := fs.Stat(tree, path.Join(path.Dir(page), target)); err != nil {
				out = append(out, violation{page, n + 1, "links to " + m[1] + ", which is not there"})
			}
		}
		for _, m := range spans.FindAllStringSubmatch(line, -1) {
			if span, _, _ := strings.Cut(m[1], " "); meansFile(tree, page, span) && !found(tree, page, span) {
				out = append(out, violation{page, n + 1, "names " + span + ", which is not there"})
			}
		}
	}
	return out
}

// bases are where a page's paths may begin.
func bases(page string) []string { return []string{".", "internal", path.Dir(page)} }

func meansFile(tree fs.FS, page, span string) bool {
	span = strings.TrimPrefix(span, "./")
	if strings.HasPrefix(span, "/") || strings.HasPrefix(span, "bin/") || strings.ContainsAny(span, "<>$~:()=") {
		return false // another machine's, or none, or built here
	}
	if slices.Contains([]string{".go", ".pml", ".proto", ".md"}, path.Ext(span)) {
		return true
	}
	first, rest, deep := strings.Cut(span, "/")
	return deep && rest != "" && slices.ContainsFunc(bases(page), func(b string) bool {
		d, err := fs.Stat(tree, path.Join(b, first))
		return err == nil && d.IsDir()
	})
}

func found(tree fs.FS, page, span string) bool {
	span = strings.TrimSuffix(strings.TrimPrefix(span, "./"), "/")
	if slices.ContainsFunc(bases(page), func(b string) bool {
		files, err := fs.Glob(tree, path.Join(b, span))
		return err == nil && len(files) > 0
	}) {
		return true
	}
	if strings.Contains(span, "/") {
		return false
	}
	// A bare name: of a package below the page's own, or of the table's row.
	return slices.ContainsFunc([]string{path.Join(path.Dir(page), "*"), "internal/*", "internal/*/*", "proto"}, func(b string) bool {
		files, err := fs.Glob(tree, path.Join(b, span))
		return err == nil && len(files) > 0 && (path.Dir(page) == "." || b == "proto" || strings.HasPrefix(b, path.Dir(page)))
	})
}

// unknown looks for functions that a page names right after their file and the file has not.
func unknown(tree fs.FS, page, text string) []violation {
	var out []violation
	for n, line := range strings.Split(text, "\n") {
		for _, m := range named.FindAllStringSubmatch(line, -1) {
			code, err := fs.ReadFile(tree, path.Join("internal", m[1]))
			if err != nil {
				continue // missing says so
			}
			for _, name := range strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' || r == ' ' }) {
				if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + name + `[\[(]`).Match(code) {
					out = append(out, violation{page, n + 1, m[1] + " has no function " + name})
				}
			}
		}
	}
	return out
}

// markdown are the pages of the tree, for people.
func markdown(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	tree := os.DirFS(root)
	err := fs.WalkDir(tree, ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "bin", "dist", "testdata"}, d.Name()):
			return fs.SkipDir
		case path.Ext(file) != ".md":
			return nil
		}
		text, err := fs.ReadFile(tree, file)
		out[file] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 15 {
		t.Errorf("only %d pages were found", len(out))
	}
	return out
}

func TestFilesThatPagesNameExist(t *testing.T) {
	tree := os.DirFS(root)
	all := markdown(t)
	for page, text := range all {
		for _, v := range missing(tree, page, text) {
			t.Error(v)
		}
	}
	const model = "test/model/README.md"
	for _, v := range unknown(tree, model, all[model]) {
		t.Error(v)
	}
}

func TestFilesThatAreMissingAreFound(t *testing.T) {
	tree := fstest.MapFS{
		"docs/a.md": {}, "internal/engine/life.go": {Data: []byte("func (e *Engine) back() {}\nfunc short[T any](v T) {}\n")}, "internal/engine/DESIGN.md": {},
		"internal/sim/soak/truth.go": {}, "internal/engine/testdata/a-b.txt": {}, "Makefile": {},
	}
	for _, c := range []struct {
		page, text string
		bad        int
	}{
		{"README.md", "[a](docs/a.md#top), [web](https://x/y), `docs/a.md`, `engine/life.go`, `/etc/engine/x.go`, `hosts/<host>`, `agents/x`", 0},
		{"README.md", "[b](docs/b.md) `docs/b.md`\n`engine/death.go` `internal/motor`", 4},
		{"docs/a.md", "[engine](../internal/engine/DESIGN.md) `life.go`", 1},
		{"internal/engine/DESIGN.md", "`life.go`, `testdata/a-*.txt`, `testdata/c-*.txt`", 1},
		{"internal/sim/DESIGN.md", "`truth.go`, `life.go`", 1},
		{"ARCHITECTURE.md", "`life.go`, `death.go`", 1},
	} {
		if got := missing(tree, c.page, c.text); len(got) != c.bad {
			t.Errorf("%s: %s: found %v, want %d", c.page, c.text, got, c.bad)
		}
	}
	if got := unknown(tree, "x.md", "`engine/life.go` (back, short), `engine/life.go` forth; `engine/gone.go` x | and so on"); len(got) != 1 || !strings.HasSuffix(got[0].text, "forth") {
		t.Errorf("found %v", got)
	}
}
