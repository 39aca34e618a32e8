package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// The formats of --output.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

// show prints what a request answered: for programs the API's own document, for people what table writes.
func (a *app) show(document any, table func(*page)) error {
	switch a.conn.output {
	case formatJSON:
		return writeJSON(a.env.Stdout, document)
	case formatYAML:
		return writeYAML(a.env.Stdout, document)
	}
	p := a.page()
	table(p)
	return p.flush(a.env.Stdout)
}

func writeJSON(w io.Writer, document any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(document)
}

// writeYAML writes the JSON document as YAML, with the same keys in the same order.
func writeYAML(w io.Writer, document any) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(document); err != nil {
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(text.Bytes(), &node); err != nil { // JSON is YAML
		return fmt.Errorf("cannot write this as YAML: %w", err)
	}
	plain(&node)
	out, err := yaml.Marshal(&node)
	if err != nil {
		return fmt.Errorf("cannot write this as YAML: %w", err)
	}
	_, err = w.Write(out)
	return err
}

// plain takes JSON's brackets and quotes away; the encoder puts back the quotes that are needed.
func plain(n *yaml.Node) {
	empty := len(n.Content) == 0 && n.Kind != yaml.ScalarNode
	if !empty && !oldScalar(n) {
		n.Style = 0
	}
	for _, c := range n.Content {
		plain(c)
	}
}

// oldScalar is a string that readers of YAML 1.1 take for something else: a bool (yaml.org/type/bool.html), or a number in
// base 60 (02:11:45).
func oldScalar(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode || n.Style&yaml.DoubleQuotedStyle == 0 {
		return false
	}
	switch strings.ToLower(n.Value) {
	case "y", "n", "yes", "no", "on", "off", "true", "false":
		return true
	}
	digits := strings.Trim(n.Value, "0123456789_.+-")
	return digits != "" && strings.Trim(n.Value, "0123456789_.+-:") == ""
}

// orEmpty makes a list that programs see as [] and not as null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
