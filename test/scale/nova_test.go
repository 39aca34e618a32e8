//go:build scale

package scale

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	vmsPerHost = 20
	novaReport = 10 * time.Second
	// perVM is how long a list takes for each VM: a real Nova needs ten to twenty times as long.
	perVM = time.Second / 2000
)

// nova answers what a server reads, from names that count up: nothing is kept, so that its own cost stays small. Records
// have the size of real ones.
type nova struct {
	hosts int
	base  string
	down  func(host int) bool // its nova-compute no longer reports
}

func hostName(i int) string   { return fmt.Sprintf("compute-%05d", i) }
func vmID(i int) string       { return fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i) }
func hypervisor(i int) string { return fmt.Sprintf("%08x-1111-4000-8000-%012x", i, i) }
func machineID(i int) string  { return fmt.Sprintf("%08x-2222-4000-8000-%012x", i, i) }
func zoneOf(i int) string     { return fmt.Sprintf("az%d", i%3+1) }

// hostNumber is the place of a host, or of a server's id, among its kind; -1: none.
func hostNumber(name string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(name, "compute-"))
	if err != nil {
		return -1
	}
	return n
}

func idNumber(id string) int {
	n, err := strconv.ParseUint(id[:min(8, len(id))], 16, 32)
	if err != nil {
		return -1
	}
	return int(n)
}

func startNova(t testing.TB, hosts int, down func(int) bool) *nova {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nova{hosts: hosts, base: "http://" + l.Addr().String(), down: down}
	srv := &http.Server{Handler: n.routes(), ReadHeaderTimeout: 10 * time.Second}
	go srv.Serve(l) //nolint:errcheck // ends with Close
	t.Cleanup(func() { srv.Close() })
	return n
}

type obj = map[string]any

func (n *nova) routes() http.Handler {
	mux := http.NewServeMux()
	answer := func(pattern string, f func(r *http.Request) any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			switch v := f(r).(type) {
			case nil:
				http.Error(w, `{"itemNotFound": {"code": 404, "message": "not there"}}`, http.StatusNotFound)
			case []byte:
				_, _ = w.Write(v)
			default:
				_ = json.NewEncoder(w).Encode(v)
			}
		})
	}
	mux.HandleFunc("POST /v3/auth/tokens", n.token)
	answer("GET /compute/{$}", func(*http.Request) any {
		return obj{"version": obj{"id": "v2.1", "status": "CURRENT", "version": "2.93", "min_version": "2.1"}}
	})
	answer("GET /compute/os-services", n.services)
	answer("GET /compute/os-hypervisors/detail", n.hypervisors)
	answer("GET /compute/os-aggregates", n.aggregates)
	answer("GET /compute/os-server-groups", func(*http.Request) any { return obj{"server_groups": []obj{}} })
	answer("GET /compute/os-migrations", func(*http.Request) any { return obj{"migrations": []obj{}} })
	answer("GET /compute/servers/detail", n.servers)
	answer("GET /compute/servers/{id}", func(r *http.Request) any {
		return append(append([]byte(`{"server":`), n.server(nil, idNumber(r.PathValue("id")))...), '}')
	})
	answer("GET /placement/resource_providers/{id}/allocations", func(r *http.Request) any {
		held, first := obj{}, idNumber(r.PathValue("id"))*vmsPerHost
		for i := range vmsPerHost {
			held[vmID(first+i)] = obj{"resources": obj{"VCPU": 2, "MEMORY_MB": 4096}}
		}
		return obj{"allocations": held}
	})
	answer("GET /image/v2/images/{id}", func(r *http.Request) any {
		return obj{"id": r.PathValue("id"), "name": "debian-12", "status": "active", "hw_disk_bus": "virtio", "os_distro": "debian"}
	})
	return mux
}

func (n *nova) token(w http.ResponseWriter, _ *http.Request) {
	var catalog []obj
	for _, s := range [][2]string{{"identity", "/v3"}, {"compute", "/compute/"}, {"placement", "/placement/"}, {"image", "/image/"}} {
		catalog = append(catalog, obj{"type": s[0], "name": s[0], "endpoints": []obj{{"interface": "public", "region": "R", "region_id": "R", "url": n.base + s[1]}}})
	}
	w.Header().Set("X-Subject-Token", "token")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(obj{"token": obj{
		"expires_at": time.Now().Add(24 * time.Hour).UTC().Format("2006-01-02T15:04:05.000000Z"), "catalog": catalog,
		"user": obj{"id": "u", "name": "ninelives"}, "project": obj{"id": "p", "name": "admin"}, "roles": []obj{{"id": "r", "name": "admin"}},
	}})
}

func (n *nova) services(r *http.Request) any {
	now, one := time.Now(), r.URL.Query().Get("host")
	out := []byte(`{"services":[`)
	for i := range n.hosts {
		if one != "" && one != hostName(i) {
			continue
		}
		at := now.Truncate(novaReport)
		if n.down(i) {
			at = time.Unix(0, 0)
		}
		out = fmt.Appendf(comma(out), `{"id":"%s","binary":"nova-compute","host":"%s","zone":"%s","status":"enabled","disabled_reason":null,"forced_down":false,"state":"up","updated_at":"%s"}`,
			hypervisor(i), hostName(i), zoneOf(i), at.UTC().Format("2006-01-02T15:04:05.000000"))
	}
	return append(out, "]}"...)
}

func comma(b []byte) []byte {
	if b[len(b)-1] != '[' {
		b = append(b, ',')
	}
	return b
}

// page is what a list is asked for, and how to say where the next one begins.
func page(r *http.Request, all int, number func(string) int) (from, to int) {
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil {
		limit = 1000
	}
	if m := r.URL.Query().Get("marker"); m != "" {
		from = number(m) + 1
	}
	return from, min(from+limit, all)
}

