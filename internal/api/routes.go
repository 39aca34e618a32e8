package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

// router registers operations.
type router struct {
	api huma.API
	b   Backend
	o   Options
	ctx context.Context
}

// answer is a body.
type answer[T any] struct{ Body T }

// none is an operation without input.
type none struct{}

// What an operation is about, and with which body.
type (
	aboutHost struct {
		Host string `path:"host" maxLength:"255" doc:"As Nova names it"`
	}
	aboutIncident struct {
		ID string `path:"id" maxLength:"64"`
	}
	aboutVM struct {
		VM string `path:"vm" maxLength:"255" doc:"Id or name"`
	}
	onHost[T any] struct {
		Caller
		Host string `path:"host" maxLength:"255" doc:"As Nova names it"`
		Body T
	}
	onZone[T any] struct {
		Caller
		Zone string `path:"zone" maxLength:"255"`
		Body T
	}
	onIncident[T any] struct {
		Caller
		ID   string `path:"id" maxLength:"64"`
		Body T
	}
	asking[T any] struct {
		Caller
		Body T
	}
)

// Caller is who asks, for the audit trail. It is taken from the connection, never from the request.
type Caller struct {
	By string `json:"-" hidden:"true"`
}

// Resolve takes the remote address in. There is one token yet, so one name.
func (c *Caller) Resolve(ctx huma.Context) []error {
	from := ctx.RemoteAddr()
	if host, _, err := net.SplitHostPort(from); err == nil {
		from = host // the port says nothing to people
	}
	c.By = "admin@" + from
	return nil
}

// routes is every operation there is.
func routes(mux *http.ServeMux, o Options, life context.Context) huma.API {
	config := huma.DefaultConfig("Ninelives", "v1")
	config.Info.Description = "Instance high availability for OpenStack: what a server knows, and what operators may ask of it."
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no links to schemas in every answer
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"admin": {Type: "http", Scheme: "bearer", Description: "The admin token, made at the server's first start (admin.token in its data directory)"}}
	config.Security = []map[string][]string{{"admin": {}}}
	r := router{api: humago.New(mux, config), b: o.Backend, o: o, ctx: life}
	r.watching()
	r.hosts()
	r.incidents()
	r.policy()
	r.fencing()
	r.operating()
	r.telling()
	r.cluster()
	return r.api
}

// schemaName keeps the policy's VM and ours apart.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if strings.HasSuffix(t.PkgPath(), "/policy") && !strings.HasPrefix(name, "Policy") {
		return "Policy" + name
	}
	return name
}

// get, post and put register one operation whose handler only calls the backend.
func get[I, T any](r router, path, summary string, f func(context.Context, *I) (T, error)) {
	register(r, http.MethodGet, path, summary, smallBody, f)
}

func post[I, T any](r router, path, summary string, f func(context.Context, *I) (T, error)) {
	register(r, http.MethodPost, path, summary, smallBody, f)
}

func register[I, T any](r router, method, path, summary string, limit int64, f func(context.Context, *I) (T, error)) {
	huma.Register(r.api, huma.Operation{
		OperationID: operationID(method, path), Method: method, Path: path, Summary: summary, MaxBodyBytes: limit,
		BodyReadTimeout: readTimeout, RejectUnknownQueryParameters: true, Tags: []string{strings.Split(path, "/")[2]},
		Responses: map[string]*huma.Response{"default": r.problems()},
	}, func(ctx context.Context, in *I) (*answer[T], error) {
		out, err := f(ctx, in)
		if err != nil {
			return nil, problemOf(r, path, err)
		}
		return &answer[T]{out}, nil
	})
}

// problems describes what every operation answers when it doesn't do what was asked.
func (r router) problems() *huma.Response {
	schema := r.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	return &huma.Response{
		Description: "A problem, with what to do next. 401: no admin token; 404: no such thing; 409: not as things stand; 422: not as it was sent; 503: this server doesn't lead, or has no quorum",
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: schema}},
	}
}

func operationID(method, path string) string {
	id := strings.NewReplacer("/v1/", "", "/{", "-", "}", "", "/", "-").Replace(path)
	return strings.ToLower(method) + "-" + id
}

// problemOf makes any error an answer. Those that nobody foresaw are logged: the client can't do anything about them.
func problemOf(r router, path string, err error) error {
	var p *Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, context.DeadlineExceeded):
		return problem(http.StatusGatewayTimeout, "try again; if it stays so, see the server's log", "no answer in time: %v", err)
	case errors.Is(err, context.Canceled):
		return Unavailable("try again in a few seconds", "interrupted: %v", err)
	}
	r.log("a request failed", path, err)
	return problem(http.StatusInternalServerError, "the server's log has more", "%v", err)
}

func (r router) log(text, path string, err error) {
	if r.o.Logger != nil {
		r.o.Logger.Error(text, "path", path, "error", err)
	}
}

