package house

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// unwanted are words that have no place in a file that others get: work put off without a word of what it is, and paths
// of somebody's own machine.
var unwanted = []struct {
	word *regexp.Regexp
	why  string
}{
	{regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX)\b`), "finish it, or write down what is missing where its users look"},
	{regexp.MustCompile(`/(ho` + `me|Us` + `ers)/[a-z][a-z0-9_-]*|/ro` + `ot/(go|\.[a-z]+)\b`), "a path of somebody's own machine"},
}

// words looks for unwanted ones in every text file of the tree, whatever its language.
func words(tree fs.FS) []violation {
	var out []violation
	err := fs.WalkDir(tree, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", "bin", "dist", "rapid"}, d.Name()) {
				return fs.SkipDir // not ours to keep, or made by a run
			}
			return nil
		}
		if !d.Type().IsRegular() || path.Ext(file) == ".sum" {
			return nil
		}
		text, err := fs.ReadFile(tree, file)
		if err != nil {
			return err
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return nil // no text
		}
		for n, line := range strings.Split(string(text), "\n") {
			for _, u := range unwanted {
				if found := u.word.FindString(line); found != "" {
					out = append(out, violation{file, n + 1, fmt.Sprintf("%s: %s", found, u.why)})
				}
			}
		}
		return nil
	})
	if err != nil {
		out = append(out, violation{".", 0, "cannot be walked: " + err.Error()})
	}
	return out
}
