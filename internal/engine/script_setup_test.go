package engine

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// setUp: cloud hosts=3 [levels=0|1|2 nova=2.95 dated=no driver=fake stores=no] vms=db-1@h1(status=PAUSED;tag=pet),web-1@h1
func (s *script) setUp(w []string) error {
	hosts, _ := strconv.Atoi(option(w, "hosts", "3"))
	s.w.undated = option(w, "dated", "yes") == "no"
	for i := 1; i <= hosts; i++ {
		name := fmt.Sprintf("h%d", i)
		m := s.w.addMachine(name, "nova", option(w, "levels", "1"))
		m.facts.Hypervisor = option(w, "driver", "QEMU")
		m.facts.Service = m.service
		s.step(HostSeen{m.facts})
		s.step(AgentReported{Host: name, Report: s.w.report(m)})
		s.step(Assessed{Host: name, Verdict: Up, Boot: m.bootID(), LastLife: s.time(), Since: s.time(), Reason: "pulses"})
	}
	if option(w, "nova", "") == "2.95" {
		s.step(CloudSeen{User: "ninelives", StaysStopped: true})
	}
	for _, one := range strings.FieldsFunc(option(w, "vms", ""), func(r rune) bool { return r == ',' }) {
		name, rest, _ := strings.Cut(one, "@")
		host, opts, _ := strings.Cut(strings.TrimSuffix(rest, ")"), "(")
		if s.w.machines[host] == nil {
			return fmt.Errorf("a VM is name@host, not %q", one)
		}
		change(s.w, s.w.addVM(name, host), strings.Split(opts, ";"))
	}
	for _, h := range s.w.names() {
		s.step(InventoryRead{Host: h, VMs: s.w.on(h)})
	}
	s.wait(time.Second) // every agent is told its gate's state
	s.out, s.now = nil, 0
	s.due, s.nextReport = nil, 0
	return nil
}

func change(w *world, v *VM, o []string) {
	v.Status, v.Power, v.Task, v.Host = option(o, "status", v.Status), option(o, "power", v.Power), option(o, "task", v.Task), option(o, "host", v.Host)
	v.Launched, v.Immovable = option(o, "launched", "yes") == "yes", option(o, "immovable", v.Immovable)
	v.ImageBooted = option(o, "disk", "image") == "image"
	v.Locked = option(o, "locked", "") == "yes"
	v.MemoryMB, _ = strconv.Atoi(option(o, "mb", strconv.Itoa(v.MemoryMB)))
	v.Facts.Flavor = option(o, "flavor", v.Facts.Flavor)
	if hv := option(o, "hv", ""); hv != "" {
		v.Facts.ImageProperties = map[string]string{"img_hv_type": hv}
	}
	if tag := option(o, "tag", ""); tag != "" {
		v.Facts.Tags = []string{tag}
	}
	if g := option(o, "apart", ""); g != "" {
		v.Apart = []string{g}
	}
	if v.Status != "ACTIVE" && v.Status != "PAUSED" {
		delete(w.machines[v.Host].guests, v.ID)
	}
}
