package policy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// match is the `match` mapping of a rule.
type match struct {
	Tag           values            `yaml:"tag"`
	Project       values            `yaml:"project"`
	Zone          values            `yaml:"zone"`
	Aggregate     values            `yaml:"aggregate"`
	Flavor        values            `yaml:"flavor"`
	Name          values            `yaml:"name"`
	FlavorExtra   map[string]values `yaml:"flavor_extra"`
	ImageProperty map[string]values `yaml:"image_property"`
	Metadata      map[string]values `yaml:"metadata"`
}

// values is one value or a list of them, any of which will do.
type values []string

// UnmarshalYAML reads a value or a list of values.
func (v *values) UnmarshalYAML(n *yaml.Node) error {
	items := []*yaml.Node{n}
	switch {
	case n.Kind == yaml.SequenceNode && len(n.Content) == 0:
		return yamlfile.At(n, "an empty list matches nothing; give a value, or remove the key")
	case n.Kind == yaml.SequenceNode:
		items = n.Content
	}
	out := make(values, 0, len(items))
	for _, item := range items {
		at := item
		if item.Kind == yaml.AliasNode {
			item = item.Alias
		}
		if item.Kind != yaml.ScalarNode || item.Value == "" || item.ShortTag() == "!!null" {
			return yamlfile.At(at, "expected a value or a list of values")
		}
		out = append(out, item.Value)
	}
	*v = out
	return nil
}

// truth is the answer to a question whose facts may be missing. The zero value
// is the careful one.
type truth int

const (
	unknown truth = iota
	no
	yes
)

// condition is one key of a match.
type condition struct {
	text string // for people: tag automatic-recovery
	fact string // what it looks at: tags
	test func(VM) truth
}

// conditions lists the keys of m in a fixed order.
func (m match) conditions() []condition {
	var out []condition
	add := func(key, fact string, want values, test func(VM) truth) {
		if want != nil {
			out = append(out, condition{text: key + " " + strings.Join(want, " or "), fact: fact, test: test})
		}
	}
	add("tag", "tags", m.Tag, func(vm VM) truth { return anyOf(vm.Tags, m.Tag) })
	add("project", "project name", m.Project, func(vm VM) truth { return inProject(vm, m.Project) })
	add("zone", "zone", m.Zone, func(vm VM) truth { return is(vm.Zone, m.Zone) })
	add("aggregate", "aggregates", m.Aggregate, func(vm VM) truth { return anyOf(vm.Aggregates, m.Aggregate) })
	add("flavor", "flavor", m.Flavor, func(vm VM) truth { return is(vm.Flavor, m.Flavor) })
	add("name", "name", m.Name, func(vm VM) truth { return named(vm.Name, m.Name) })
	each := func(key, fact string, want map[string]values, facts func(VM) map[string]string) {
		for _, k := range slices.Sorted(maps.Keys(want)) {
			add(fmt.Sprintf("%s %s =", key, k), fact, want[k], func(vm VM) truth { return entry(facts(vm), k, want[k]) })
		}
	}
	each("flavor_extra", "flavor extra specs", m.FlavorExtra, func(vm VM) map[string]string { return vm.FlavorExtra })
	each("image_property", "image properties", m.ImageProperty, func(vm VM) map[string]string { return vm.ImageProperties })
	each("metadata", "metadata", m.Metadata, func(vm VM) map[string]string { return vm.Metadata })
	return out
}

func said(ok bool) truth {
	if ok {
		return yes
	}
	return no
}

func is(fact string, want values) truth {
	if fact == "" {
		return unknown
	}
	return said(slices.Contains(want, fact))
}

func anyOf(facts []string, want values) truth {
	if facts == nil {
		return unknown
	}
	return said(slices.ContainsFunc(facts, func(f string) bool { return slices.Contains(want, f) }))
}

// entry looks at one key of a map. Nova's users write true, True and TRUE for
// the same thing, so these two words are compared without case.
func entry(facts map[string]string, key string, want values) truth {
	if facts == nil {
		return unknown
	}
	got, ok := facts[key]
	return said(ok && slices.ContainsFunc(want, func(w string) bool {
		if strings.EqualFold(w, "true") || strings.EqualFold(w, "false") {
			return strings.EqualFold(w, got)
		}
		return w == got
	}))
}

// projectID is what Keystone's project ids look like.
var projectID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// inProject compares with the project's id and name. A missing name only
// matters if the rule gives something that can be a name.
func inProject(vm VM, want values) truth {
	if vm.ProjectID != "" && slices.Contains(want, vm.ProjectID) || vm.ProjectName != "" && slices.Contains(want, vm.ProjectName) {
		return yes
	}
	for _, w := range want {
		if vm.ProjectID == "" || vm.ProjectName == "" && !projectID.MatchString(w) {
			return unknown
		}
	}
	return no
}

func named(name string, want values) truth {
	if name == "" {
		return unknown
	}
	return said(slices.ContainsFunc(want, func(pattern string) bool { return glob(pattern, name) }))
}

// glob matches name against a pattern in which * stands for any characters and
// ? for one. It takes at most len(pattern)×len(name) steps.
func glob(pattern, name string) bool {
	p, s := []rune(pattern), []rune(name)
	i, j, star, mark := 0, 0, -1, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == s[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}
