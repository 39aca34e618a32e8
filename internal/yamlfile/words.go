package yamlfile

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// describe names a value in words for "expected …, got …".
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	}
	const most = 60
	if r := []rune(n.Value); len(r) > most {
		return fmt.Sprintf("%q…", string(r[:most]))
	}
	return fmt.Sprintf("%q", n.Value)
}

// expected names a plain Go type in an operator's words.
func expected(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration like 12s or 5m"
	case t == reflect.TypeFor[Duration]():
		return "a duration like 12s, 5m or 90d"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<t.Bits()-1)
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64:
		return "a whole number"
	case isNumber(t):
		return "a number"
	}
	return "one value"
}

func isNumber(t reflect.Type) bool {
	return t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64
}

// octalLooking: YAML 1.1 readers take 010 for 8, YAML 1.2 readers for 10.
func octalLooking(s string) bool {
	s = strings.TrimLeft(s, "+-")
	return len(s) > 1 && s[0] == '0' && s[1] >= '0' && s[1] <= '9'
}

// suggest says which known key was probably meant, or lists them all.
func suggest[V any](got string, known map[string]V) string {
	names := slices.Sorted(maps.Keys(known))
	if near := Nearest(got, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(names) == 0 {
		return "no keys are known here"
	}
	return "known here: " + strings.Join(names, ", ")
}

// Nearest returns the name in known that got is probably a misspelling of, or
// "" when none is near: at most one edit in three characters, at least one.
func Nearest(got string, known []string) string {
	if len(got) > 64 {
		return "" // no key of ours is that long, and the distance is quadratic
	}
	got = strings.ToLower(strings.ReplaceAll(got, "-", "_"))
	best, bestDistance := "", max(1, len(got)/3)+1
	for _, name := range known {
		if d := distance(got, strings.ToLower(name)); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours between a and b.
func distance(a, b string) int {
	ra, rb := []rune(a), []rune(b)
	rows := make([][]int, len(ra)+1)
	for i := range rows {
		rows[i] = make([]int, len(rb)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(ra); i++ {
		for j := 1; j <= len(rb); j++ {
			cost := 1
			if ra[i-1] == rb[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && ra[i-1] == rb[j-2] && ra[i-2] == rb[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(ra)][len(rb)]
}
