package policy

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// Seen is what a cloud has now of what rules name. A nil set is unknown: nothing is said about it.
type Seen struct {
	Zones      map[string]bool // in which a host is
	Aggregates map[string]bool // in which a host is
	Flavors    map[string]bool // names, of which a VM is
	Projects   map[string]bool // ids and names, in which a VM is
	// Named: each of Projects is there with its name, too.
	Named bool
}

// mostUnseen bounds the advice of one policy: each looks for what may have been meant.
const mostUnseen = 20

// mention is one value of a policy that a cloud has or has not.
type mention struct {
	line        int
	where       string // for people: rule "pets" asks for
	kind, value string
}

// mentions are those of a file.
func (c *checker) mentions(f file) []mention {
	var out []mention
	add := func(at, where, kind string, list []string) {
		for i, v := range list {
			line, _ := c.file.Pos(fmt.Sprintf("%s[%d]", at, i))
			out = append(out, mention{line, where, kind, v})
		}
	}
	add("ephemeral.shared_aggregates", "ephemeral.shared_aggregates names", "aggregate", f.Ephemeral.SharedAggregates)
	if f.Rules == nil {
		return out
	}
	for i, r := range *f.Rules {
		if r.Match == nil {
			continue
		}
		where, at := fmt.Sprintf("rule %q asks for", r.Name), fmt.Sprintf("rules[%d].match.", i)
		add(at+"project", where, "project", r.Match.Project)
		add(at+"zone", where, "zone", r.Match.Zone)
		add(at+"aggregate", where, "aggregate", r.Match.Aggregate)
		add(at+"flavor", where, "flavor", r.Match.Flavor)
	}
	return out
}

// Unseen is advice about values that the cloud has nowhere now: what they are meant for may come later, but a misspelt one
// quietly leaves its VMs to the next rule. By line; Seen is read only.
func (p *Policy) Unseen(s Seen) []Advice {
	known := map[string]map[string]bool{"project": s.Projects, "zone": s.Zones, "aggregate": s.Aggregates, "flavor": s.Flavors}
	nobody := map[string]string{"project": "in which no VM is now", "zone": "in which no host is now", "aggregate": "in which no host is now", "flavor": "of which no VM is now"}
	var out []Advice
	more := 0
	for _, m := range p.mentions {
		if known[m.kind] == nil || known[m.kind][m.value] {
			continue
		}
		if len(out) == mostUnseen {
			more++
			continue
		}
		text := fmt.Sprintf("%s the %s %q, %s", m.where, m.kind, m.value, nobody[m.kind])
		if m.kind == "project" && !s.Named && !projectID.MatchString(m.value) {
			text = fmt.Sprintf("%s the project %q by its name, and names of projects can't be read here: it can't be told which VMs are meant; give the project's id", m.where, m.value)
		} else if near := nearest(m.value, known[m.kind]); near != "" {
			text += fmt.Sprintf("; did you mean %q?", near)
		}
		out = append(out, Advice{m.line, text})
	}
	if more > 0 {
		out = append(out, Advice{out[len(out)-1].Line, fmt.Sprintf("and %d more values that nothing has now", more)})
	}
	slices.SortStableFunc(out, func(a, b Advice) int { return cmp.Compare(a.Line, b.Line) })
	return out
}

// mostAlike bounds the names that one misspelt value is compared with: each takes about 30 µs.
const mostAlike = 500

// nearest is what was probably meant, "" also where too many names are about as long.
func nearest(value string, known map[string]bool) string {
	var about []string
	for name := range known {
		if d := len(name) - len(value); max(d, -d) <= 1+len(value)/3 {
			about = append(about, name)
		}
	}
	if len(about) > mostAlike {
		return ""
	}
	slices.Sort(about)
	return yamlfile.Nearest(value, about)
}
