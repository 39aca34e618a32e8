package wire

import (
	"fmt"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// sharedStore is where image-booted VMs' disks are unless told otherwise.
const sharedStore = "nfs:10.1.0.5:/instances"

// populate fills a new world as the options say.
func populate(w *world.World, o Options) {
	w.AddStore(sharedStore, true)
	small := world.Flavor{ID: "1", Name: "m1.small", VCPUs: 1, RAM: 2048, Disk: 20, Extra: map[string]string{}}
	large := world.Flavor{ID: "2", Name: "m1.large", VCPUs: 4, RAM: 8192, Disk: 80, Extra: map[string]string{"hw:cpu_policy": "shared"}}
	w.AddFlavor(small)
	w.AddFlavor(large)
	image := w.AddImage("debian-12", map[string]string{"os_distro": "debian"})
	zones := map[int][]string{}
	for i := range o.Hosts {
		s := world.HostSpec{Name: fmt.Sprintf("host-%02d", i+1), Store: sharedStore}
		if o.LocalDisks {
			s.Store = ""
		}
		if o.Redfish > 0 && i%o.Redfish == o.Redfish-1 {
			s.Driver = "redfish"
		}
		w.AddHost(s)
		zones[i%max(o.Zones, 1)] = append(zones[i%max(o.Zones, 1)], s.Name)
	}
	for z := range len(zones) {
		if o.Zones > 1 {
			w.AddAggregate(fmt.Sprintf("az%d", z+1), fmt.Sprintf("az%d", z+1), zones[z], map[string]string{})
		}
	}
	if o.Hosts == 0 {
		return
	}
	for i := range o.VMs {
		s := world.VMSpec{
			Name: fmt.Sprintf("vm-%03d", i+1), Host: fmt.Sprintf("host-%02d", i%o.Hosts+1), Flavor: small, Image: image,
			User: demoUser, Project: world.DemoProject,
		}
		if i < o.VMs/20 { // one in twenty is a pet
			s.Name, s.Flavor, s.Tags = fmt.Sprintf("db-%d", i+1), large, []string{"automatic-recovery"}
		}
		w.AddVM(s)
	}
}
