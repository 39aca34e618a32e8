package house

import (
	"bytes"
	"fmt"
	"go/ast"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

const maxLines = 500

// nameless are package names that say nothing about what is inside.
var nameless = []string{"util", "utils", "helper", "helpers", "manager", "common", "misc", "base", "lib", "shared", "types"}

// hygiene checks what keeps files readable and tests fast.
func hygiene(files []source) []violation {
	var out []violation
	for _, s := range files {
		if ast.IsGenerated(s.ast) {
			continue
		}
		fail := func(line int, format string, args ...any) {
			out = append(out, violation{s.file, line, fmt.Sprintf(format, args...)})
		}
		name := strings.TrimSuffix(s.ast.Name.Name, "_test")
		for _, n := range []string{name, path.Base(s.pkg)} {
			if slices.Contains(nameless, n) {
				fail(1, "a package named %q says nothing; name it after what it does", n)
				break
			}
		}
		if !s.test && s.lines > maxLines {
			fail(s.lines, "%d lines; a file of more than %d is two files", s.lines, maxLines)
		}
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "init" && f.Recv == nil {
				fail(s.line(f), "no work in init(): let the one who needs it call it")
			}
		}
		if s.test && !in(s.pkg, "test") { // test/ drives a real cloud, in real time
			bubbles := s.bubbles()
			s.uses("time", []string{"Sleep"}, func(_ string, line int) {
				if slices.ContainsFunc(bubbles, func(b [2]int) bool { return b[0] <= line && line <= b[1] }) {
					return // virtual: nobody waits
				}
				fail(line, "time.Sleep in a test: slow, and still wrong on a busy machine; use testing/synctest or a handed-in clock")
			})
		}
		if !s.test && inAny(s.pkg, pure) != "" {
			s.uses("time", []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}, func(what string, line int) {
				fail(line, "time.%s in %s, which is pure: the time comes with the event", what, s.pkg)
			})
			ast.Inspect(s.ast, func(n ast.Node) bool {
				if g, ok := n.(*ast.GoStmt); ok {
					fail(s.line(g), "a goroutine in %s, which is pure", s.pkg)
				}
				return true
			})
		}
	}
	return out
}

// stale compares generated pages (path from the root -> what it should hold now).
func stale(tree fs.FS, pages map[string][]byte, regenerate string) []violation {
	var out []violation
	for _, file := range slices.Sorted(maps.Keys(pages)) {
		got, err := fs.ReadFile(tree, file)
		switch {
		case err != nil:
			out = append(out, violation{file, 0, "cannot be read: " + err.Error() + "; " + regenerate})
		case !bytes.Equal(got, pages[file]):
			out = append(out, violation{file, firstDifference(got, pages[file]), "is not what the code says now; " + regenerate})
		}
	}
	return out
}

func firstDifference(a, b []byte) int {
	line := 1
	for i := 0; i < len(a) && i < len(b) && a[i] == b[i]; i++ {
		if a[i] == '\n' {
			line++
		}
	}
	return line
}
