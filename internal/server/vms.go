package server

import (
	"context"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

const (
	emptyReads = 3                // lists in a row in which a host that had VMs has none, before that is believed
	imagesOnce = 8                // images read at once
	imageAgain = 30 * time.Second // after a failure
)

// readVMs lists all VMs.
func (v *inventory) readVMs(r *reign) error {
	ctx, cancel := context.WithTimeout(r.ctx, listWithin)
	defer cancel()
	c := v.census()
	if err := v.cloud.AllServers(ctx, func(s cloud.Server) error { c.add(ctx, s); return nil }); err != nil {
		return err
	}
	for host, vms := range c.close(ctx) {
		r.in.put(engine.InventoryRead{Host: host, VMs: vms, Since: c.began})
	}
	return nil
}

// forget drops a list that nobody keeps up to date: the next reign has to read its own.
func (v *inventory) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.vms = nil
	clear(v.emptied)
}

func (v *inventory) unread() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.vms == nil
}

// recall tells a new reign the VMs as last listed, before it hears of any suspicion: an incident's own list is checked
// against what was known before.
func (v *inventory) recall(in *inbox) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for host, vms := range v.vms {
		in.put(engine.InventoryRead{Host: host, VMs: vms, Since: v.listed})
	}
}

// readImages fetches the properties of images not seen before; those that can't be read in time stay unknown.
func (v *inventory) readImages(ctx context.Context, servers []cloud.Server) {
	gate := make(chan struct{}, imagesOnce)
	var wg sync.WaitGroup
	defer wg.Wait()
	for id := range v.unreadImages(servers) {
		select {
		case gate <- struct{}{}:
		case <-ctx.Done():
			return
		}
		wg.Go(func() {
			defer func() { <-gate }()
			v.readImage(ctx, id)
		})
	}
}

func (v *inventory) unreadImages(servers []cloud.Server) map[string]bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	missing := map[string]bool{}
	for _, s := range servers {
		_, read := v.around.images[s.ImageID]
		if s.ImageID != "" && !read && time.Since(v.around.failed[s.ImageID]) >= imageAgain {
			missing[s.ImageID] = true
		}
	}
	return missing
}

func (v *inventory) readImage(ctx context.Context, id string) {
	props, err := v.cloud.ImageProperties(ctx, id)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.around.images == nil {
		v.around.images, v.around.failed = map[string]map[string]string{}, map[string]time.Time{}
	}
	if err != nil {
		v.around.failed[id] = time.Now()
		v.log.Debug("cannot read an image's properties; rules that need them hold its VMs", "image", id, "error", err)
		return
	}
	delete(v.around.failed, id)
	v.around.images[id] = known(props)
}