// Lists are objects, so that they can grow.
type (
	hostList struct {
		Hosts []Host `json:"hosts"`
		Following
	}
	incidentList struct {
		Incidents []Incident `json:"incidents"`
		Following
	}
	vmList struct {
		VMs []VM `json:"vms"`
		Following
	}
	deviceList struct {
		Devices []Device `json:"devices"`
		Following
	}
	verdictList struct {
		VMs []PolicyVerdict `json:"vms"`
	}
	auditList struct {
		Entries []AuditEntry `json:"entries"`
	}
)

// list is never null.
func list[T any](v []T) []T {
	if v == nil {
		return []T{}
	}
	return v
}

// Paging is how a long list is asked for. With 10,000 hosts and 200,000 VMs one answer with everything would take seconds,
// and hundreds of megabytes.
type Paging struct {
	After string `query:"after" maxLength:"600" doc:"The last answer's next: the list continues there"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"1000" doc:"At most so many entries"`
}

// Page is the same for a Backend.
func (p Paging) Page() Page { return Page(p) }

// Following says how a list goes on.
type Following struct {
	Next string `json:"next,omitempty" doc:"There is more: ask again with after=NEXT. Absent: this was the end"`
}

func (r router) watching() {
	get(r, "/v1/status", "How things stand", func(ctx context.Context, _ *none) (Status, error) { return r.b.Status(ctx) })
	get(r, "/v1/doctor", "Everything that would stop a recovery, before it does", func(ctx context.Context, _ *none) (Diagnosis, error) {
		d, err := r.b.Doctor(ctx)
		d.Findings = list(d.Findings)
		return d, err
	})
	type inventory struct {
		Paging
		Host    string `query:"host" maxLength:"255"`
		Project string `query:"project" maxLength:"255" doc:"Id or name"`
	}
	get(r, "/v1/vms", "VMs as last listed", func(ctx context.Context, in *inventory) (vmList, error) {
		vms, err := r.b.VMs(ctx, in.Host, in.Project, in.Page())
		return vmList{list(vms.List), Following{vms.Next}}, err
	})
	get(r, "/v1/vms/{vm}", "All about the VMs with this id or name", func(ctx context.Context, in *aboutVM) (vmList, error) {
		vms, err := r.b.VM(ctx, in.VM)
		return vmList{VMs: list(vms)}, err
	})
	post(r, "/v1/plan", "What would happen if these hosts died now", func(ctx context.Context, in *asking[HostsRequest]) (Plan, error) {
		if len(in.Body.Hosts) == 0 {
			return Plan{}, Invalid("name at least one host", "no hosts given")
		}
		return r.b.Plan(ctx, in.Body.Hosts)
	})
}

func (r router) hosts() {
	get(r, "/v1/hosts", "All compute hosts", func(ctx context.Context, in *Paging) (hostList, error) {
		hosts, err := r.b.Hosts(ctx, in.Page())
		return hostList{list(hosts.List), Following{hosts.Next}}, err
	})
	get(r, "/v1/hosts/{host}", "All about one host", func(ctx context.Context, in *aboutHost) (HostDetail, error) {
		return r.b.Host(ctx, in.Host)
	})
	post(r, "/v1/hosts/{host}/maintenance", "Leave a host alone, or no longer", func(ctx context.Context, in *onHost[MaintenanceRequest]) (Reply, error) {
		return r.b.Ask(ctx, engine.Asked{By: in.By, Verb: maintenance(in.Body.On), Host: in.Host, Reason: in.Body.Reason})
	})
	post(r, "/v1/zones/{zone}/maintenance", "Leave a zone alone, or no longer", func(ctx context.Context, in *onZone[MaintenanceRequest]) (Reply, error) {
		return r.b.Ask(ctx, engine.Asked{By: in.By, Verb: maintenance(in.Body.On), Zone: in.Zone, Reason: in.Body.Reason})
	})
	post(r, "/v1/hosts/{host}/confirm-down", "The operator's word that a host is down, as its proof", func(ctx context.Context, in *onHost[ReasonRequest]) (Reply, error) {
		return r.b.Ask(ctx, engine.Asked{By: in.By, Verb: engine.ConfirmDown, Host: in.Host, Reason: in.Body.Reason})
	})
	post(r, "/v1/hosts/{host}/fence", "Fence a host and resurrect its VMs", func(ctx context.Context, in *onHost[ReasonRequest]) (Reply, error) {
		return r.b.Ask(ctx, engine.Asked{By: in.By, Verb: engine.FenceHost, Host: in.Host, Reason: in.Body.Reason})
	})
	post(r, "/v1/hosts/{host}/readmit", "Bring a recovered host back", func(ctx context.Context, in *onHost[struct{}]) (Reply, error) {
		return r.b.Ask(ctx, engine.Asked{By: in.By, Verb: engine.ReadmitHost, Host: in.Host})
	})
	post(r, "/v1/hosts/{host}/rejoin", "Allow another machine to take a known host's name over", func(ctx context.Context, in *onHost[struct{}]) (Reply, error) {
		return r.b.Rejoin(ctx, in.By, in.Host)
	})
}

func maintenance(on bool) engine.Verb {
	if on {
		return engine.MaintenanceOn
	}
	return engine.MaintenanceOff
}

