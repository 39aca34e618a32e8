package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/ninelives-ha/ninelives/"

// source is one parsed Go file.
type source struct {
	file    string // from the module's root: internal/fence/off.go
	pkg     string // its directory: internal/fence
	test    bool
	lines   int
	set     *token.FileSet
	ast     *ast.File
	imports []imported
}

type imported struct {
	path string
	line int
}

// violation is a broken rule, in words.
type violation struct {
	file string
	line int
	text string
}

func (v violation) String() string { return fmt.Sprintf("%s:%d: %s", v.file, v.line, v.text) }

// read parses all Go files of a tree. What the go tool ignores is left out.
func read(tree fs.FS) ([]source, []violation) {
	var out []source
	var broken []violation
	err := fs.WalkDir(tree, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if file != "." && (name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") {
			return nil
		}
		text, err := fs.ReadFile(tree, file)
		if err != nil {
			return err
		}
		s := source{file: file, pkg: path.Dir(file), test: strings.HasSuffix(name, "_test.go"), lines: strings.Count(string(text), "\n"), set: token.NewFileSet()}
		if s.ast, err = parser.ParseFile(s.set, file, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			broken = append(broken, violation{file, 1, "cannot be parsed: " + err.Error()})
			return nil
		}
		for _, spec := range s.ast.Imports {
			p, _ := strconv.Unquote(spec.Path.Value)
			s.imports = append(s.imports, imported{p, s.line(spec)})
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		broken = append(broken, violation{".", 0, "cannot be walked: " + err.Error()})
	}
	return out, broken
}

func (s source) line(n ast.Node) int { return s.set.Position(n.Pos()).Line }

// name by which the file knows an imported package, "" if it doesn't import it.
func (s source) name(pkg string) string {
	for _, spec := range s.ast.Imports {
		if p, _ := strconv.Unquote(spec.Path.Value); p == pkg {
			if spec.Name != nil {
				return spec.Name.Name
			}
			return path.Base(pkg)
		}
	}
	return ""
}

// uses calls found for each pkg.Name in the file, with names as given.
func (s source) uses(pkg string, names []string, found func(name string, line int)) {
	local := s.name(pkg)
	if local == "" {
		return
	}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := sel.X.(*ast.Ident); ok && id.Name == local && slices.Contains(names, sel.Sel.Name) {
				found(sel.Sel.Name, s.line(sel))
			}
		}
		return true
	})
}

// bubbles are the first and last lines of the calls of synctest.Test.
func (s source) bubbles() [][2]int {
	var out [][2]int
	local := s.name("testing/synctest")
	ast.Inspect(s.ast, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Test" {
			if id, ok := sel.X.(*ast.Ident); ok && local != "" && id.Name == local {
				out = append(out, [2]int{s.line(call), s.set.Position(call.End()).Line})
			}
		}
		return true
	})
	return out
}
