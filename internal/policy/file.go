package policy

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

const (
	builtIn         = "built-in"
	defaultPriority = 100
	maxPriority     = 1000
)

// file is the whole policy file.
type file struct {
	Rules     *[]fileRule `yaml:"rules"`
	Ephemeral ephemeral   `yaml:"ephemeral"`
	Hosts     hosts       `yaml:"hosts"`
	Preset    later       `yaml:"preset"`
}

type ephemeral struct {
	Default          Sharing  `yaml:"default"`
	SharedAggregates []string `yaml:"shared_aggregates"`
}

type hosts struct {
	OnIsolated      Response          `yaml:"on_isolated"`
	OnDegraded      Response          `yaml:"on_degraded"`
	OnHung          Response          `yaml:"on_hung"`
	StormPercent    int               `yaml:"storm_percent"`
	StormCooldown   yamlfile.Duration `yaml:"storm_cooldown"`
	FencesPerMinute int               `yaml:"fences_per_minute"`
	RebootWait      yamlfile.Duration `yaml:"reboot_wait"`
	Settle          yamlfile.Duration `yaml:"settle"`
	PowerOn         PowerOn           `yaml:"power_on"`
}

// fileRule is one rule as written; rule is what becomes of it.
type fileRule struct {
	Name             string  `yaml:"name"`
	Match            *match  `yaml:"match"`
	Priority         *int    `yaml:"priority"`
	OnHostFailure    string  `yaml:"on_host_failure"`
	Stopped          Stopped `yaml:"stopped"`
	OnComputeFailure leave   `yaml:"on_compute_failure"`
	OnGuestFailure   leave   `yaml:"on_guest_failure"`
	When             later   `yaml:"when"`
	Preset           later   `yaml:"preset"`
}

// later is a key that this version knows of and can't do.
type later struct{}

// UnmarshalYAML refuses, so that a rule isn't silently wider than it was meant.
func (*later) UnmarshalYAML(n *yaml.Node) error {
	return yamlfile.At(n, "this version doesn't know `when` expressions and presets yet; say it with `match`")
}

// leave is a response that can only be "leave" in this version.
type leave string

// UnmarshalYAML accepts "leave".
func (l *leave) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode || n.Value != "leave" {
		return yamlfile.At(n, "this version only acts on the failure of a whole host; `leave` is the only choice here yet")
	}
	*l = "leave"
	return nil
}

// defaults are the values of everything that a file doesn't say (documented in
// deploy/policy.yaml, which a test compares with them).
func defaults() file {
	return file{
		Ephemeral: ephemeral{Default: Detect},
		Hosts: hosts{
			OnIsolated:      ResponseHold,
			OnDegraded:      ResponseHold,
			OnHung:          ResponseWait,
			StormPercent:    30,
			StormCooldown:   yamlfile.Duration(time.Minute),
			FencesPerMinute: 10,
			RebootWait:      yamlfile.Duration(5 * time.Minute),
			Settle:          yamlfile.Duration(time.Minute),
			PowerOn:         PowerOnAfterRecovery,
		},
	}
}

// Default is the policy of a cloud whose operator has applied none: every VM
// is resurrected with priority 100; isolated, degraded and hung hosts wait for
// the operator.
func Default() *Policy {
	d := defaults()
	return &Policy{path: builtIn, rules: []rule{everyone()}, store: d.Ephemeral, hosts: d.Hosts}
}

// everyone is the rule of files that have no `rules`.
func everyone() rule {
	return rule{name: "everyone (built-in)", action: Resurrect, priority: defaultPriority, stopped: StoppedAuto}
}

// Parse reads a policy file; path is only used in messages. All mistakes are
// reported at once, as *yamlfile.Error or yamlfile.Errors.
func Parse(path string, data []byte) (*Policy, error) {
	raw := defaults()
	f, err := yamlfile.Survey(path, data, &raw)
	if err != nil {
		return nil, err
	}
	c := checker{file: f}
	p := &Policy{path: path, source: string(data), store: raw.Ephemeral, hosts: raw.Hosts}
	c.ephemeral(raw.Ephemeral)
	c.hosts(raw.Hosts)
	if raw.Rules == nil {
		p.rules = []rule{everyone()}
	} else {
		p.rules = c.rules(*raw.Rules)
		p.advice = c.advice(p.rules)
	}
	p.mentions = c.mentions(raw)
	for i := range p.rules {
		p.rules[i].path = path
	}
	if err := f.All(c.errs); err != nil {
		return nil, err
	}
	return p, nil
}

// checker collects the mistakes that only the meaning of a file shows.
type checker struct {
	file *yamlfile.File
	errs yamlfile.Errors
}

func (c *checker) fail(key, format string, args ...any) {
	c.errs = append(c.errs, c.file.Errorf(key, format, args...))
}

func (c *checker) ephemeral(e ephemeral) {
	oneOf(c, "ephemeral.default", e.Default, Detect, Local, Shared)
	for i, a := range e.SharedAggregates {
		if a == "" {
			c.fail(fmt.Sprintf("ephemeral.shared_aggregates[%d]", i), "an aggregate needs a name")
		}
	}
}

func (c *checker) hosts(h hosts) {
	oneOf(c, "hosts.on_isolated", h.OnIsolated, ResponseHold, ResponseFence)
	oneOf(c, "hosts.on_degraded", h.OnDegraded, ResponseHold, ResponseFence)
	oneOf(c, "hosts.on_hung", h.OnHung, ResponseWait, ResponseFence)
	oneOf(c, "hosts.power_on", h.PowerOn, PowerOnAfterRecovery, PowerOnManual)
	c.number("hosts.storm_percent", h.StormPercent, 1, 100)
	c.number("hosts.fences_per_minute", h.FencesPerMinute, 1, 600)
	c.span("hosts.storm_cooldown", h.StormCooldown, 0, 24*time.Hour)
	c.span("hosts.reboot_wait", h.RebootWait, 10*time.Second, 24*time.Hour)
	c.span("hosts.settle", h.Settle, time.Second, 24*time.Hour)
}

func (c *checker) number(key string, v, low, high int) {
	if v < low || v > high {
		c.fail(key, "%d is out of range; possible are %d to %d", v, low, high)
	}
}

func (c *checker) span(key string, v yamlfile.Duration, low, high time.Duration) {
	if v.Std() < low || v.Std() > high {
		c.fail(key, "%s is out of range; possible are %s to %s", v, yamlfile.Duration(low), yamlfile.Duration(high))
	}
}
