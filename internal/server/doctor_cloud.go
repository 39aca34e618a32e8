package server

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/cloud"
)

func one(severity, code, title, what, do string) []api.Finding {
	return []api.Finding{{Severity: severity, Code: code, Title: title, What: what, Do: do}}
}

// forbidding is an error that keeps Ninelives from being armed.
func forbidding(code, title, what, do string) []api.Finding {
	out := one(api.Refuse, code, title, what, do)
	out[0].Forbids = true
	return out
}

// checkCloud: a cloud that can't be asked may hide another service that evacuates, so it forbids arming.
func checkCloud(p *patient) []api.Finding {
	err := p.cloudErr
	switch {
	case errors.Is(err, cloud.ErrUnauthorized):
		return forbidding("cloud-login", "Keystone doesn't let us in", err.Error(), "correct user, password and project in clouds.yaml (or OS_*), then restart the server")
	case err != nil:
		return forbidding("cloud-unreachable", "The cloud can't be read: hosts are watched and can be fenced, but no VM can be brought back", err.Error(),
			"make sure that this server reaches Keystone and Nova at the addresses of clouds.yaml and of the catalogue")
	}
	var out []api.Finding
	if p.caps.Max < cloud.Lowest {
		out = append(out, one(api.Refuse, "nova-old", "Nova is too old", fmt.Sprintf("it offers microversions up to %s", p.caps.Max), fmt.Sprintf("%s (Train) or later is needed", cloud.Lowest))...)
	}
	for _, service := range []string{"identity", "compute", "placement", "image"} {
		if p.caps.Endpoints[service] != "" {
			continue
		}
		f := api.Finding{Severity: api.Warn, Code: "endpoint-missing", Title: "The catalogue has no " + service + " endpoint", Do: fmt.Sprintf("add it to Keystone's catalogue (region %s, interface %s)", p.caps.Region, p.caps.Interface)}
		switch service {
		case "placement":
			f.What = "the list of a dead host's VMs can't be checked against Placement"
		case "image":
			f.What = "image properties can't be read: rules that need them hold their VMs"
		default:
			f.Severity, f.What = api.Refuse, "nothing works without it"
		}
		out = append(out, f)
	}
	if p.aggregatesErr != nil {
		out = append(out, one(api.Warn, "cloud-partly", "Nova's aggregates can't be read", p.aggregatesErr.Error(), "run doctor again; if it stays so, look at Nova's API log")...)
	}
	if p.evacuationsErr != nil {
		out = append(out, forbidding("evacuations-unread", "Nobody knows whether another service evacuates: Nova's migrations can't be read", p.evacuationsErr.Error(),
			"run doctor again; if it stays so, look at Nova's API log")...)
	}
	return out
}

func checkRoles(p *patient) []api.Finding {
	if p.cloudErr != nil || slices.Contains(p.caps.Roles, "admin") {
		return nil
	}
	return one(api.Refuse, "role", "Our cloud user may lack the rights to evacuate",
		fmt.Sprintf("user %s has the roles %s in project %s; Nova's default policy allows evacuations, services and all projects' servers to admin only", p.caps.User, strings.Join(p.caps.Roles, ", "), p.caps.Project),
		fmt.Sprintf("openstack role add --user %s --project %s admin (unless your policy files allow it to another role)", p.caps.User, p.caps.Project))
}

// checkOthers finds traces of another service that evacuates: two of them make every recovery a race.
func checkOthers(p *patient) []api.Finding {
	var out []api.Finding
	forbid := func(code, title, what, do string) { out = append(out, forbidding(code, title, what, do)...) }
	for _, service := range []string{"instance-ha", "ha"} {
		if url := p.caps.Endpoints[service]; url != "" {
			forbid("masakari", "The catalogue has Masakari", service+" at "+url, "stop masakari-engine and its host monitors, and delete the endpoint")
		}
	}
	marked := map[string][]string{}
	for _, h := range p.hosts {
		for _, mark := range []string{"masakari", "instanceha"} { // Masakari's service_disable_reason; instanceha's marks begin "instanceha evacuation"
			if strings.Contains(strings.ToLower(h.Service.DisabledReason), mark) {
				marked[mark] = append(marked[mark], h.Name)
			}
		}
	}
	for _, mark := range slices.Sorted(maps.Keys(marked)) {
		forbid(mark+"-disabled", "Another service has taken hosts out: "+mark, "the disabled reason of "+few(marked[mark])+" names it",
			"stop "+mark+"; then enable these hosts again, or put a reason of your own there")
	}
	by := map[string]int{}
	for _, m := range p.evacuations {
		if m.UserID != "" && p.caps.UserID != "" && m.UserID != p.caps.UserID {
			by[m.UserID]++
		}
	}
	for _, user := range slices.Sorted(maps.Keys(by)) {
		forbid("others-evacuate", "Somebody else evacuates VMs", fmt.Sprintf("user %s evacuated %d VMs within the last 24 h", user, by[user]),
			"find out who it is (openstack user show "+user+"): Masakari, NovaEvacuate and instanceha must be stopped; if it was a person, arm with --force")
	}
	return out
}

// checkConventions finds the marks that other services act on. They are an operator's settings, not a running service.
func checkConventions(p *patient) []api.Finding {
	var aggregates []string
	for _, a := range p.aggregates {
		for k := range a.Metadata {
			if k == "evacuable" || strings.HasPrefix(k, "instanceha:") && k != "instanceha:max_failures" {
				aggregates = append(aggregates, a.Name+" ("+k+")")
			}
		}
	}
	vms := 0
	for vm := range p.vms {
		_, masakari := vm.Facts.Metadata["HA_Enabled"]
		_, redHat := vm.Facts.Metadata["evacuable"]
		if masakari || redHat || slices.Contains(vm.Facts.Tags, "evacuable") {
			vms++
		}
	}
	if len(aggregates) == 0 && vms == 0 {
		return nil
	}
	slices.Sort(aggregates)
	what := fmt.Sprintf("%d VMs are marked (HA_Enabled, evacuable)", vms)
	if len(aggregates) > 0 {
		what += "; aggregates: " + few(aggregates)
	}
	return one(api.Warn, "others-conventions", "Marks of another instance HA service are there, and Ninelives doesn't read them", what,
		"make sure that Masakari and instanceha don't run any more; say the same with rules: match: {metadata: {HA_Enabled: true}}")
}

// few shows at most five names.
func few(names []string) string {
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), len(names)-5)
	}
	return strings.Join(names, ", ")
}
