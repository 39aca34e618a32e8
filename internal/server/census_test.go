package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// shelf is a cloud of which only VMs and images are asked for.
type shelf struct {
	cloud.Cloud
	images func(id string) (map[string]string, error)
	asked  int
}

func (c *shelf) ImageProperties(_ context.Context, id string) (map[string]string, error) {
	c.asked++
	return c.images(id)
}

// reads has a server list these VMs ("id@host", "id@host status", "id@" runs nowhere) and returns what it then knows, by host.
func reads(t *testing.T, s *Server, listed string) (map[string][]engine.VM, string) {
	t.Helper()
	c := s.inventory.census()
	for _, item := range strings.Fields(listed) {
		id, host, _ := strings.Cut(item, "@")
		host, status, _ := strings.Cut(host, ":")
		vm := cloud.Server{ID: id, Name: "vm-" + id, Host: host, Status: either(status, "ACTIVE"), ImageID: "img", Flavor: cloud.Flavor{Name: "m1", ExtraSpecs: map[string]string{"hw": "x"}}}
		c.add(t.Context(), vm)
	}
	vms := c.close(t.Context())
	var words []string
	for _, host := range slices.Sorted(maps.Keys(vms)) {
		for _, vm := range vms[host] {
			words = append(words, vm.ID+"@"+host)
		}
	}
	slices.Sort(words)
	return vms, strings.Join(words, " ")
}

// What Nova leaves out because a cell doesn't answer is not forgotten; what is elsewhere, or nowhere, is.
func TestPartialReadingsForgetNothing(t *testing.T) {
	s := bare(t, &shelf{images: func(string) (map[string]string, error) { return nil, nil }}, Options{})
	s.list("h1", "h2")
	for i, step := range []struct{ listed, known string }{
		{"a@h1 b@h1 c@h2", "a@h1 b@h1 c@h2"},
		{"b@h1 c@h2", "b@h1 c@h2"},                     // a was deleted: its host is read, and it isn't there
		{"c@h2", "b@h1 c@h2"},                          // h1 is empty all at once: its cell may be down
		{"b@:UNKNOWN c@h2", "b@h1 c@h2"},               // Nova says so
		{"b@:UNKNOWN c@h2", "b@h1 c@h2"},               // and goes on saying so, however long
		{"b@:UNKNOWN c@h2", "b@h1 c@h2"},               //
		{"c@h2 b@h2", "b@h2 c@h2"},                     // it was moved
		{"b@h2 c@h2:UNKNOWN", "b@h2 c@h2"},             // of one host only a part is unknown
		{"b@h2 c@", "b@h2"},                            // shelved: it runs nowhere
		{"", "b@h2"}, {"", "b@h2"}, {"", ""}, {"", ""}, // three times nothing is believed
		{"d@h9", "d@h9"}, // a host that Nova's services haven't shown yet
	} {
		if _, got := reads(t, s, step.listed); got != step.known {
			t.Errorf("reading %d of %q: %q is known, want %q", i+1, step.listed, got, step.known)
		}
	}
}

// A reading that shows nothing new makes nothing new: neither lists nor VMs nor their facts.
func TestReadingsShareWhatStays(t *testing.T) {
	s := bare(t, &shelf{images: func(string) (map[string]string, error) { return map[string]string{"os": "debian"}, nil }}, Options{})
	s.list("h1", "h2")
	first, _ := reads(t, s, "a@h1 b@h1 c@h2")
	again, _ := reads(t, s, "a@h1 b@h1 c@h2")
	for host := range first {
		if &first[host][0] != &again[host][0] {
			t.Errorf("%s: another list of the same VMs", host)
		}
	}
	changed, _ := reads(t, s, "a@h1 b@h1:SHUTOFF c@h2")
	if &changed["h2"][0] != &first["h2"][0] || &changed["h1"][0] == &first["h1"][0] {
		t.Error("one VM changed: its host's list is to be another, and no other list")
	}
	if first["h1"][1].Status != "ACTIVE" || changed["h1"][1].Status != "SHUTOFF" {
		t.Errorf("a list in use was changed: %s, then %s", first["h1"][1].Status, changed["h1"][1].Status)
	}
	a, b := first["h1"][0].Facts.FlavorExtra, first["h2"][0].Facts.FlavorExtra
	if a["probe"] = "same"; b["probe"] != "same" {
		t.Error("equal facts of two VMs lie in memory twice")
	}
}

// Images are read once; a Glance that hangs takes its time once, and the VMs are known all the same.
func TestImagesOfAReading(t *testing.T) {
	c := &shelf{images: func(string) (map[string]string, error) { return map[string]string{"hw_tpm_version": "2.0"}, nil }}
	s := bare(t, c, Options{})
	var all []string
	for i := range 2*censusPage + 3 {
		all = append(all, fmt.Sprintf("%d@h1", i))
	}
	vms, _ := reads(t, s, strings.Join(all, " "))
	if c.asked != 1 || len(vms["h1"]) != len(all) || vms["h1"][0].Immovable == "" || vms["h1"][len(all)-1].Immovable == "" {
		t.Errorf("image asked for %d times, %d VMs, the first one: %+v", c.asked, len(vms["h1"]), vms["h1"][0])
	}
	down := &shelf{images: func(string) (map[string]string, error) { return nil, errors.New("503") }}
	s = bare(t, down, Options{})
	vms, _ = reads(t, s, "a@h1")
	if vms["h1"][0].Facts.ImageProperties != nil {
		t.Error("what could not be read is known")
	}
	s.inventory.around.failed["img"] = time.Now().Add(-imageAgain)
	down.images = c.images
	if vms, _ = reads(t, s, "a@h1"); vms["h1"][0].Immovable == "" {
		t.Error("an image is not read again")
	}
}
