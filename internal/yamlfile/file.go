package yamlfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// MaxSize is the largest file that is read, in bytes. Devices of 10,000 hosts
// with two levels each take about 5 MB.
const MaxSize = 16 << 20

// File is a decoded file that still knows where each value stood, so that the
// rules of its reader ("no such aggregate", "below the floor of 12s") can be
// reported with line, column and caret as well.
type File struct {
	path string
	data []byte
	root *yaml.Node // the top mapping
}

// Load reads and decodes the file at path; see Decode. At most MaxSize bytes
// are read.
func Load(path string, into any) error {
	_, err := Open(path, into)
	return err
}

// Decode decodes data strictly into the struct that into points to; what it
// holds before are the defaults of everything the file doesn't say. The path is
// only used in messages. The error is an *Error or Errors, and then into is
// unchanged, unless an unmarshaler of its own accepts a value once and refuses
// it the second time.
func Decode(path string, data []byte, into any) error {
	_, err := Parse(path, data, into)
	return err
}

// Open is Load that also returns the File, for errors about its values.
func Open(path string, into any) (*File, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, &Error{Path: path, Message: "cannot be opened: " + reason(err)}
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, &Error{Path: path, Message: "cannot be read: " + reason(err)}
	}
	return Parse(path, data, into)
}

// Parse is Decode that also returns the File, for errors about its values.
func Parse(path string, data []byte, into any) (*File, error) {
	f := &File{path: path, data: data}
	root, errs := parse(data)
	if len(errs) == 0 {
		errs = check(root, into)
	}
	if len(errs) == 0 {
		if err := root.Load(into, yaml.WithKnownFields()); err != nil {
			errs = located(root, err)
		}
	}
	if err := f.finish(errs); err != nil {
		return nil, err
	}
	f.root = root
	return f, nil
}

// Mistakes shown of one file: more would only hide the first, and each costs a
// walk through the file.
const maxErrors = 20

// finish sorts the mistakes of this file and adds its name and the snippets.
func (f *File) finish(errs Errors) error {
	if len(errs) == 0 {
		return nil
	}
	errs.sort()
	more := len(errs) - maxErrors
	errs = errs[:min(len(errs), maxErrors)]
	line, column := lastLine(f.data)
	for _, e := range errs {
		e.Path = f.path
		// The YAML library points behind the end of an unfinished file.
		if e.Line > line {
			e.Line, e.Column = line, column
		}
		if e.Snippet == "" {
			e.Snippet = snippet(f.data, e.Line, e.Column)
		}
	}
	if more > 0 {
		last := errs[len(errs)-1]
		errs = append(errs, &Error{Path: f.path, Line: last.Line, Column: last.Column, Message: fmt.Sprintf("and %d more mistakes from here on", more)})
	}
	return errs.Err()
}

// Errorf makes an error about the value at key, for example "listen.api",
// "rules[2].match.tag" or `hosts["compute-01.example.org"].levels[0]`. If there
// is no such value, the error points to the nearest thing around it.
func (f *File) Errorf(key, format string, args ...any) *Error {
	e := &Error{Path: f.path, Message: fmt.Sprintf(format, args...)}
	e.Line, e.Column = f.Pos(key)
	e.Snippet = snippet(f.data, e.Line, e.Column)
	return e
}

// Pos returns the line and column of the value at key, both from 1; see Errorf
// for keys. A list or mapping that begins on a line of its own is where its key
// is. Without such a value: the nearest thing around it.
func (f *File) Pos(key string) (line, column int) {
	node, at := f.root, f.root
	for key != "" {
		var part string
		part, key = nextPart(key)
		name, value := child(node, part)
		if value == nil {
			break
		}
		node, at = resolve(value), value
		if name != nil && at.Line != name.Line {
			at = name
		}
	}
	return at.Line, at.Column
}

// child returns the value under part ("name" or "[3]") and, in a mapping, its key.
func child(node *yaml.Node, part string) (name, value *yaml.Node) {
	if node.Kind == yaml.SequenceNode {
		i, err := strconv.Atoi(strings.Trim(part, "[]"))
		if err != nil || i < 0 || i >= len(node.Content) {
			return nil, nil
		}
		return nil, node.Content[i]
	}
	if node.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == part {
			return node.Content[i], node.Content[i+1]
		}
	}
	return nil, nil
}

// nextPart splits the first step off a key.
func nextPart(key string) (part, rest string) {
	key = strings.TrimPrefix(key, ".")
	if strings.HasPrefix(key, "[") {
		if q, err := strconv.QuotedPrefix(key[1:]); err == nil {
			part, _ = strconv.Unquote(q)
			return part, strings.TrimPrefix(key[1+len(q):], "]")
		}
		part, rest, _ = strings.Cut(key, "]")
		return part + "]", rest
	}
	if i := strings.IndexAny(key, ".["); i >= 0 {
		return key[:i], key[i:]
	}
	return key, ""
}

// At makes an error about a node, for UnmarshalYAML methods: Decode adds file
// and snippet.
func At(node *yaml.Node, format string, args ...any) *Error {
	return &Error{Line: node.Line, Column: node.Column, Message: fmt.Sprintf(format, args...)}
}

// reason is err without the path that an os error repeats.
func reason(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
