package wire

import (
	"encoding/json"
	"net/http"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

func listServers(detail bool) handler {
	return func(w *world.World, q *call) answer {
		limit, fine := q.limit()
		if !fine {
			return bad("Invalid input for query parameters limit.")
		}
		v := q.URL.Query()
		sq := world.ServerQuery{
			Host: v.Get("host"), Name: v.Get("name"), Status: v.Get("status"), Project: v.Get("project_id"), Marker: v.Get("marker"), Limit: limit,
		}
		if v.Get("all_tenants") == "" || v.Get("all_tenants") == "0" {
			sq.Project = q.caller.Project
		}
		page, more, err := w.Servers(sq)
		if err != nil {
			return no(err)
		}
		list := []obj{}
		for _, s := range page {
			if detail {
				list = append(list, serverJSON(w, q, s, false))
			} else {
				list = append(list, obj{"id": s.ID, "name": s.Name, "links": serverLinks(q, s.ID)})
			}
		}
		out := obj{"servers": list}
		if more {
			out["servers_links"] = q.nextLink(page[len(page)-1].ID)
		}
		return ok(out)
	}
}

func showServer(w *world.World, q *call) answer {
	page, err := one(w, q)
	if err != nil {
		return no(err)
	}
	return ok(obj{"server": serverJSON(w, q, page, true)})
}

func one(w *world.World, q *call) (*world.VM, *world.Error) {
	id := q.PathValue("id")
	if _, err := w.Actions(id); err != nil { // says whether the VM is there and its cell answers
		return nil, err
	}
	return w.VM(id), nil
}

func deleteServer(w *world.World, q *call) answer {
	if err := w.Do(q.caller, q.PathValue("id"), "delete"); err != nil {
		return no(err)
	}
	return answer{code: http.StatusNoContent}
}

func serverLinks(q *call, id string) []obj {
	return []obj{{"rel": "self", "href": q.base + "/servers/" + id}}
}

func serverJSON(w *world.World, q *call, s *world.VM, show bool) obj {
	o := obj{
		"id": s.ID, "name": s.Name, "tenant_id": s.Project, "user_id": s.User, "status": s.Status(), "metadata": s.Metadata,
		"created": stamp(s.Created), "updated": stamp(s.Updated), "addresses": obj{}, "accessIPv4": "", "accessIPv6": "",
		"links": serverLinks(q, s.ID), "config_drive": "", "OS-DCF:diskConfig": "MANUAL", "key_name": null(s.KeyName), "hostId": s.Host,
		"OS-EXT-STS:task_state": null(s.TaskState), "OS-EXT-STS:vm_state": s.VMState, "OS-EXT-STS:power_state": s.PowerState,
		"OS-SRV-USG:launched_at": fraction(s.Launched), "OS-SRV-USG:terminated_at": nil,
		"OS-EXT-SRV-ATTR:host": null(s.Host), "OS-EXT-SRV-ATTR:hypervisor_hostname": nil,
		"OS-EXT-SRV-ATTR:instance_name": "instance-" + s.ID[:8], "OS-EXT-AZ:availability_zone": "",
	}
	if h := w.Host(s.Host); h != nil {
		o["OS-EXT-SRV-ATTR:hypervisor_hostname"], o["OS-EXT-AZ:availability_zone"] = h.Hypervisor, h.Zone
	}
	o["image"] = ""
	if s.Image != "" {
		o["image"] = obj{"id": s.Image, "links": []obj{}}
	}
	volumes := []obj{}
	for _, id := range s.Volumes {
		volumes = append(volumes, obj{"id": id, "delete_on_termination": false})
	}
	o["os-extended-volumes:volumes_attached"] = volumes
	if s.VMState == world.ErrorState {
		o["fault"] = obj{"code": 500, "created": stamp(s.Updated), "message": or(s.Fault, "set by an administrator")}
	} else if s.Status() == "ACTIVE" {
		o["progress"] = 0
	}
	laterFields(o, q.mv, s, show)
	return o
}

// laterFields are those that came with a microversion.
func laterFields(o obj, mv int, s *world.VM, show bool) {
	if mv >= 9 {
		o["locked"] = s.Locked
	}
	if mv >= 19 {
		o["description"] = nil
	}
	if mv >= 26 {
		o["tags"] = append([]string{}, s.Tags...)
	}
	if mv >= 47 {
		extra := s.Flavor.Extra
		if extra == nil {
			extra = map[string]string{}
		}
		o["flavor"] = obj{
			"original_name": s.Flavor.Name, "vcpus": s.Flavor.VCPUs, "ram": s.Flavor.RAM, "disk": s.Flavor.Disk,
			"ephemeral": 0, "swap": 0, "extra_specs": extra,
		}
	} else {
		o["flavor"] = obj{"id": s.Flavor.ID, "links": []obj{}}
	}
	if mv >= 63 {
		o["trusted_image_certificates"] = nil
	}
	if mv >= 71 && show {
		groups := []string{}
		if s.Group != "" {
			groups = append(groups, s.Group)
		}
		o["server_groups"] = groups
	}
	if mv >= 73 {
		o["locked_reason"] = null(s.LockedReason)
	}
}

func null(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func serverAction(w *world.World, q *call) answer {
	var body map[string]json.RawMessage
	if err := json.Unmarshal(q.body, &body); err != nil || len(body) != 1 {
		return bad("Malformed request body")
	}
	id := q.PathValue("id")
	for name, raw := range body {
		switch name {
		case "evacuate":
			return evacuate(w, q, id, raw)
		case "os-migrateLive":
			return migrateLive(w, q, id, raw)
		case "os-resetState":
			var in struct {
				State string `json:"state"`
			}
			if strict(raw, &in) != nil || in.State != "active" && in.State != "error" {
				return bad("Invalid input for field/attribute state.")
			}
			return did(w.Do(q.caller, id, "reset-"+in.State))
		case "reboot":
			var in struct {
				Type string `json:"type"`
			}
			switch err := strict(raw, &in); {
			case err == nil && in.Type == "HARD":
				return did(w.Do(q.caller, id, "reboot"))
			case err == nil && in.Type == "SOFT":
				return did(w.Do(q.caller, id, "soft-reboot"))
			}
			return bad("Invalid input for field/attribute type.")
		case "migrate":
			return did(w.Resize(q.caller, id, true))
		case "resize":
			return did(w.Resize(q.caller, id, false))
		case "confirmResize":
			if err := w.ConfirmResize(q.caller, id); err != nil {
				return no(err)
			}
			return answer{code: http.StatusNoContent}
		}
		plain, known := map[string]string{
			"os-start": "start", "os-stop": "stop", "pause": "pause", "unpause": "unpause", "suspend": "suspend", "resume": "resume",
			"lock": "lock", "unlock": "unlock", "forceDelete": "delete", "shelve": "shelve", "rescue": "rescue",
		}[name]
		if known {
			return did(w.Do(q.caller, id, plain))
		}
	}
	return bad("There is no such action")
}

// did is the answer to an action: 202 without a body.
func did(err *world.Error) answer {
	if err != nil {
		return no(err)
	}
	return answer{code: http.StatusAccepted}
}

// evacuate: from 2.14 on onSharedStorage is an error and the 200 has no body; from 2.68 on force is an error.
func evacuate(w *world.World, q *call, id string, raw json.RawMessage) answer {
	var in struct {
		Host            *string `json:"host"`
		Force           *bool   `json:"force"`
		OnSharedStorage *bool   `json:"onSharedStorage"`
		AdminPass       string  `json:"adminPass"`
	}
	err := strict(raw, &in)
	switch {
	case err != nil:
		return bad("Invalid input for field/attribute evacuate: %v", err)
	case q.mv >= 14 && in.OnSharedStorage != nil:
		return bad("Additional properties are not allowed ('onSharedStorage' was unexpected)")
	case in.Force != nil && (q.mv < 29 || q.mv >= 68):
		return bad("Additional properties are not allowed ('force' was unexpected)")
	case in.Host != nil && *in.Host == "":
		return bad("Invalid input for field/attribute host. Value: ''.")
	}
	target := ""
	if in.Host != nil {
		target = *in.Host
	}
	if err := w.Evacuate(q.caller, id, target, q.mv >= 95); err != nil {
		return no(err)
	}
	if q.mv < 14 {
		return ok(obj{"adminPass": or(in.AdminPass, "simulated")})
	}
	return ok(nil)
}

func migrateLive(w *world.World, q *call, id string, raw json.RawMessage) answer {
	var in struct {
		Host           *string `json:"host"`
		BlockMigration any     `json:"block_migration"`
	}
	if err := strict(raw, &in); err != nil {
		return bad("Invalid input for field/attribute os-migrateLive: %v", err)
	}
	target := ""
	if in.Host != nil {
		target = *in.Host
	}
	return did(w.LiveMigrate(q.caller, id, target))
}

func listActions(w *world.World, q *call) answer {
	id := q.PathValue("id")
	actions, err := w.Actions(id)
	if err != nil {
		return no(err)
	}
	list := []obj{}
	for _, a := range actions {
		o := obj{
			"action": a.Name, "instance_uuid": id, "request_id": a.RequestID, "user_id": a.User, "project_id": a.Project,
			"start_time": fraction(a.Start), "message": null(a.Message),
		}
		if q.mv >= 58 {
			o["updated_at"] = fraction(a.Updated)
		}
		list = append(list, o)
	}
	return ok(obj{"instanceActions": list})
}

func liveMigrations(w *world.World, q *call) answer {
	if _, err := one(w, q); err != nil {
		return no(err)
	}
	list := []obj{}
	page, _, _ := w.Migrations(world.MigrationQuery{VM: q.PathValue("id"), Type: "live-migration"})
	for _, m := range page {
		if m.Open() {
			list = append(list, migrationJSON(q, m))
		}
	}
	return ok(obj{"migrations": list})
}
