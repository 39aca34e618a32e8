package server

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// How often the quiet reads are made. Services cost one query; the list of all VMs costs Nova about 10 ms a VM.
const (
	servicesEvery  = 10 * time.Second
	inventoryEvery = 60 * time.Second
	sparing        = 10               // the list of all VMs takes Nova at most a tenth of the time
	listWithin     = 30 * time.Minute // 180,000 VMs at 10 ms
	readWithin     = 30 * time.Second // any other reading
	readAgain      = 5 * time.Second  // after a failure, of what has never been read
	serviceFresh   = 30 * time.Second // three of Nova's report intervals
	goneAfter      = 10 * time.Minute // a host that Nova lists no more
)

// inventory reads the cloud in quiet times, and for an incident what it asks for. Three loops read side by side: that
// one list is slow or fails must not keep detection from knowing the hosts.
type inventory struct {
	s     *Server
	cloud cloud.Cloud
	log   *slog.Logger

	first   chan struct{} // closed when what lies around has been asked for once
	listNow chan struct{} // the VMs are wanted now

	mu          sync.Mutex
	caps        *cloud.Capabilities
	around      around
	hypervisors map[string][]cloud.Hypervisor // by host; nil: never read
	updated     map[string]seenReport
	hosts       map[string]engine.HostFacts
	vms         map[string][]engine.VM // by host; nil: not read by this reign or the one before
	listed      time.Time              // when that reading began
	emptied     map[string]int         // how often in a row a host that had VMs was listed with none
	missing     map[string]time.Time   // since when a host is not listed
	boots       map[string]string      // the last boot on record of each host, when this server took over
	troubles    map[string]error       // what can't be read now, and why
	since       time.Time
}

// seenReport is when, on our own clock, a service's updated_at last changed. Nova's clock is never compared with ours.
type seenReport struct {
	value time.Time
	at    time.Time
}

func newInventory(s *Server) *inventory {
	return &inventory{
		s: s, cloud: s.cloud, log: s.log, first: make(chan struct{}), listNow: make(chan struct{}, 1),
		updated: map[string]seenReport{}, hosts: map[string]engine.HostFacts{}, emptied: map[string]int{},
		missing: map[string]time.Time{}, troubles: map[string]error{},
	}
}

// run reads until ctx ends. Only the leader's readings reach an engine; detection on every server uses the services.
func (v *inventory) run(ctx context.Context) {
	var loops sync.WaitGroup
	loops.Go(func() { v.watchAround(ctx) })
	loops.Go(func() { v.watchVMs(ctx) })
	v.watchServices(ctx)
	loops.Wait()
}