func next(out []byte, key, path, marker string, more bool) []byte {
	out = append(out, ']')
	if more {
		out = fmt.Appendf(out, `,"%s_links":[{"rel":"next","href":"http://nova%s?marker=%s"}]`, key, path, marker)
	}
	return append(out, '}')
}

func (n *nova) hypervisors(r *http.Request) any {
	from, to := page(r, n.hosts, idNumber)
	out := []byte(`{"hypervisors":[`)
	for i := from; i < to; i++ {
		out = fmt.Appendf(comma(out), `{"id":"%s","hypervisor_hostname":"%s","hypervisor_type":"QEMU","hypervisor_version":7002000,"state":"up","status":"enabled","host_ip":"198.18.0.1","vcpus":128,"vcpus_used":40,"memory_mb":1048576,"memory_mb_used":82432,"local_gb":4000,"local_gb_used":400,"free_disk_gb":3600,"free_ram_mb":966144,"running_vms":%d,"cpu_info":{"arch":"x86_64","model":"Cascadelake-Server","vendor":"Intel","topology":{"cores":32,"sockets":2,"threads":2},"features":["pge","avx","clflush","sep","syscall","vme","dtes64","msr","sse","sse2"]},"service":{"host":"%s","id":"%s","disabled_reason":null}}`,
			hypervisor(i), hostName(i), vmsPerHost, hostName(i), hypervisor(i))
	}
	return next(out, "hypervisors", "/os-hypervisors/detail", hypervisor(to-1), to < n.hosts)
}

func (n *nova) aggregates(*http.Request) any {
	hosts := map[string][]string{}
	for i := range n.hosts {
		hosts[zoneOf(i)] = append(hosts[zoneOf(i)], hostName(i))
	}
	list := []obj{}
	for zone, names := range hosts {
		list = append(list, obj{"name": zone, "availability_zone": zone, "hosts": names, "metadata": obj{"availability_zone": zone}})
	}
	return obj{"aggregates": list}
}

func (n *nova) servers(r *http.Request) any {
	all := n.hosts * vmsPerHost
	from, to := page(r, all, idNumber)
	more := to < all
	if host := r.URL.Query().Get("host"); host != "" {
		i := hostNumber(host)
		if i < 0 || i >= n.hosts || r.URL.Query().Get("marker") != "" {
			return obj{"servers": []obj{}}
		}
		from, to, more = i*vmsPerHost, (i+1)*vmsPerHost, false
	}
	<-time.After(time.Duration(to-from) * perVM)
	out := []byte(`{"servers":[`)
	for i := from; i < to; i++ {
		out = n.server(comma(out), i)
	}
	return next(out, "servers", "/servers/detail", vmID(to-1), more)
}

func (n *nova) server(out []byte, i int) []byte {
	h := i / vmsPerHost
	tags := ""
	if i%20 == 0 {
		tags = `"automatic-recovery"`
	}
	return fmt.Appendf(out, `{"id":"%[1]s","name":"vm-%06[2]d","tenant_id":"%032[3]x","user_id":"%032[3]x","status":"ACTIVE","created":"2026-01-02T03:04:05Z","updated":"2026-01-02T03:04:45Z","metadata":{"owner":"team-%[3]d","cost-center":"4711"},"addresses":{"tenant-net":[{"version":4,"addr":"10.%[3]d.1.2","OS-EXT-IPS:type":"fixed","OS-EXT-IPS-MAC:mac_addr":"fa:16:3e:00:11:22"},{"version":4,"addr":"203.0.113.7","OS-EXT-IPS:type":"floating","OS-EXT-IPS-MAC:mac_addr":"fa:16:3e:00:11:22"}]},"accessIPv4":"","accessIPv6":"","links":[{"rel":"self","href":"http://nova.example.org:8774/v2.1/servers/%[1]s"},{"rel":"bookmark","href":"http://nova.example.org:8774/servers/%[1]s"}],"OS-DCF:diskConfig":"AUTO","progress":0,"OS-EXT-AZ:availability_zone":"%[4]s","config_drive":"","key_name":"key","OS-SRV-USG:launched_at":"2026-01-02T03:04:44.000000","OS-SRV-USG:terminated_at":null,"OS-EXT-SRV-ATTR:host":"%[5]s","OS-EXT-SRV-ATTR:instance_name":"instance-%08[2]x","OS-EXT-SRV-ATTR:hypervisor_hostname":"%[5]s","OS-EXT-SRV-ATTR:reservation_id":"r-abcdefgh","OS-EXT-SRV-ATTR:launch_index":0,"OS-EXT-SRV-ATTR:hostname":"vm-%06[2]d","OS-EXT-SRV-ATTR:root_device_name":"/dev/vda","OS-EXT-SRV-ATTR:user_data":null,"OS-EXT-STS:task_state":null,"OS-EXT-STS:vm_state":"active","OS-EXT-STS:power_state":1,"os-extended-volumes:volumes_attached":[{"id":"%[1]s","delete_on_termination":false}],"locked":false,"locked_reason":null,"description":null,"tags":[%[6]s],"trusted_image_certificates":null,"host_status":"UP","image":{"id":"%08[7]x-3333-4000-8000-000000000000","links":[{"rel":"bookmark","href":"http://nova.example.org:8774/images/x"}]},"flavor":{"vcpus":2,"ram":4096,"disk":40,"ephemeral":0,"swap":0,"original_name":"m1.medium","extra_specs":{"hw:cpu_policy":"shared","aggregate_instance_extra_specs:tier":"standard"}},"server_groups":[],"security_groups":[{"name":"default"}],"hostId":"%032[3]x"}`,
		vmID(i), i, i%500, zoneOf(h), hostName(h), tags, i%40)
}
