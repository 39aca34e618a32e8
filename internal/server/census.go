package server

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// census is one reading of all VMs while its pages come. Of 200,000 VMs few change from one reading to the next: those
// that stayed what they were are taken from the reading before, so that two whole lists never lie in memory.
type census struct {
	v      *inventory
	began  time.Time
	page   []cloud.Server // not taken in yet
	images time.Duration  // left for reading images: a Glance that hangs must not hold the list up

	before  map[string][]engine.VM // by host: the reading before
	known   map[string]*engine.VM  // its VMs that this reading has not shown yet
	unknown map[string]bool        // shown without any facts: their cell doesn't answer
	hosts   map[string][]*engine.VM
	maps    map[string]map[string]string // equal ones are one
}

const censusPage = 500 // VMs taken in at once

func (v *inventory) census() *census {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := &census{
		v: v, began: time.Now(), images: readWithin, before: v.vms, known: map[string]*engine.VM{}, unknown: map[string]bool{},
		hosts: map[string][]*engine.VM{}, maps: map[string]map[string]string{},
	}
	for _, vms := range v.vms {
		for i := range vms {
			c.known[vms[i].ID] = &vms[i]
		}
	}
	return c
}

// add takes one VM as Nova lists it.
func (c *census) add(ctx context.Context, s cloud.Server) {
	if c.page = append(c.page, s); len(c.page) == censusPage {
		c.turn(ctx)
	}
}

// turn takes a page in.
func (c *census) turn(ctx context.Context) {
	if c.images > 0 {
		began := time.Now()
		ctx, cancel := context.WithTimeout(ctx, c.images)
		c.v.readImages(ctx, c.page)
		cancel()
		c.images -= time.Since(began)
	}
	c.v.mu.Lock()
	defer c.v.mu.Unlock()
	for _, s := range c.page {
		switch {
		case s.Status == "UNKNOWN":
			c.unknown[s.ID] = true
		case s.Host == "":
			delete(c.known, s.ID) // it runs nowhere
		default:
			c.hosts[s.Host] = append(c.hosts[s.Host], c.vm(s))
			delete(c.known, s.ID)
		}
	}
	clear(c.page)
	c.page = c.page[:0]
}

// vm is the one of the reading before, if nothing has changed.
func (c *census) vm(s cloud.Server) *engine.VM {
	now := c.v.around.vmOf(s)
	if old := c.known[s.ID]; old != nil && reflect.DeepEqual(*old, now) {
		return old
	}
	f := &now.Facts
	for _, text := range []*string{&now.Host, &now.Status, &now.Task, &f.ProjectID, &f.Zone, &f.Flavor} {
		*text = unique.Make(*text).Value()
	}
	f.FlavorExtra, f.Metadata = c.shared(f.FlavorExtra), c.shared(f.Metadata)
	return &now
}

// shared returns the map of this reading that is equal to m. Nobody changes facts once they are made.
func (c *census) shared(m map[string]string) map[string]string {
	if m == nil {
		return nil // unknown: not the same as empty
	}
	var key strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		key.WriteString(k + "\x00" + m[k] + "\x00")
	}
	if same, ok := c.maps[key.String()]; ok {
		return same
	}
	c.maps[key.String()] = m
	return m
}

// close puts the reading into the place of the one before. Cells that don't answer are left out of a list, or their VMs
// come as "UNKNOWN": what was known of those stays known, and a host that had VMs and is listed with none keeps them for
// some readings. What is listed on another host now has moved.
func (c *census) close(ctx context.Context) map[string][]engine.VM {
	c.turn(ctx)
	v := c.v
	v.mu.Lock()
	defer v.mu.Unlock()
	for host, before := range c.before {
		v.emptied[host]++
		if len(c.hosts[host]) > 0 || len(before) == 0 {
			delete(v.emptied, host)
		}
		keep := v.emptied[host] > 0 && v.emptied[host] < emptyReads
		for i := range before {
			if id := before[i].ID; c.known[id] != nil && (keep || c.unknown[id]) {
				c.hosts[host] = append(c.hosts[host], &before[i])
			}
		}
	}
	out := make(map[string][]engine.VM, len(v.hosts))
	for host := range v.hosts {
		out[host] = []engine.VM{}
	}
	for host, vms := range c.hosts {
		out[host] = list(c.before[host], vms)
	}
	v.vms, v.listed = out, c.began
	return out
}

// list is the one from before if these are its VMs.
func list(before []engine.VM, vms []*engine.VM) []engine.VM {
	same := len(before) == len(vms)
	for i := 0; same && i < len(vms); i++ {
		same = &before[i] == vms[i]
	}
	if same {
		return before
	}
	out := make([]engine.VM, len(vms))
	for i, vm := range vms {
		out[i] = *vm
	}
	return out
}
