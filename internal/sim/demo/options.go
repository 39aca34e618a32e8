package demo

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Options say what to bring up.
type Options struct {
	Hosts, VMs int
	Seed       uint64
	// Redfish gives every n-th host a Redfish BMC instead of IPMI; 0: none.
	Redfish int
	// API is where the REST API listens; "": a free port of 127.0.0.1. A taken port is replaced by a free one.
	API string
	// Tell is called with each line of the story; nil: nobody listens. Calls come one after the other.
	Tell    func(line string)
	Logger  *slog.Logger // of all parts; nil: none
	Version string
}

// The limits keep a typo from taking the machine down.
const (
	mostHosts = 500
	mostVMs   = 20_000
)

// Script is what happens once all is settled.
type Script struct {
	Cut        []string // lose their power
	Freeze     []string // hang for good: silent everywhere, power stays on
	Isolate    []string // lose the management plane only
	DeadBMC    []string // their BMC never answers again
	NovaOutage time.Duration
	// Within bounds the whole script; 0: 5 minutes.
	Within time.Duration
}

// UsageError says what is wrong with what was asked for; nothing has been started.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

func usage(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// Check finds what can't be, before anything is started. The error is a *UsageError.
func Check(o Options, s Script) error {
	switch {
	case o.Hosts < 2 || o.Hosts > mostHosts:
		return usage("--hosts %d: the demo takes 2 to %d hosts (VMs must have somewhere to go)", o.Hosts, mostHosts)
	case o.VMs < 0 || o.VMs > mostVMs:
		return usage("--vms %d: the demo takes up to %d VMs", o.VMs, mostVMs)
	case s.NovaOutage < 0:
		return usage("--nova-outage %s: an outage can't be negative", s.NovaOutage)
	}
	for _, list := range []struct {
		flag  string
		hosts []string
	}{{"--cut", s.Cut}, {"--freeze", s.Freeze}, {"--isolate", s.Isolate}, {"--dead-bmc", s.DeadBMC}} {
		for _, h := range list.hosts {
			if !slices.Contains(o.names(), h) {
				return usage("%s %s: there is no such host; there are %s", list.flag, h, o.namesInWords())
			}
		}
	}
	return nil
}

// names are those that package wire gives its hosts.
func (o Options) names() []string {
	names := make([]string, o.Hosts)
	for i := range names {
		names[i] = fmt.Sprintf("host-%02d", i+1)
	}
	return names
}

func (o Options) namesInWords() string {
	if names := o.names(); len(names) > 24 {
		return names[0] + " to " + names[len(names)-1]
	}
	return strings.Join(o.names(), ", ")
}
