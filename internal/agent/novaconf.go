package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// novaConf is nova-compute's configuration as oslo.config would read it: section → option → last value.
type novaConf struct {
	values map[string]map[string]string
	files  []string // that were read, in order
}

// readNovaConf reads the file at path, and beside it nova-compute.conf and the directories nova.conf.d and
// nova-compute.conf.d: later ones win, as for nova-compute. None there is no error: not every host has Nova.
func readNovaConf(path string) (novaConf, error) {
	c := novaConf{values: map[string]map[string]string{}}
	dir := filepath.Dir(path)
	compute := filepath.Join(dir, "nova-compute.conf")
	for _, file := range slices.Concat([]string{path, compute}, confDir(path+".d"), confDir(compute+".d")) {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return c, fmt.Errorf("cannot read Nova's configuration: %w", err)
		}
		parseINI(text, c.values)
		c.files = append(c.files, file)
	}
	return c, nil
}

func confDir(dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*.conf"))
	if err != nil { // only of a malformed pattern: a path with brackets
		return nil
	}
	slices.Sort(files)
	return files
}

// parseINI reads oslo.config's dialect: `key = value` or `key: value`, an indented line continues the value before,
// lines that begin with # or ; are comments, an option given again replaces (lists that repeat options are none that we
// read). Quotes around a whole value are dropped.
func parseINI(text []byte, into map[string]map[string]string) {
	section, last := "DEFAULT", ""
	for raw := range bytes.Lines(text) {
		line := strings.TrimRight(string(raw), " \t\r\n")
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';':
			continue
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				into[section][last] += "\n" + trimmed
			}
			continue
		case trimmed[0] == '[' && strings.HasSuffix(trimmed, "]"):
			section, last = trimmed[1:len(trimmed)-1], ""
			continue
		}
		i := strings.IndexAny(line, "=:")
		if i <= 0 {
			last = ""
			continue
		}
		last = strings.TrimSpace(line[:i])
		value := strings.TrimSpace(line[i+1:])
		if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		if into[section] == nil {
			into[section] = map[string]string{}
		}
		into[section][last] = value
	}
}

var reference = regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?`)

// get is an option's value with its $references replaced; "" if it isn't set, or refers to what isn't.
func (c novaConf) get(section, option string) string {
	return c.expand(c.values[section][option], section, 0)
}

func (c novaConf) expand(value, section string, depth int) string {
	if depth > 8 {
		return ""
	}
	unknown := false
	out := reference.ReplaceAllStringFunc(value, func(ref string) string {
		name := reference.FindStringSubmatch(ref)[1]
		v, ok := c.values[section][name]
		if !ok {
			v, ok = c.values["DEFAULT"][name]
		}
		if !ok && name == "state_path" {
			v, ok = defaultStatePath, true
		}
		v = c.expand(v, section, depth+1)
		unknown = unknown || !ok || v == ""
		return v
	})
	if unknown {
		return ""
	}
	return out
}

// defaultStatePath is what distributions' packages set; Nova's own default is the Python directory, which nobody uses.
const defaultStatePath = "/var/lib/nova"

func (c novaConf) instancesPath() string {
	if p := c.get("DEFAULT", "instances_path"); p != "" {
		return p
	}
	if _, set := c.values["DEFAULT"]["instances_path"]; set {
		return "" // it is something that we can't read
	}
	return c.expand("$state_path/instances", "DEFAULT", 0)
}

// yes is oslo.config's idea of a true value.
func yes(value string) bool {
	return slices.Contains([]string{"true", "1", "on", "yes"}, strings.ToLower(value))
}
