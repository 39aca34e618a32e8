package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Bounds against files that are small but decode to something huge. Both are
// far above what 10,000 hosts need (about 50 nodes each).
const (
	maxNodes = 2_000_000 // with every alias followed
	maxDepth = 100
)

// parse turns data into the node of its top mapping.
func parse(data []byte) (*yaml.Node, Errors) {
	if len(data) > MaxSize {
		return nil, Errors{{Message: fmt.Sprintf("is larger than %d MiB", MaxSize>>20)}}
	}
	if e := checkBytes(data); e != nil {
		return nil, Errors{e}
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithV4Defaults())
	if err != nil {
		return nil, located(nil, err)
	}
	var doc, second yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) {
		return nil, Errors{{Message: "is empty"}}
	} else if err != nil {
		return nil, Errors{syntaxError(data, err)}
	}
	if err := loader.Load(&second); err == nil {
		at := second.Content[0]
		return nil, Errors{{Line: at.Line, Column: at.Column, Message: "a second document begins here; one file holds one document"}}
	} else if !errors.Is(err, io.EOF) {
		return nil, Errors{syntaxError(data, err)}
	}
	root := doc.Content[0]
	if e := bounded(root); e != nil {
		return nil, Errors{e}
	}
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil, Errors{{Message: "is empty"}}
	}
	if root.Kind != yaml.MappingNode {
		return nil, Errors{At(root, "expected keys and values (name: value), got %s", describe(root))}
	}
	return root, nil
}

// checkBytes finds what no text editor writes, with its place.
func checkBytes(data []byte) *Error {
	line, column := 1, 1
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return &Error{Line: line, Column: column, Message: fmt.Sprintf("byte 0x%02x is not UTF-8 text", data[i])}
		case r == '\n':
			line, column = line+1, 0
		case r < ' ' && r != '\t' && !isNewline(data[i:]), r == 0x7f, r == '\u0085', r == '\u2028', r == '\u2029':
			// The last three and a lone carriage return also end a line in
			// YAML, but in no editor: every line number would be off.
			return &Error{Line: line, Column: column, Message: fmt.Sprintf("control character U+%04X", r)}
		}
		column++
		i += size
	}
	return nil
}

// isNewline: \r\n, as other systems end lines.
func isNewline(data []byte) bool { return len(data) > 1 && data[0] == '\r' && data[1] == '\n' }

// syntaxError says where the YAML library gave up.
func syntaxError(data []byte, err error) *Error {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		return &Error{Message: "is not YAML: " + err.Error()}
	}
	e := &Error{Line: le.Mark.Line, Column: le.Mark.Column, Message: "is not YAML: " + le.Message}
	if le.ContextMsg != "" && le.ContextMark.Line > 0 {
		e.Hint = fmt.Sprintf("%s that began at line %d", le.ContextMsg, le.ContextMark.Line)
	}
	if text, ok := sourceLine(data, e.Line); ok {
		indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
		if i := strings.IndexByte(indent, '\t'); i >= 0 {
			return &Error{Line: e.Line, Column: i + 1, Message: "a tab indents this line; YAML wants spaces"}
		}
	}
	return e
}

// lastLine is the end of the last line that has text on it.
func lastLine(data []byte) (line, column int) {
	text := strings.TrimRight(string(data), " \t\r\n")
	return strings.Count(text, "\n") + 1, utf8.RuneCountInString(text[strings.LastIndexByte(text, '\n')+1:]) + 1
}

// bounded refuses trees that are too deep, that contain themselves, or that
// grow beyond maxNodes when aliases are followed.
func bounded(root *yaml.Node) *Error {
	size := map[*yaml.Node]int{}
	const working = -1
	var walk func(n *yaml.Node, depth int) (int, *Error)
	walk = func(n *yaml.Node, depth int) (int, *Error) {
		if depth > maxDepth {
			return 0, At(n, "nested more than %d levels deep", maxDepth)
		}
		if n.Kind == yaml.AliasNode {
			known, seen := size[n.Alias]
			if known == working {
				return 0, At(n, "*%s contains itself", n.Value)
			}
			if !seen {
				return walk(n.Alias, depth+1)
			}
			return known, nil
		}
		size[n] = working
		total := 1
		for _, c := range n.Content {
			m, err := walk(c, depth+1)
			if err != nil {
				return 0, err
			}
			if total += m; total > maxNodes {
				return 0, At(n, "holds more than %d values when every * is followed", maxNodes)
			}
		}
		size[n] = total
		return total, nil
	}
	_, err := walk(root, 0)
	return err
}

// located turns an error of the YAML library or of a custom unmarshaler into
// ours; without a position of its own it is at the node.
func located(node *yaml.Node, err error) Errors {
	if own := List(err); own != nil {
		return own
	}
	place := func(m yaml.Mark) (int, int) {
		if m.Line == 0 && node != nil {
			return node.Line, node.Column
		}
		return m.Line, m.Column
	}
	var many *yaml.LoadErrors
	var one *yaml.LoadError
	var out Errors
	switch {
	case errors.As(err, &many):
		for _, le := range many.Errors {
			out = append(out, ownOr(le, place)...)
		}
	case errors.As(err, &one):
		out = ownOr(one, place)
	default:
		e := &Error{Message: err.Error()}
		e.Line, e.Column = place(yaml.Mark{})
		out = Errors{e}
	}
	return out
}

// ownOr prefers the error that our unmarshaler returned to the library's wrapper.
func ownOr(le *yaml.LoadError, place func(yaml.Mark) (int, int)) Errors {
	if own := List(le.Unwrap()); own != nil {
		return own
	}
	e := &Error{Message: le.Message}
	if cause := le.Unwrap(); cause != nil {
		e.Message = cause.Error()
	}
	e.Line, e.Column = place(le.Mark)
	return Errors{e}
}