func (v *inventory) watchServices(ctx context.Context) {
	select { // hosts are protected only when their hypervisors are known; but nobody waits long for that
	case <-v.first:
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
	}
	tick := time.NewTicker(servicesEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		began := time.Now()
		v.tell(ctx, "services", v.readServices(ctx))
		// A wave of agents asks for one reading a second, not for one each, and for fewer where a reading takes long.
		pause := min(max(time.Second/2, 4*time.Since(began)), servicesEvery)
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-v.s.wanted:
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

func (v *inventory) watchAround(ctx context.Context) {
	first := v.first
	for ctx.Err() == nil {
		complete := v.readAround(ctx)
		if first != nil {
			close(first)
			first = nil
		}
		v.s.want() // the hosts are looked at in its light
		wait := inventoryEvery
		if !complete {
			wait = readAgain
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// watchVMs lists all VMs while this server leads: only a leader needs them.
func (v *inventory) watchVMs(ctx context.Context) {
	for ctx.Err() == nil {
		wait := inventoryEvery
		if r := v.s.reign.Load(); r == nil {
			v.forget()
		} else {
			began := time.Now()
			err := v.readVMs(r)
			v.tell(r.ctx, "VMs", err)
			if wait = max(wait, (sparing-1)*time.Since(began)); err != nil && v.unread() {
				wait = readAgain
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		case <-v.listNow:
		}
	}
}

// listSoon asks for the list of VMs.
func (v *inventory) listSoon() {
	select {
	case v.listNow <- struct{}{}:
	default:
	}
}

// tell notes when a part of the cloud stops or begins to answer. What our own end cut off says nothing.
func (v *inventory) tell(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	was, any := v.troubles[what], len(v.troubles) > 0
	delete(v.troubles, what)
	if err != nil {
		v.troubles[what] = err
	}
	if any != (len(v.troubles) > 0) {
		v.since = time.Now()
	}
	switch {
	case was == nil && err != nil:
		v.log.Warn("the cloud can't be read; hosts are watched all the same", "what", what, "error", err)
	case was != nil && err == nil:
		v.log.Info("the cloud answers again", "what", what)
	}
}

// troubled returns why the cloud can't be read, "" if it can.
func (v *inventory) troubled() (string, time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var words []string
	for _, what := range slices.Sorted(maps.Keys(v.troubles)) {
		why := v.troubles[what].Error()
		if login, ok := errors.AsType[*cloud.LoginError](v.troubles[what]); ok { // nothing at all can be read
			return login.Error(), v.since
		}
		if !slices.ContainsFunc(words, func(w string) bool { return strings.HasSuffix(w, why) }) {
			words = append(words, what+": "+why)
		}
	}
	return strings.Join(words, "; "), v.since
}

// readAround reads what changes slowly, each part for itself: a part that fails keeps what was known, and what was
// never known stays unknown, which rules and plans take as such. It reports whether each part has been read once.
func (v *inventory) readAround(ctx context.Context) bool {
	parts := map[string]func(context.Context) error{
		"capabilities": v.readCapabilities, "aggregates": v.readAggregates, "server groups": v.readGroups, "hypervisors": v.readHypervisors,
	}
	var wg sync.WaitGroup
	for what, read := range parts {
		wg.Go(func() {
			bounded, cancel := context.WithTimeout(ctx, readWithin)
			defer cancel()
			v.tell(ctx, what, read(bounded))
		})
	}
	wg.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.caps != nil && v.around.aggregates != nil && v.around.groups != nil && v.hypervisors != nil
}

func (v *inventory) readCapabilities(ctx context.Context) error {
	caps, err := v.cloud.Capabilities(ctx)
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.caps = &caps
	v.mu.Unlock()
	v.s.tell(engine.CloudSeen{User: caps.UserID, StaysStopped: caps.KeepsStopped()})
	return nil
}

func (v *inventory) readAggregates(ctx context.Context) error {
	list, err := v.cloud.Aggregates(ctx)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.around.aggregates = aggregatesOf(list)
	return nil
}

func (v *inventory) readGroups(ctx context.Context) error {
	list, err := v.cloud.ServerGroups(ctx)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.around.groups = groupsOf(list)
	return nil
}

// readHypervisors keeps what was known of hosts that this list leaves out: Nova says nothing of cells that don't answer.
func (v *inventory) readHypervisors(ctx context.Context) error {
	list, err := v.cloud.Hypervisors(ctx)
	if err != nil {
		return err
	}
	now := map[string][]cloud.Hypervisor{}
	for _, h := range list {
		now[h.Host] = append(now[h.Host], h)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.hypervisors == nil {
		v.hypervisors = now
	} else {
		maps.Copy(v.hypervisors, now)
	}
	return nil
}

// remember takes in the last boots on record: a host that comes back with another one has rebooted, also if this server
// wasn't there to see it.
func (v *inventory) remember(boots map[string]string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.boots = boots
}

// introduce tells a new reign's engine the cloud as last seen.
func (v *inventory) introduce(in *inbox) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range v.hosts {
		in.put(engine.HostSeen{Host: f})
	}
}

func (v *inventory) capabilities() (cloud.Capabilities, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.caps == nil {
		return cloud.Capabilities{}, false
	}
	return *v.caps, true
}

// facts are what is known of a host; ok is false if Nova doesn't list it.
func (v *inventory) facts(host string) (engine.HostFacts, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f, ok := v.hosts[host]
	return f, ok
}

// names lists the compute hosts, for messages.
func (v *inventory) names() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	names := slices.Sorted(maps.Keys(v.hosts))
	if len(names) > 10 {
		return strings.Join(names[:10], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// errNothingListed: Nova has answered with nothing at all where there was something: its database, not its operator.
var errNothingListed = errors.New("none is listed any more, where there were some")
