package yamlfile

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is one mistake in an operator's file.
type Error struct {
	Path    string // the file, as it was named to us; may be empty
	Line    int    // from 1; 0 means the file as a whole
	Column  int    // from 1, in characters; 0 means unknown
	Message string // what is wrong, without position
	Hint    string // what was probably meant, for example `did you mean "address"?`; may be empty
	Snippet string // the source line and a line with a caret under the column; may be empty
}

// Error prints "path:line:column: message, hint" and the snippet below it.
func (e *Error) Error() string {
	s := e.Summary()
	if e.Snippet != "" {
		s += "\n" + e.Snippet
	}
	return s
}

// Summary is the first line of Error: position, message and hint, for places
// that have one line only.
func (e *Error) Summary() string {
	var b strings.Builder
	switch {
	case e.Path != "" && e.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", e.Path, e.Line, e.Column)
	case e.Path != "":
		fmt.Fprintf(&b, "%s: ", e.Path)
	case e.Line > 0:
		fmt.Fprintf(&b, "line %d, column %d: ", e.Line, e.Column)
	}
	b.WriteString(e.Message)
	if e.Hint != "" {
		b.WriteString(", " + e.Hint)
	}
	return b.String()
}

// Errors are all mistakes found in one file, sorted by position.
type Errors []*Error

// Error prints every mistake, one after the other.
func (es Errors) Error() string {
	parts := make([]string, len(es))
	for i, e := range es {
		parts[i] = e.Error()
	}
	return strings.Join(parts, "\n")
}

// Unwrap lets errors.As find the first *Error.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// Err sorts the mistakes by position and returns them as an error: nil if there
// is none, a plain *Error if there is one.
func (es Errors) Err() error {
	switch len(es) {
	case 0:
		return nil
	case 1:
		return es[0]
	}
	es.sort()
	return es
}

func (es Errors) sort() {
	slices.SortStableFunc(es, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
}

// List returns the mistakes inside err: those of an Errors or a single *Error,
// nil if err holds none.
func List(err error) []*Error {
	var many Errors
	if errors.As(err, &many) {
		return many
	}
	var one *Error
	if errors.As(err, &one) {
		return []*Error{one}
	}
	return nil
}

// Columns shown of a long source line: enough to recognise the place.
const snippetWidth = 100

// secretValue finds the value of a key that looks like a secret. Files only
// name a secret's place, but a mistaken `password: …` must not reach a log.
var secretValue = regexp.MustCompile(`(?i)("?[\w-]*(?:pass|secret|token|credential)[\w-]*"?\s*:\s*)([^\s,}\]][^,}\]]*)`)

// secretReference are the keys that name a secret's place, which may be shown.
var secretReference = regexp.MustCompile(`(?i)_(file|env)"?\s*:\s*$`)

// snippet shows line (from 1) of data and a caret under column (from 1).
func snippet(data []byte, line, column int) string {
	text, ok := sourceLine(data, line)
	if !ok || column < 1 {
		return ""
	}
	runes := []rune(text)
	column = min(column, len(runes)+1)
	start := 0
	if column > snippetWidth {
		start = column - snippetWidth/2
	}
	shown := runes[start:min(len(runes), start+snippetWidth)]
	for i, r := range shown {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			shown[i] = ' ' // a file must not steer the operator's terminal; keeps the caret in place
		}
	}
	return "    " + strings.TrimRight(string(shown), " ") + "\n    " + strings.Repeat(" ", column-1-start) + "^"
}

// sourceLine returns one line of data with the values of secrets masked.
func sourceLine(data []byte, line int) (string, bool) {
	text := string(data)
	for i := 1; i < line; i++ {
		_, rest, found := strings.Cut(text, "\n")
		if !found {
			return "", false
		}
		text = rest
	}
	text, _, _ = strings.Cut(text, "\n")
	text = strings.TrimRight(text, "\r")
	if line < 1 || strings.TrimSpace(text) == "" {
		return "", false
	}
	return maskSecrets(text), true
}

// maskSecrets keeps the length, so that a caret behind a secret stays in place.
func maskSecrets(text string) string {
	return secretValue.ReplaceAllStringFunc(text, func(m string) string {
		parts := secretValue.FindStringSubmatch(m)
		if secretReference.MatchString(parts[1]) {
			return m
		}
		return parts[1] + strings.Repeat("*", utf8.RuneCountInString(parts[2]))
	})
}
