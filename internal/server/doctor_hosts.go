package server

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/policy"
)

// bundle collects the hosts that share one trouble, so that a thousand of them are one line.
type bundle map[string][]string

func (b bundle) add(trouble, host string) { b[trouble] = append(b[trouble], host) }

func (b bundle) findings(f func(trouble string, hosts []string) api.Finding) []api.Finding {
	var out []api.Finding
	for _, trouble := range slices.Sorted(maps.Keys(b)) {
		hosts := b[trouble]
		slices.Sort(hosts)
		found := f(trouble, hosts)
		if len(hosts) == 1 {
			found.Host = hosts[0]
		}
		out = append(out, found)
	}
	return out
}

// nHosts is "compute-01" or "17 hosts (compute-01, …)".
func nHosts(hosts []string) string {
	if len(hosts) == 1 {
		return hosts[0]
	}
	return fmt.Sprintf("%d hosts (%s)", len(hosts), few(hosts))
}

func checkHosts(p *patient) []api.Finding {
	if len(p.hosts) == 0 && p.cloudErr == nil {
		return one(api.Refuse, "no-hosts", "Nova lists no compute hosts", "", "make sure that clouds.yaml names the right cloud and region")
	}
	unprotected := bundle{}
	for _, h := range p.hosts {
		if h.Unprotected != "" {
			unprotected.add(unnamed(h.Unprotected, h.Name), h.Name)
		}
	}
	return unprotected.findings(func(why string, hosts []string) api.Finding {
		return api.Finding{
			Severity: api.Warn, Code: "unprotected", Title: nHosts(hosts) + ": not protected", What: why,
			Do: "without an agent on a QEMU/KVM host whose names and machine agree, its VMs don't come back: `ninelives host show` has what each side says",
		}
	})
}

// checkResume finds what starts a dead host's guests by itself when it returns, while they already run elsewhere.
func checkResume(p *patient) []api.Finding {
	found := bundle{}
	for host, a := range p.agents {
		if a.Nova.Resume {
			found.add("resume", host)
		}
		if a.Nova.GuestsBoot {
			found.add("guests", host)
		}
		if len(a.Nova.Autostart) > 0 {
			found.add("autostart", host)
		}
	}
	return found.findings(func(what string, hosts []string) api.Finding {
		f := api.Finding{Severity: api.Refuse, Forbids: true}
		switch what {
		case "resume":
			f.Code, f.Title = "resume-guests", nHosts(hosts)+": nova-compute starts all guests when the host boots"
			f.What, f.Do = "resume_guests_state_on_host_boot = true in nova.conf", "set it to false and restart nova-compute: Ninelives starts what may run there"
		case "guests":
			f.Code, f.Title = "libvirt-guests", nHosts(hosts)+": libvirt-guests starts guests when the host boots"
			f.What, f.Do = "ON_BOOT=start in the libvirt-guests configuration", "set ON_BOOT=ignore"
		default:
			f.Code, f.Title = "autostart", nHosts(hosts)+": libvirt starts guests when the host boots"
			f.What, f.Do = "domains are marked for autostart", "virsh autostart --disable each of them (virsh list --all --autostart shows them)"
			if len(hosts) == 1 {
				f.What = "marked for autostart: " + few(p.agents[hosts[0]].Nova.Autostart)
			}
		}
		return f
	})
}

func checkDevices(p *patient) []api.Finding {
	of := map[string][]DeviceState{}
	broken := bundle{}
	for _, st := range p.devices {
		of[st.Host] = append(of[st.Host], st)
		if !st.Working {
			broken.add(st.Driver+": "+unnamed(st.Trouble, st.Host), st.Host)
		}
	}
	none := bundle{}
	for _, h := range p.hosts {
		if h.Unprotected == "" && len(of[h.Name]) == 0 {
			none.add("", h.Name)
		}
	}
	out := none.findings(func(_ string, hosts []string) api.Finding {
		return api.Finding{
			Severity: api.Refuse, Code: "no-device", Title: nHosts(hosts) + ": no fence device",
			What: "nothing can prove that the host is off: its VMs wait for `ninelives host confirm-down`", Do: "write devices.yaml and import it: ninelives fence import FILE",
		}
	})
	return append(out, broken.findings(func(why string, hosts []string) api.Finding {
		return api.Finding{
			Severity: api.Refuse, Code: "device", Title: nHosts(hosts) + ": could not be fenced by a device now", What: why,
			Do: "`ninelives fence show HOST` has the steps; `ninelives fence check HOST` tries again, `ninelives fence bind HOST --reason …` binds a device that can't name its machine",
		}
	})...)
}

