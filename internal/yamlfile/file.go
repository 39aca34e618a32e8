package yamlfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
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
	root *yaml.Node // the top mapping, without what is wrong in shape

	shape    Errors              // what is wrong in shape: keys and types
	wounded  map[*yaml.Node]bool // lists and mappings that lost something because of that
	doubtful map[*Error]bool     // errors of the reader's rules that may only follow from it
	hidden   map[int]bool        // lines that no message may show
	shown    int                 // snippets made so far
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

// Survey is Parse for readers that report the mistakes of shape and of meaning
// together: into gets what could be read, and the reader's own errors go through
// All. The File is nil, and the error is all there is to say, if nothing could
// be read.
func Survey(path string, data []byte, into any) (*File, error) {
	f, errs := begin(path, data, into)
	if f.root == nil {
		return nil, f.finish(errs)
	}
	f.shape = errs
	if err := f.root.Load(into, yaml.WithKnownFields()); err != nil {
		return nil, f.finish(append(errs, located(f.root, err)...))
	}
	return f, nil
}

// begin reads the text and compares it with into's type. Without a root nothing
// can be decoded; with errors the root lacks what they are about.
func begin(path string, data []byte, into any) (*File, Errors) {
	f := &File{path: path, data: data, doubtful: map[*Error]bool{}, hidden: map[int]bool{}}
	root, errs := parse(data)
	if len(errs) > 0 {
		return f, errs
	}
	f.root = root
	f.wounded, errs = check(root, into)
	return f, errs
}

// All joins the mistakes of shape with own, those that the reader found by
// Errorf: sorted, with snippets, fifty at most. It leaves out own ones that
// may only follow from one of shape: "no address" where "adress" is unknown.
func (f *File) All(own Errors) error {
	errs := slices.Clone(f.shape)
	for _, e := range own {
		if !f.doubtful[e] {
			errs = append(errs, e)
		}
	}
	return f.finish(errs)
}

// Hide keeps a line out of all messages: it holds a secret.
func (f *File) Hide(line int) { f.hidden[line] = true }

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
	f, errs := begin(path, data, into)
	if len(errs) == 0 {
		if err := f.root.Load(into, yaml.WithKnownFields()); err != nil {
			errs = located(f.root, err)
		}
	}
	if err := f.finish(errs); err != nil {
		return nil, err
	}
	return f, nil
}

// Mistakes shown of one file: more would only hide the first, and each costs a
// walk through the file.
const maxErrors = 50

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
		switch {
		case f.hidden[e.Line]:
			e.Snippet = ""
		case e.Snippet == "":
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
	at, inner := f.find(key)
	e.Line, e.Column = at.Line, at.Column
	if f.wounded[inner] {
		f.doubtful[e] = true
	}
	if f.shown++; f.shown <= 2*maxErrors && !f.hidden[e.Line] { // each costs a walk through the file; All makes those that are missing
		e.Snippet = snippet(f.data, e.Line, e.Column)
	}
	return e
}

// Pos returns the line and column of the value at key, both from 1; see Errorf
// for keys. A list or mapping that begins on a line of its own is where its key
// is. Without such a value: the nearest thing around it.
func (f *File) Pos(key string) (line, column int) {
	at, _ := f.find(key)
	return at.Line, at.Column
}

// find returns the node that stands for the place of the value at key, and the
// value itself, or the innermost one around it.
func (f *File) find(key string) (at, node *yaml.Node) {
	node, at = f.root, f.root
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
	return at, node
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
