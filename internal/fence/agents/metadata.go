package agents

import (
	"encoding/xml"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// Metadata is what an agent says about itself with the action metadata
// (ClusterLabs' fence agent API).
type Metadata struct {
	Name       string
	Actions    map[string]Action
	Parameters map[string][]string // name to allowed values; nil: anything
}

// Action is one action of an agent.
type Action struct {
	Automatic bool // done by the cluster when a node joins: only fabric agents
	OnTarget  bool // done on the machine itself
}

// ParseMetadata reads the XML that an agent prints.
func ParseMetadata(data []byte) (Metadata, error) {
	var doc struct {
		XMLName    xml.Name `xml:"resource-agent"`
		Name       string   `xml:"name,attr"`
		Parameters []struct {
			Name    string `xml:"name,attr"`
			Content struct {
				Type    string `xml:"type,attr"`
				Options []struct {
					Value string `xml:"value,attr"`
				} `xml:"option"`
			} `xml:"content"`
		} `xml:"parameters>parameter"`
		Actions []struct {
			Name      string `xml:"name,attr"`
			Automatic string `xml:"automatic,attr"`
			OnTarget  string `xml:"on_target,attr"`
		} `xml:"actions>action"`
	}
	if err := xml.Unmarshal(data, &doc); err != nil {
		return Metadata{}, fmt.Errorf("its metadata makes no sense: %w", err)
	}
	m := Metadata{Name: doc.Name, Actions: map[string]Action{}, Parameters: map[string][]string{}}
	for _, p := range doc.Parameters {
		var values []string
		if p.Content.Type == "select" {
			values = []string{}
			for _, o := range p.Content.Options {
				values = append(values, o.Value)
			}
		}
		m.Parameters[p.Name] = values
	}
	for _, a := range doc.Actions {
		// An action may be listed twice; what speaks against it counts.
		old := m.Actions[a.Name]
		m.Actions[a.Name] = Action{Automatic: old.Automatic || yes(a.Automatic), OnTarget: old.OnTarget || yes(a.OnTarget)}
	}
	return m, nil
}

// yes reads XML's booleans; what isn't clearly a no is a yes, since both
// attributes speak against an agent.
func yes(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "", "0", "false", "no":
		return false
	}
	return true
}

// Provable says why an agent can't prove that a machine is without power; nil
// if it can: it switches off and on, tells the state, and neither cuts off
// storage or network (fabric fencing: "on" is automatic) nor works on the
// machine itself.
func (m Metadata) Provable() error {
	for _, need := range []string{"off", "on", "status"} {
		if _, ok := m.Actions[need]; !ok {
			return fmt.Errorf("it has no action %s: off could not be proven or undone", need)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Actions)) {
		a := m.Actions[name]
		switch {
		case a.Automatic:
			return fmt.Errorf("it is a fabric agent (action %s is automatic): the machine's VMs would go on running", name)
		case a.OnTarget && (name == "off" || name == "on" || name == "status"):
			return fmt.Errorf("its action %s runs on the machine itself, which may be dead", name)
		}
	}
	if values, ok := m.Parameters["method"]; ok && len(values) > 0 && !slices.Contains(values, "onoff") {
		return fmt.Errorf("it doesn't know method onoff, only %s", strings.Join(values, ", "))
	}
	return nil
}

// CheckOptions finds options that the agent doesn't know: it would ignore them
// and perhaps switch another outlet. The place of a secret (password_file) stands
// for the secret.
func (m Metadata) CheckOptions(options map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(options)) {
		param, secret := fence.SecretOption(name)
		values, ok := m.Parameters[param]
		if !ok {
			hint := ""
			if near := yamlfile.Nearest(param, slices.Sorted(maps.Keys(m.Parameters))); near != "" {
				hint = fmt.Sprintf(", did you mean %q?", near)
			}
			return fmt.Errorf("it has no option %q%s", name, hint)
		}
		if !secret && len(values) > 0 && !slices.Contains(values, options[name]) {
			return fmt.Errorf("option %s: %q is none of %s", name, options[name], strings.Join(values, ", "))
		}
	}
	return nil
}
