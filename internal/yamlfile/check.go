package yamlfile

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

var (
	unmarshalerType = reflect.TypeFor[yaml.Unmarshaler]()
	textType        = reflect.TypeFor[encoding.TextUnmarshaler]()
	durationType    = reflect.TypeFor[time.Duration]()
	nodeType        = reflect.TypeFor[yaml.Node]()
)

// checker compares a tree with the Go type that it will be decoded into, and
// collects everything that is wrong. The YAML library would find most of it
// too, but in its own words, without a column, and it reads `key:` without a
// value as "default". What is wrong is taken out of the tree, so that the rest
// can be decoded; wounded are the lists and mappings that lost something.
type checker struct {
	errs    Errors
	wounded map[*yaml.Node]bool
}

func check(root *yaml.Node, into any) (wounded map[*yaml.Node]bool, errs Errors) {
	t := reflect.TypeOf(into)
	if t == nil || t.Kind() != reflect.Pointer {
		return nil, Errors{{Message: fmt.Sprintf("cannot be decoded into %T: not a pointer", into)}}
	}
	c := checker{wounded: map[*yaml.Node]bool{}}
	c.value(root, t.Elem())
	return c.wounded, c.errs
}

// fail notes a mistake and returns false, for "this value can't be decoded".
func (c *checker) fail(n *yaml.Node, hint, format string, args ...any) bool {
	e := At(n, format, args...)
	e.Hint = hint
	c.errs = append(c.errs, e)
	return false
}

// value checks the value n (alias or not) against t, and says whether it, or
// what is left of it, can be decoded.
func (c *checker) value(n *yaml.Node, t reflect.Type) bool {
	at := n
	n = resolve(n)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return c.fail(at, "", "no value here; give one, or remove the key")
	}
	if n.Style&yaml.TaggedStyle != 0 {
		return c.fail(at, "", "tags like %s are not supported", n.Tag)
	}
	switch {
	case t == nodeType:
		return true
	case reflect.PointerTo(t).Implements(unmarshalerType):
		return c.try(at, n, t)
	case reflect.PointerTo(t).Implements(textType), t == durationType:
		return c.scalar(at, n, t)
	}
	switch t.Kind() {
	case reflect.Struct:
		return c.structure(at, n, t)
	case reflect.Map:
		return c.mapping(at, n, t)
	case reflect.Slice, reflect.Array:
		return c.list(at, n, t)
	case reflect.Interface:
		return true
	default:
		return c.scalar(at, n, t)
	}
}

func (c *checker) list(at, n *yaml.Node, t reflect.Type) bool {
	if n.Kind != yaml.SequenceNode {
		return c.fail(at, "", "expected a list, got %s", describe(n))
	}
	var kept []*yaml.Node
	for _, item := range n.Content {
		if c.value(item, t.Elem()) {
			kept = append(kept, item)
		}
	}
	c.keep(n, kept)
	return true
}

// keep leaves only what can be decoded in a list or mapping.
func (c *checker) keep(n *yaml.Node, kept []*yaml.Node) {
	if len(kept) < len(n.Content) {
		n.Content, c.wounded[n] = kept, true
	}
}

func (c *checker) structure(at, n *yaml.Node, t reflect.Type) bool {
	if n.Kind != yaml.MappingNode {
		return c.fail(at, "", "expected keys and values (name: value), got %s", describe(n))
	}
	known := fields(t)
	c.keys(n, func(key, value *yaml.Node) bool {
		ft, ok := known[key.Value]
		if !ok {
			return c.fail(key, suggest(key.Value, known), "unknown key %q", key.Value)
		}
		return c.value(value, ft)
	})
	return true
}

func (c *checker) mapping(at, n *yaml.Node, t reflect.Type) bool {
	if n.Kind != yaml.MappingNode {
		return c.fail(at, "", "expected keys and values (name: value), got %s", describe(n))
	}
	c.keys(n, func(key, value *yaml.Node) bool {
		k, v := c.value(key, t.Key()), c.value(value, t.Elem())
		return k && v
	})
	return true
}

// keys calls each once a key, and reports keys that are given twice, that are
// no plain text, or that merge another mapping.
func (c *checker) keys(n *yaml.Node, each func(key, value *yaml.Node) bool) {
	first := map[string]int{}
	var kept []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch line, twice := first[key.Value]; {
		case key.Kind != yaml.ScalarNode:
			c.fail(key, "", "a key must be plain text, got %s", describe(key))
		case key.Value == "<<" && key.Style == 0:
			c.fail(key, "write the keys out, or use *name for a whole value", "merging with << is not supported")
		case twice:
			c.fail(key, "", "%q is given twice; first at line %d", key.Value, line)
		default:
			first[key.Value] = key.Line
			if each(key, value) {
				kept = append(kept, key, value)
			}
		}
	}
	c.keep(n, kept)
}

// scalar checks one value of a plain type.
func (c *checker) scalar(at, n *yaml.Node, t reflect.Type) bool {
	want := expected(t)
	if n.Kind != yaml.ScalarNode {
		return c.fail(at, "", "expected %s, got %s", want, describe(n))
	}
	if t == durationType && n.Value != "0" && n.ShortTag() != "!!str" {
		return c.fail(at, "", "expected %s, got %q", want, n.Value)
	}
	if isNumber(t) && octalLooking(n.Value) {
		return c.fail(at, "write it without the leading zero", "%q could be read as octal", n.Value)
	}
	if reflect.PointerTo(t).Implements(textType) {
		return c.try(at, n, t)
	}
	if n.Load(reflect.New(t).Interface()) != nil {
		return c.fail(at, "", "expected %s, got %s", want, describe(n))
	}
	return true
}

// try lets a type's own method judge the value.
func (c *checker) try(at, n *yaml.Node, t reflect.Type) bool {
	var err error
	switch target := reflect.New(t).Interface().(type) {
	case yaml.Unmarshaler:
		err = target.UnmarshalYAML(n)
	case encoding.TextUnmarshaler:
		if err = target.UnmarshalText([]byte(n.Value)); err != nil {
			err = fmt.Errorf("%w, got %s", err, describe(n))
		}
	}
	if err != nil {
		c.errs = append(c.errs, located(at, err)...)
	}
	return err == nil
}

// resolve follows aliases; bounded() has refused those without an end.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// fields lists a struct's keys as the YAML library names them.
func fields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("yaml")
		name, opts, _ := strings.Cut(tag, ",")
		if tag == "-" || (f.PkgPath != "" && !f.Anonymous) {
			continue
		}
		if strings.Contains(opts, "inline") {
			ft := f.Type
			if ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			if ft.Kind() == reflect.Struct {
				for k, v := range fields(ft) {
					out[k] = v
				}
			}
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		out[name] = f.Type
	}
	return out
}