func (r router) incidents() {
	type filter struct {
		Paging
		State string `query:"state" enum:"open,closed,all" default:"all"`
		Host  string `query:"host" maxLength:"255"`
	}
	get(r, "/v1/incidents", "Incidents, newest first", func(ctx context.Context, in *filter) (incidentList, error) {
		incidents, err := r.b.Incidents(ctx, in.State, in.Host, in.Page())
		return incidentList{list(incidents.List), Following{incidents.Next}}, err
	})
	get(r, "/v1/incidents/{id}", "An incident and its VMs in the order of the queue", func(ctx context.Context, in *aboutIncident) (IncidentDetail, error) {
		d, err := r.b.Incident(ctx, in.ID)
		d.Guests = list(d.Guests)
		return d, err
	})
	post(r, "/v1/incidents/{id}/retry", "Let an incident go on, with another try for one VM or all", func(ctx context.Context, in *onIncident[RetryRequest]) (Reply, error) {
		return r.b.Ask(ctx, engine.Asked{By: in.By, Verb: engine.RetryIncident, Incident: in.ID, VM: in.Body.VM, Reason: in.Body.Reason})
	})
	post(r, "/v1/incidents/{id}/abort", "Give the rest of an incident up", func(ctx context.Context, in *onIncident[ReasonRequest]) (Reply, error) {
		return r.b.Ask(ctx, engine.Asked{By: in.By, Verb: engine.AbortIncident, Incident: in.ID, Reason: in.Body.Reason})
	})
}

func (r router) policy() {
	get(r, "/v1/policy", "The policy in force", func(ctx context.Context, _ *none) (Policy, error) {
		return r.b.Policy(ctx)
	})
	register(r, http.MethodPut, "/v1/policy", "Put a policy in force", largeBody, func(ctx context.Context, in *asking[File]) (Policy, error) {
		return r.b.ApplyPolicy(ctx, in.By, in.Body)
	})
	register(r, http.MethodPost, "/v1/policy/check", "Read a policy and change nothing", largeBody, func(ctx context.Context, in *asking[File]) (PolicyCheck, error) {
		return r.b.CheckPolicy(ctx, in.Body)
	})
	register(r, http.MethodPost, "/v1/policy/diff", "The VMs that a policy would treat differently", largeBody, func(ctx context.Context, in *asking[File]) (PolicyDiff, error) {
		return r.b.DiffPolicy(ctx, in.Body)
	})
	type which struct {
		VM string `query:"vm" required:"true" minLength:"1" maxLength:"255" doc:"Id or name"`
	}
	get(r, "/v1/policy/explain", "What the policy says of a VM, rule by rule", func(ctx context.Context, in *which) (verdictList, error) {
		vms, err := r.b.ExplainPolicy(ctx, in.VM)
		return verdictList{list(vms)}, err
	})
}

func (r router) fencing() {
	get(r, "/v1/fence", "All fence devices with their last check", func(ctx context.Context, in *Paging) (deviceList, error) {
		devices, err := r.b.Devices(ctx, in.Page())
		return deviceList{list(devices.List), Following{devices.Next}}, err
	})
	post(r, "/v1/fence/check", "Check devices now; nothing is switched", func(ctx context.Context, in *asking[HostsRequest]) (deviceList, error) {
		devices, err := r.b.CheckDevices(ctx, in.Body.Hosts)
		return deviceList{Devices: list(devices)}, err
	})
	register(r, http.MethodPost, "/v1/fence/import", "Bring in a devices.yaml", largeBody, func(ctx context.Context, in *asking[File]) (Imported, error) {
		return r.b.ImportDevices(ctx, in.By, in.Body)
	})
	post(r, "/v1/fence/bind", "Bind a host's devices on the operator's word", func(ctx context.Context, in *asking[BindRequest]) (Reply, error) {
		return r.b.BindDevices(ctx, in.By, in.Body.Host, in.Body.Reason)
	})
}

func (r router) operating() {
	post(r, "/v1/arm", "Arm, in shadow mode or not", func(ctx context.Context, in *asking[ArmRequest]) (Reply, error) {
		return r.b.Arm(ctx, Arming{By: in.By, Shadow: in.Body.Shadow, Force: in.Body.Force, Reason: in.Body.Reason})
	})
	post(r, "/v1/disarm", "Stop all new action at once", func(ctx context.Context, in *asking[ReasonRequest]) (Reply, error) {
		return r.b.Ask(ctx, engine.Asked{By: in.By, Verb: engine.Disarm, Reason: in.Body.Reason})
	})
	post(r, "/v1/tokens", "A token with which a host's agent can join once", func(ctx context.Context, in *asking[TokenRequest]) (Token, error) {
		var life time.Duration
		if in.Body.Life != "" {
			var err error
			if life, err = time.ParseDuration(in.Body.Life); err != nil || life <= 0 {
				return Token{}, Invalid("write it like 24h or 30m", "life: %q is no duration", in.Body.Life)
			}
		}
		return r.b.Token(ctx, in.By, in.Body.Host, life)
	})
}
