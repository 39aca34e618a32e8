package policy

// VM is what rules may ask about a virtual machine. A fact that could not be
// read stays at its zero value, which means unknown: nil is unknown, an empty
// slice or map is known to be empty (also in JSON).
type VM struct {
	ID              string            `json:"id"`
	Name            string            `json:"name"`
	ProjectID       string            `json:"project_id,omitempty"`
	ProjectName     string            `json:"project_name,omitempty"`
	Zone            string            `json:"zone,omitempty"`            // availability zone
	Aggregates      []string          `json:"aggregates,omitzero"`       // names of its host's aggregates
	Flavor          string            `json:"flavor,omitempty"`          // name
	FlavorExtra     map[string]string `json:"flavor_extra,omitzero"`     // extra specs
	ImageProperties map[string]string `json:"image_properties,omitzero"` // of the image or, booted from a volume, of the volume
	Metadata        map[string]string `json:"metadata,omitzero"`
	Tags            []string          `json:"tags,omitzero"`
}

// Decision is what the policy says about one VM, with its reason.
type Decision struct {
	Rule     string  `json:"rule,omitempty"` // name of the rule; empty: none matched
	Line     int     `json:"line,omitempty"` // where that rule begins; 0 for the built-in one
	Action   Action  `json:"action"`
	Priority int     `json:"priority"`          // 0 to 1000, higher comes first
	Rebuild  bool    `json:"rebuild,omitempty"` // where no living host sees the disk, its image may be used afresh; the data are lost
	Stopped  Stopped `json:"stopped"`
	Reason   string  `json:"reason"` // for people: rule "pets" (policy.yaml:4): tag automatic-recovery
}

// Same reports whether both lead to the same outcome, whatever the rule.
func (d Decision) Same(o Decision) bool {
	return d.Action == o.Action && d.Priority == o.Priority && d.Rebuild == o.Rebuild && d.Stopped == o.Stopped
}
