package house

import (
	"fmt"
	"regexp"
	"strings"
)

// command is one that a page tells its readers to type.
type command struct {
	line  int
	words []string // from the program's name on
}

var (
	fenced  = regexp.MustCompile("^\\s*```")
	spans   = regexp.MustCompile("`([^`]+)`")
	between = regexp.MustCompile(`&&|\|\||[|;()]`)
	quoted  = regexp.MustCompile(`"[^"]*"|'[^']*'`)
)

// commands finds what a Markdown page tells to type: each line of a fenced block, and each code span in the text.
func commands(page string) []command {
	var out []command
	inside := false
	for n, line := range strings.Split(page, "\n") {
		switch {
		case fenced.MatchString(line):
			inside = !inside
		case inside:
			out = append(out, typed(n+1, line)...)
		default:
			for _, m := range spans.FindAllStringSubmatch(line, -1) {
				out = append(out, typed(n+1, m[1])...)
			}
		}
	}
	return out
}

// typed takes one line of a shell apart, well enough for what our pages say.
func typed(n int, line string) []command {
	var out []command
	line, _, _ = strings.Cut(quoted.ReplaceAllString(line, "QUOTED"), " #")
	for _, part := range between.Split(line, -1) {
		w := strings.Fields(strings.TrimPrefix(strings.TrimSpace(part), "$ "))
		if len(w) > 1 && w[0] == "sudo" {
			w = w[1:]
		}
		if len(w) > 0 {
			w[0] = strings.TrimPrefix(w[0], "bin/")
		}
		if len(w) > 1 && (w[0] == "ninelives" || w[0] == "make") {
			out = append(out, command{n, w})
		}
	}
	return out
}

// wrong says what is wrong with a command of ours, given the help of the command that the program took it for; "" if
// nothing is.
func (c command) wrong(help func(words []string) string) string {
	var path, flags []string
	for _, w := range c.words[1:] {
		if strings.HasPrefix(w, "-") {
			flags = append(flags, strings.SplitN(w, "=", 2)[0])
		} else if len(flags) == 0 {
			path = append(path, w)
		}
	}
	text := help(path)
	_, usage, _ := strings.Cut(text, "Usage:\n")
	usage, _, _ = strings.Cut(usage, "\n")
	known := strings.Fields(usage)
	taken := 0
	for taken < len(path) && taken+1 < len(known) && known[taken+1] == path[taken] {
		taken++
	}
	if taken < len(path) && (taken == 0 || strings.Contains(text, "Available Commands:")) {
		return fmt.Sprintf("there is no command %q", strings.Join(append([]string{"ninelives"}, path[:taken+1]...), " "))
	}
	for _, f := range flags {
		if !regexp.MustCompile(`(?m)^\s+(-\w, )?` + regexp.QuoteMeta(f) + `[, ]`).MatchString(text) {
			return fmt.Sprintf("ninelives %s has no flag %s", strings.Join(path[:taken], " "), f)
		}
	}
	return ""
}
