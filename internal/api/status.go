package api

import (
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

// Status is one screen: everything that somebody woken at three in the morning must know first.
type Status struct {
	At      time.Time `json:"at"`
	Cluster string    `json:"cluster" doc:"Name of the cloud"`
	Server  string    `json:"server" doc:"The server that answers"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Partial string    `json:"partial,omitempty" doc:"Why parts of this are missing: only the leader knows of incidents"`

	Leader    string  `json:"leader" doc:"Name of the leading server, empty if none is known"`
	LeaderURL string  `json:"leader_url,omitempty" doc:"Its API, as that server names it"`
	Leads     bool    `json:"leads" doc:"Whether the answering server leads"`
	Epoch     int64   `json:"epoch"`
	Servers   Servers `json:"servers"`

	Switches engine.Switches               `json:"switches"`
	Zones    map[string]engine.Maintenance `json:"zones,omitempty" doc:"Zones in maintenance"`

	Hosts         HostCounts        `json:"hosts"`
	Incidents     []IncidentSummary `json:"incidents" doc:"Open ones, newest first"`
	WaitingForYou []string          `json:"waiting_for_you" doc:"What needs people, in sentences"`
	Interlocks    []HeldBy          `json:"interlocks" doc:"Why open incidents don't go on"`
	Fencing       FencingStatus     `json:"fencing"`
	Cloud         CloudStatus       `json:"cloud"`
	Times         []SafetyTime      `json:"times" doc:"Safety times in force"`
}

// Servers is how the quorum stands.
type Servers struct {
	Healthy int    `json:"healthy"`
	Of      int    `json:"of"`
	Quorum  bool   `json:"quorum"`
	Reason  string `json:"reason,omitempty" doc:"Why there is no quorum"`
	// Electing: there is no quorum for the moment only.
	Electing bool     `json:"electing,omitempty" doc:"A majority answers, but none of it leads yet: they elect one"`
	Members  []Member `json:"members"`
	Alarms   []string `json:"alarms,omitempty" doc:"Troubles of the database, each with what to do"`
}

// Member is one server.
type Member struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"`
	Healthy bool   `json:"healthy"`
	Learner bool   `json:"learner,omitempty" doc:"It has joined and copies the records; it has no vote yet"`
	Problem string `json:"problem,omitempty"`
	Foreign bool   `json:"foreign,omitempty" doc:"A server of another cluster answers at its address"`
	Leader  bool   `json:"leader,omitempty"`
}

// HostCounts counts compute hosts.
type HostCounts struct {
	Total       int            `json:"total"`
	Up          int            `json:"up" doc:"Alive, without any doubt"`
	Suspect     int            `json:"suspect"`
	ByVerdict   map[string]int `json:"by_verdict" doc:"The verdict \"unknown\" is a host that nobody has seen yet"`
	Maintenance int            `json:"maintenance"`
	Unprotected int            `json:"unprotected"`
	// Reasons are why hosts are unprotected, with the host's own name taken out so that equal ones can be counted.
	Reasons map[string]int `json:"unprotected_reasons" doc:"How many hosts are unprotected for which reason"`
}

// IncidentSummary is a line of the status screen.
type IncidentSummary struct {
	ID      string         `json:"id"`
	Host    string         `json:"host"`
	Verdict engine.Verdict `json:"verdict"`
	Phase   engine.Phase   `json:"phase"`
	Since   time.Time      `json:"since" doc:"When the verdict was reached"`
	Now     string         `json:"now" doc:"What is going on, in words"`
	Text    string         `json:"text" doc:"How its VMs stand, in words"`
	VMs     int            `json:"vms"`
	// Unplanned as in an incident.
	Unplanned int                  `json:"unplanned,omitempty" doc:"How many VMs the host has, as last listed, while no plan counts them yet"`
	Counts    map[engine.State]int `json:"counts" doc:"VMs by state"`
}

// HeldBy is an interlock of one incident.
type HeldBy struct {
	Incident string `json:"incident"`
	Host     string `json:"host"`
	engine.Interlock
}

// FencingStatus says how many hosts could be fenced now.
type FencingStatus struct {
	Hosts    int            `json:"hosts" doc:"Hosts that should be fenceable: all protected ones"`
	Could    int            `json:"could" doc:"Hosts of which at least one fence level works now"`
	Troubles []FenceTrouble `json:"troubles"`
}

// FenceTrouble is a host that could not be fenced by one of its devices now.
type FenceTrouble struct {
	Host    string    `json:"host"`
	Device  string    `json:"device,omitempty"`
	Trouble string    `json:"trouble"`
	Since   time.Time `json:"since,omitzero"`
}

// CloudStatus says whether the cloud answers.
type CloudStatus struct {
	OK           bool      `json:"ok"`
	Trouble      string    `json:"trouble,omitempty"`
	Since        time.Time `json:"since,omitzero" doc:"Since when it is as it is"`
	Region       string    `json:"region,omitempty"`
	Microversion string    `json:"microversion,omitempty" doc:"The highest that Nova offers"`
}

// SafetyTime is one derived time.
type SafetyTime struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}
