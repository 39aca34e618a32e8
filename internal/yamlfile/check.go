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
// value as "default".
type checker struct{ errs Errors }

func check(root *yaml.Node, into any) Errors {
	t := reflect.TypeOf(into)
	if t == nil || t.Kind() != reflect.Pointer {
		return Errors{{Message: fmt.Sprintf("cannot be decoded into %T: not a pointer", into)}}
	}
	var c checker
	c.value(root, t.Elem())
	return c.errs
}

func (c *checker) fail(n *yaml.Node, hint, format string, args ...any) {
	e := At(n, format, args...)
	e.Hint = hint
	c.errs = append(c.errs, e)
}

// value checks the value n (alias or not) against t.
func (c *checker) value(n *yaml.Node, t reflect.Type) {
	at := n
	n = resolve(n)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		c.fail(at, "", "no value here; give one, or remove the key")
		return
	}
	if n.Style&yaml.TaggedStyle != 0 {
		c.fail(at, "", "tags like %s are not supported", n.Tag)
		return
	}
	switch {
	case t == nodeType:
		return
	case reflect.PointerTo(t).Implements(unmarshalerType):
		c.try(at, n, t)
		return
	case reflect.PointerTo(t).Implements(textType), t == durationType:
		c.scalar(at, n, t)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		c.structure(at, n, t)
	case reflect.Map:
		c.mapping(at, n, t)
	case reflect.Slice, reflect.Array:
		if n.Kind != yaml.SequenceNode {
			c.fail(at, "", "expected a list, got %s", describe(n))
			return
		}
		for _, item := range n.Content {
			c.value(item, t.Elem())
		}
	case reflect.Interface:
	default:
		c.scalar(at, n, t)
	}
}

func (c *checker) structure(at, n *yaml.Node, t reflect.Type) {
	if n.Kind != yaml.MappingNode {
		c.fail(at, "", "expected keys and values (name: value), got %s", describe(n))
		return
	}
	known := fields(t)
	c.keys(n, func(key, value *yaml.Node) {
		ft, ok := known[key.Value]
		if !ok {
			c.fail(key, suggest(key.Value, known), "unknown key %q", key.Value)
			return
		}
		c.value(value, ft)
	})
}

func (c *checker) mapping(at, n *yaml.Node, t reflect.Type) {
	if n.Kind != yaml.MappingNode {
		c.fail(at, "", "expected keys and values (name: value), got %s", describe(n))
		return
	}
	c.keys(n, func(key, value *yaml.Node) {
		c.value(key, t.Key())
		c.value(value, t.Elem())
	})
}

// keys calls each once a key, and reports keys that are given twice, that are
// no plain text, or that merge another mapping.
func (c *checker) keys(n *yaml.Node, each func(key, value *yaml.Node)) {
	first := map[string]int{}
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
			each(key, value)
		}
	}
}

// scalar checks one value of a plain type.
func (c *checker) scalar(at, n *yaml.Node, t reflect.Type) {
	want := expected(t)
	if n.Kind != yaml.ScalarNode {
		c.fail(at, "", "expected %s, got %s", want, describe(n))
		return
	}
	if t == durationType && n.Value != "0" && n.ShortTag() != "!!str" {
		c.fail(at, "", "expected %s, got %q", want, n.Value)
		return
	}
	if isNumber(t) && octalLooking(n.Value) {
		c.fail(at, "write it without the leading zero", "%q could be read as octal", n.Value)
		return
	}
	if reflect.PointerTo(t).Implements(textType) {
		c.try(at, n, t)
		return
	}
	if n.Load(reflect.New(t).Interface()) != nil {
		c.fail(at, "", "expected %s, got %s", want, describe(n))
	}
}

// try lets a type's own method judge the value.
func (c *checker) try(at, n *yaml.Node, t reflect.Type) {
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
