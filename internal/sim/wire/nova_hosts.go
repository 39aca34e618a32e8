package wire

import (
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

func serviceJSON(w *world.World, q *call, h *world.Host) obj {
	status, state := "enabled", "down"
	if h.Disabled {
		status = "disabled"
	}
	if w.ServiceUp(h.Name) {
		state = "up"
	}
	o := obj{
		"id": h.ServiceID, "binary": "nova-compute", "host": h.Name, "zone": h.Zone, "status": status, "state": state,
		"disabled_reason": null(h.DisabledReason), "updated_at": fraction(h.UpdatedAt),
	}
	if q.mv >= 11 {
		o["forced_down"] = h.ForcedDown
	}
	return o
}

func listServices(w *world.World, q *call) answer {
	v := q.URL.Query()
	list := []obj{}
	if b := v.Get("binary"); b == "" || b == "nova-compute" {
		for _, h := range w.Services() {
			if v.Get("host") == "" || v.Get("host") == h.Name {
				list = append(list, serviceJSON(w, q, h))
			}
		}
	}
	for _, b := range []string{"nova-conductor", "nova-scheduler"} {
		if (v.Get("binary") == "" || v.Get("binary") == b) && v.Get("host") == "" {
			o := obj{
				"id":     "00000000-0000-4000-8000-0000000000" + map[string]string{"nova-conductor": "01", "nova-scheduler": "02"}[b],
				"binary": b, "host": "controller", "zone": "internal", "status": "enabled", "state": "up", "disabled_reason": nil, "updated_at": fraction(w.Now()),
			}
			if q.mv >= 11 {
				o["forced_down"] = false
			}
			list = append(list, o)
		}
	}
	return ok(obj{"services": list})
}

func putService(w *world.World, q *call) answer {
	if q.mv < 53 {
		return no(&world.Error{Code: 404, Message: "The resource could not be found."})
	}
	var in struct {
		Status     *string `json:"status"`
		Reason     *string `json:"disabled_reason"`
		ForcedDown *bool   `json:"forced_down"`
	}
	if err := strict(q.body, &in); err != nil {
		return bad("Invalid input: %v", err)
	}
	u := world.ServiceUpdate{ForcedDown: in.ForcedDown}
	if in.Status != nil {
		if *in.Status != "enabled" && *in.Status != "disabled" {
			return bad("Invalid input for field/attribute status. Value: %s.", *in.Status)
		}
		off := *in.Status == "disabled"
		u.Disabled = &off
	}
	if in.Reason != nil {
		if u.Disabled == nil || !*u.Disabled {
			return bad("Specifying disabled_reason requires that status be disabled.")
		}
		u.Reason = *in.Reason
	}
	if u.Disabled == nil && u.ForcedDown == nil {
		return bad("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
	}
	h, wait, err := w.UpdateService(q.caller, q.PathValue("id"), u)
	if err != nil {
		return no(err)
	}
	a := ok(obj{"service": serviceJSON(w, q, h)})
	a.wait = wait
	return a
}

// forceDown is the call of 2.11 to 2.52.
func forceDown(w *world.World, q *call) answer {
	var in struct {
		Host       string `json:"host"`
		Binary     string `json:"binary"`
		ForcedDown bool   `json:"forced_down"`
	}
	if err := strict(q.body, &in); err != nil {
		return bad("Invalid input: %v", err)
	}
	h := w.Host(in.Host)
	if q.mv < 11 || q.mv >= 53 || h == nil {
		return no(&world.Error{Code: 404, Message: "The resource could not be found."})
	}
	if _, _, err := w.UpdateService(q.caller, h.ServiceID, world.ServiceUpdate{ForcedDown: &in.ForcedDown}); err != nil {
		return no(err)
	}
	return ok(obj{"service": obj{"host": in.Host, "binary": in.Binary, "forced_down": in.ForcedDown}})
}

func listHypervisors(detail bool) handler {
	return func(w *world.World, q *call) answer {
		list := []obj{}
		for i, h := range w.Services() {
			state, status := "down", "enabled"
			if w.ServiceUp(h.Name) {
				state = "up"
			}
			if h.Disabled {
				status = "disabled"
			}
			o := obj{"hypervisor_hostname": h.Hypervisor, "state": state, "status": status}
			o["id"] = any(i + 1)
			if q.mv >= 53 {
				o["id"] = h.HypUUID
			}
			if detail {
				used := w.Used(h.Name)
				o["service"] = obj{"id": h.ServiceID, "host": h.Name, "disabled_reason": null(h.DisabledReason)}
				o["hypervisor_type"], o["hypervisor_version"], o["host_ip"] = h.HypType, 8000000, "127.0.0.1"
				if q.mv < 88 {
					o["vcpus"], o["vcpus_used"], o["memory_mb"], o["memory_mb_used"] = h.VCPUs, used.VCPUs, h.RAM, used.RAM
					o["free_ram_mb"], o["local_gb"], o["local_gb_used"], o["free_disk_gb"] = h.RAM-used.RAM, h.Disk, used.Disk, h.Disk-used.Disk
					o["running_vms"], o["current_workload"], o["disk_available_least"], o["cpu_info"] = used.VMs, 0, h.Disk-used.Disk, obj{}
				}
			}
			list = append(list, o)
		}
		limit, fine := q.limit()
		if !fine {
			return bad("Invalid input for query parameters limit.")
		}
		return pagedHypervisors(q, list, limit)
	}
}

// pagedHypervisors pages from 2.33 on.
func pagedHypervisors(q *call, list []obj, limit int) answer {
	if m := q.URL.Query().Get("marker"); m != "" {
		i := slices.IndexFunc(list, func(o obj) bool { return o["id"] == m })
		if i < 0 {
			return bad("Marker %s could not be found.", m)
		}
		list = list[i+1:]
	}
	out := obj{"hypervisors": list}
	if q.mv >= 33 && limit > 0 && len(list) > limit {
		id, _ := list[limit-1]["id"].(string)
		out["hypervisors"], out["hypervisors_links"] = list[:limit], q.nextLink(id)
	}
	return ok(out)
}

func migrationJSON(q *call, m world.Migration) obj {
	o := obj{
		"id": m.ID, "status": m.Status, "instance_uuid": m.VM, "source_compute": m.Source, "source_node": m.Source,
		"dest_compute": null(m.Dest), "dest_node": null(m.Dest), "dest_host": nil, "created_at": fraction(m.Created), "updated_at": fraction(m.Updated),
		"old_instance_type_id": 1, "new_instance_type_id": 1,
	}
	if q.mv >= 23 {
		o["migration_type"], o["links"] = m.Type, []obj{}
	}
	if q.mv >= 59 {
		o["uuid"] = m.UUID
	}
	if q.mv >= 80 {
		o["user_id"], o["project_id"] = m.User, m.Project
	}
	return o
}

func listMigrations(w *world.World, q *call) answer {
	v := q.URL.Query()
	mq := world.MigrationQuery{
		Type: v.Get("migration_type"), Source: v.Get("source_compute"), Host: v.Get("host"), VM: v.Get("instance_uuid"), Status: v.Get("status"),
	}
	if q.mv >= 59 {
		mq.Marker = v.Get("marker")
		limit, fine := q.limit()
		if !fine {
			return bad("Invalid input for query parameters limit.")
		}
		mq.Limit = limit
		if s := v.Get("changes-since"); s != "" {
			t, err := time.Parse(time.RFC3339, s)
			if err != nil {
				return bad("Invalid input for query parameters changes-since. Value: %s.", s)
			}
			mq.Since = t
		}
	}
	if q.mv >= 80 {
		mq.User, mq.Project = v.Get("user_id"), v.Get("project_id")
	}
	page, more, err := w.Migrations(mq)
	if err != nil {
		return no(err)
	}
	list := []obj{}
	for _, m := range page {
		list = append(list, migrationJSON(q, m))
	}
	out := obj{"migrations": list}
	if more && q.mv >= 59 {
		out["migrations_links"] = q.nextLink(page[len(page)-1].UUID)
	}
	return ok(out)
}

func listAggregates(w *world.World, q *call) answer {
	list := []obj{}
	for _, a := range w.Aggregates() {
		meta := map[string]string{}
		for k, v := range a.Metadata {
			meta[k] = v
		}
		if a.Zone != "" {
			meta["availability_zone"] = a.Zone
		}
		o := obj{
			"id": a.ID, "name": a.Name, "availability_zone": null(a.Zone), "hosts": append([]string{}, a.Hosts...), "metadata": meta,
			"created_at": fraction(w.Now()), "updated_at": nil, "deleted": false, "deleted_at": nil,
		}
		if q.mv >= 41 {
			o["uuid"] = a.UUID
		}
		list = append(list, o)
	}
	return ok(obj{"aggregates": list})
}

func listZones(w *world.World, _ *call) answer {
	byZone := map[string]obj{}
	names := []string{}
	for _, h := range w.Services() {
		if byZone[h.Zone] == nil {
			byZone[h.Zone] = obj{}
			names = append(names, h.Zone)
		}
		byZone[h.Zone][h.Name] = obj{"nova-compute": obj{"available": w.ServiceUp(h.Name), "active": !h.Disabled, "updated_at": fraction(h.UpdatedAt)}}
	}
	slices.Sort(names)
	list := []obj{}
	for _, n := range names {
		list = append(list, obj{"zoneName": n, "zoneState": obj{"available": true}, "hosts": byZone[n]})
	}
	return ok(obj{"availabilityZoneInfo": list})
}

// listGroups pages by offset and without links, as Nova does.
func listGroups(w *world.World, q *call) answer {
	list := []obj{}
	for _, g := range w.Groups() {
		o := obj{"id": g.ID, "name": g.Name, "members": append([]string{}, g.Members...), "project_id": g.Project, "user_id": demoUser}
		if q.mv >= 64 {
			o["policy"], o["rules"] = g.Policy, obj{}
		} else {
			o["policies"], o["metadata"] = []string{g.Policy}, obj{}
		}
		list = append(list, o)
	}
	limit, fine := q.limit()
	offset, fine2 := number(q.URL.Query().Get("offset"))
	if !fine || !fine2 {
		return bad("Invalid input for query parameters.")
	}
	list = list[min(offset, len(list)):]
	if limit > 0 {
		list = list[:min(limit, len(list))]
	}
	return ok(obj{"server_groups": list})
}

func listFlavors(w *world.World, _ *call) answer {
	list := []obj{}
	for _, f := range w.Flavors() {
		list = append(list, obj{
			"id": f.ID, "name": f.Name, "vcpus": f.VCPUs, "ram": f.RAM, "disk": f.Disk, "swap": 0, "OS-FLV-EXT-DATA:ephemeral": 0,
			"rxtx_factor": 1.0, "os-flavor-access:is_public": true, "OS-FLV-DISABLED:disabled": false, "extra_specs": f.Extra, "links": []obj{},
		})
	}
	return ok(obj{"flavors": list})
}