// checkPower advises against a BMC alone: it dies with its host's power, and silence is no proof.
func checkPower(p *patient) []api.Finding {
	levels, bmc := map[string]map[int]bool{}, map[string]bool{}
	for _, st := range p.devices {
		if levels[st.Host] == nil {
			levels[st.Host] = map[int]bool{}
		}
		levels[st.Host][st.Level] = true
		bmc[st.Host] = bmc[st.Host] || st.Driver == "ipmi" || st.Driver == "redfish"
	}
	alone := bundle{}
	for host, l := range levels {
		if len(l) == 1 && bmc[host] {
			alone.add("", host)
		}
	}
	return alone.findings(func(_ string, hosts []string) api.Finding {
		return api.Finding{
			Severity: api.Tell, Code: "bmc-alone", Title: nHosts(hosts) + ": a BMC is the only fence level",
			What: "a BMC that shares its host's power feed dies with it, and its silence proves nothing: the VMs then wait for an operator",
			Do:   "add a second level that doesn't, for example the PDU's outlets (driver: agent)",
		}
	})
}

func checkVMs(p *patient) []api.Finding {
	immovable, held := map[string]int{}, map[string]int{}
	for vm := range p.vms {
		if vm.Immovable != "" {
			immovable[vm.Immovable]++
		} else if vm.Action == string(policy.Hold) {
			held[vm.Rule]++
		}
	}
	var out []api.Finding
	for _, why := range slices.Sorted(maps.Keys(immovable)) {
		out = append(out, one(api.Warn, "immovable", fmt.Sprintf("%d VMs can't be evacuated", immovable[why]), why,
			"they stay with their host; `ninelives plan HOST` names them. Protect them another way, or tell their owners")...)
	}
	for _, why := range slices.Sorted(maps.Keys(held)) {
		out = append(out, one(api.Warn, "rule-unknown", fmt.Sprintf("%d VMs would be held: it can't be told which rule is theirs", held[why]), why,
			"allow our cloud user to read what the rule asks for, or change the rule (ninelives policy explain VM)")...)
	}
	return out
}

func checkPolicy(p *patient) []api.Finding {
	var out []api.Finding
	for _, a := range p.advice {
		out = append(out, one(api.Warn, "policy", "The policy may not say what was meant", fmt.Sprintf("%s:%d: %s", p.policy.Path(), a.Line, a.Message), "ninelives policy show; then apply a corrected file")...)
	}
	return out
}

// checkStorm says how many hosts may fail at once where that is fewer than people expect.
func checkStorm(p *patient) []api.Finding {
	seen, zones := 0, map[string]int{}
	for _, h := range p.hosts {
		if h.Unprotected == "" && h.Maintenance == nil {
			seen++
			zones[h.Zone]++
		}
	}
	if seen == 0 {
		return nil
	}
	percent := p.policy.StormPercent()
	if seen == 1 {
		return one(api.Warn, "one-host", "Only one host is protected", "", "its VMs have nowhere to go; join agents on the others (ninelives token create HOST)")
	}
	limit := func(n int) int { return max(1, n*percent/100) }
	var small []string
	for zone, n := range zones {
		if limit(n) == 1 {
			small = append(small, either(zone, "no zone"))
		}
	}
	if len(small) == 0 {
		return nil
	}
	slices.Sort(small)
	return one(api.Tell, "storm", fmt.Sprintf("Of %d protected hosts, %d may fail at once before the storm interlock holds", seen, limit(seen)),
		fmt.Sprintf("hosts.storm_percent is %d; one host in: %s", percent, few(small)), "if that is too few for a zone of yours, raise hosts.storm_percent in the policy")
}

func checkSwitches(p *patient) []api.Finding {
	switch {
	case !p.switches.Armed:
		return one(api.Warn, "disarmed", "Disarmed: nothing is done", p.switches.Disarmed(), "ninelives arm, once nothing above is in the way")
	case p.switches.Shadow:
		return one(api.Warn, "shadow", "Shadow mode: everything is decided and recorded, nothing is done", "", "ninelives arm")
	}
	return nil
}

func checkContradictions(p *patient) []api.Finding {
	var hosts []string
	for _, h := range p.hosts {
		if h.Verdict == engine.Contradiction {
			hosts = append(hosts, h.Name)
		}
	}
	if len(hosts) > 0 {
		return one(api.Refuse, "contradiction", nHosts(hosts)+": the evidence contradicts itself", "", "`ninelives host show HOST` names the device or agent that lost its voice; correct its cabling or address")
	}
	return nil
}
