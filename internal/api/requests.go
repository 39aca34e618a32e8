package api

// MaintenanceRequest is the body of …/maintenance.
type MaintenanceRequest struct {
	On     bool   `json:"on"`
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"Needed to switch it on"`
}

// ReasonRequest is the body of acts that need a reason.
type ReasonRequest struct {
	Reason string `json:"reason" minLength:"1" maxLength:"1000"`
}

// RetryRequest is the body of …/retry.
type RetryRequest struct {
	VM     string `json:"vm,omitempty" maxLength:"255" doc:"Id or name; all that are held or failed if empty"`
	Reason string `json:"reason,omitempty" maxLength:"1000"`
}

// HostsRequest names hosts.
type HostsRequest struct {
	Hosts []string `json:"hosts,omitempty" maxItems:"10000"`
}

// BindRequest is the body of /v1/fence/bind.
type BindRequest struct {
	Host   string `json:"host" minLength:"1" maxLength:"255"`
	Reason string `json:"reason" minLength:"1" maxLength:"1000"`
}

// ArmRequest is the body of /v1/arm.
type ArmRequest struct {
	Shadow bool   `json:"shadow,omitempty" doc:"Decide and record everything, do nothing"`
	Force  bool   `json:"force,omitempty" doc:"Also against what doctor found"`
	Reason string `json:"reason,omitempty" maxLength:"1000"`
}

// TokenRequest is the body of /v1/tokens.
type TokenRequest struct {
	Host string `json:"host" minLength:"1" maxLength:"255" doc:"As Nova names it"`
	Life string `json:"life,omitempty" maxLength:"32" doc:"How long it can be used, for example 24h" example:"24h"`
}
