package wire

import (
	"net/http"
	"strconv"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

func number(s string) (int, bool) {
	if s == "" {
		return 0, true
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0
}

// placementRoutes are Placement's allocations and providers, and Glance's images.
func (c *Cloud) placementRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /placement/{$}", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, obj{"versions": []obj{{"id": "v1.0", "status": "CURRENT", "min_version": "1.0", "max_version": "1.39", "links": []obj{{"rel": "self", "href": ""}}}}})
	})
	mux.HandleFunc("GET /placement/resource_providers", c.authed(func(w http.ResponseWriter, _ *http.Request) {
		list := []obj{}
		c.World(func(w *world.World) {
			for _, h := range w.Services() {
				list = append(list, obj{"uuid": h.HypUUID, "name": h.Hypervisor, "generation": 1, "links": []obj{}})
			}
		})
		writeJSON(w, http.StatusOK, obj{"resource_providers": list})
	}))
	mux.HandleFunc("GET /placement/resource_providers/{id}/allocations", c.authed(func(w http.ResponseWriter, r *http.Request) {
		out, found := obj{}, false
		c.World(func(w *world.World) {
			var held map[string]world.Flavor
			held, found = w.Allocations(r.PathValue("id"))
			for id, f := range held {
				out[id] = obj{"resources": obj{"VCPU": f.VCPUs, "MEMORY_MB": f.RAM, "DISK_GB": f.Disk}}
			}
		})
		if !found {
			writeJSON(w, http.StatusNotFound, obj{"errors": []obj{{"status": 404, "title": "Not Found", "request_id": "req-" + c.ids.uuid(),
				"detail": "The resource could not be found. Resource provider '" + r.PathValue("id") + "' not found"}}})
			return
		}
		writeJSON(w, http.StatusOK, obj{"allocations": out, "resource_provider_generation": 1})
	}))
	mux.HandleFunc("GET /image/v2/images/{id}", c.authed(c.showImage))
}

func (c *Cloud) showImage(w http.ResponseWriter, r *http.Request) {
	var image *world.Image
	c.World(func(w *world.World) { image = w.Image(r.PathValue("id")) })
	if image == nil {
		http.Error(w, "<html><head><title>404 Not Found</title></head><body>No image found with ID "+r.PathValue("id")+"</body></html>", http.StatusNotFound)
		return
	}
	o := obj{
		"id": image.ID, "name": image.Name, "status": "active", "visibility": "public", "container_format": "bare", "disk_format": "qcow2",
		"size": 1 << 20, "min_disk": 0, "min_ram": 0, "protected": false, "tags": []string{}, "owner": adminProject, "schema": "/v2/schemas/image",
		"created_at": stamp(c.begun), "updated_at": stamp(c.begun), "file": "/v2/images/" + image.ID + "/file", "self": "/v2/images/" + image.ID,
	}
	for k, v := range image.Properties {
		o[k] = v
	}
	writeJSON(w, http.StatusOK, o)
}
