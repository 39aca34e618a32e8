package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// rule is one checked rule.
type rule struct {
	path     string
	name     string
	line     int
	match    []condition // all must hold; none: everyone
	action   Action
	priority int
	rebuild  bool
	stopped  Stopped
}

// where names the rule for people: rule "pets" (policy.yaml:4).
func (r rule) where() string {
	if r.line == 0 {
		return fmt.Sprintf("rule %q", r.name)
	}
	return fmt.Sprintf("rule %q (%s:%d)", r.name, r.path, r.line)
}

func (c *checker) rules(list []fileRule) []rule {
	if len(list) == 0 {
		c.fail("rules", "no rules here; leave `rules` out to resurrect everyone, or give one")
	}
	named := map[string]int{}
	out := make([]rule, len(list))
	for i, raw := range list {
		at := fmt.Sprintf("rules[%d]", i)
		out[i] = c.rule(at, raw)
		if first, twice := named[raw.Name]; twice && raw.Name != "" {
			c.fail(at+".name", "a rule named %q exists already, at line %d", raw.Name, first)
		} else {
			named[raw.Name] = out[i].line
		}
	}
	return out
}

func (c *checker) rule(at string, raw fileRule) rule {
	r := rule{name: raw.Name, priority: defaultPriority, stopped: StoppedAuto}
	r.line, _ = c.file.Pos(at)
	if strings.TrimSpace(raw.Name) == "" {
		c.fail(at, "a rule needs a name; the name is what operators read at night")
	}
	if raw.Match != nil {
		for key, given := range map[string]map[string]values{"flavor_extra": raw.Match.FlavorExtra, "image_property": raw.Match.ImageProperty, "metadata": raw.Match.Metadata} {
			if given != nil && len(given) == 0 {
				c.fail(at+".match."+key, "%s is empty; give a key and its value, or remove it", key)
			}
		}
		if r.match = raw.Match.conditions(); len(r.match) == 0 {
			c.fail(at+".match", "match is empty; leave it out for a rule that matches everyone")
		}
	}
	switch raw.OnHostFailure {
	case "":
		c.fail(at, "the rule doesn't say what to do; add on_host_failure: resurrect, leave or rebuild")
	case "rebuild":
		r.action, r.rebuild = Resurrect, true
	default:
		r.action = Action(raw.OnHostFailure)
		oneOf(c, at+".on_host_failure", raw.OnHostFailure, string(Resurrect), string(Leave), "rebuild")
	}
	if raw.Priority != nil {
		r.priority = *raw.Priority
		c.number(at+".priority", r.priority, 0, maxPriority)
	}
	if raw.Stopped != "" {
		r.stopped = raw.Stopped
		oneOf(c, at+".stopped", raw.Stopped, StoppedAuto, StoppedLeave, StoppedResurrect)
	}
	return r
}

// advice finds rules that can't be reached and files that forget somebody.
func (c *checker) advice(rules []rule) []Advice {
	var out []Advice
	for i, r := range rules {
		if len(r.match) > 0 {
			continue
		}
		if i+1 < len(rules) {
			next := rules[i+1]
			out = append(out, Advice{next.line, fmt.Sprintf("rule %q and those after it never decide: rule %q (line %d) matches everyone", next.name, r.name, r.line)})
		}
		return out
	}
	if len(rules) > 0 {
		last := rules[len(rules)-1]
		out = append(out, Advice{last.line, "no rule is for everyone else: a VM that matches none is left where it is; end with a rule without `match` to say what happens to it"})
	}
	return out
}

// oneOf checks a word, and says which are possible and which was probably meant.
func oneOf[T ~string](c *checker, key string, got T, known ...T) {
	if slices.Contains(known, got) {
		return
	}
	words := make([]string, len(known))
	for i, k := range known {
		words[i] = string(k)
	}
	e := c.file.Errorf(key, "%q is not possible here", string(got))
	e.Hint = "possible are: " + strings.Join(words, ", ")
	if near := yamlfile.Nearest(string(got), words); near != "" {
		e.Hint = fmt.Sprintf("did you mean %q?", near)
	}
	c.errs = append(c.errs, e)
}
