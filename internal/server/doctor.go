package server

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/policy"
)

const (
	examineTimeout = 15 * time.Second // of the cloud's reads, all together
	othersSince    = 24 * time.Hour   // evacuations by others count that long
)

// patient is everything that a diagnosis rests on, read at one time. Checks look at nothing else.
type patient struct {
	at       time.Time
	caps     cloud.Capabilities
	cloudErr error

	aggregates     []cloud.Aggregate
	aggregatesErr  error
	evacuations    []cloud.Migration
	evacuationsErr error

	hosts    []engine.HostView
	agents   map[string]AgentRecord
	devices  []DeviceState
	vms      iter.Seq[engine.InventoryVM]
	policy   *policy.Policy
	advice   []policy.Advice // about it
	switches engine.Switches

	servers, strangers []api.Member
	superseded         string // why this cluster's orders are refused
	external           bool   // the quorum is another etcd's

	dataDir            string
	diskFree, diskSize uint64
	diskErr            error
	dbInUse, dbQuota   int64
	alarms             []string
	certificates       []certificate
	jumped             time.Duration // the wall clock against the monotonic one, since the start
	started            time.Time
	times              []api.SafetyTime
}

// certificate is one that this server shows or signs with.
type certificate struct {
	what, file string
	until      time.Time
	err        error
}

// Doctor implements api.Backend.
func (b *backend) Doctor(ctx context.Context) (api.Diagnosis, error) {
	p, err := b.examine(ctx)
	if err != nil {
		return api.Diagnosis{}, err
	}
	return diagnose(p), nil
}

// diagnose runs all checks; errors come first.
func diagnose(p *patient) api.Diagnosis {
	d := api.Diagnosis{At: p.at, Findings: []api.Finding{}, Passed: []string{}}
	for _, c := range checks() {
		found := c.look(p)
		d.Findings = append(d.Findings, found...)
		if c.right != "" && c.seen(p) && !slices.ContainsFunc(found, func(f api.Finding) bool { return f.Severity != api.Tell }) {
			d.Passed = append(d.Passed, c.right)
		}
	}
	rank := map[string]int{api.Refuse: 0, api.Warn: 1, api.Tell: 2}
	slices.SortStableFunc(d.Findings, func(a, b api.Finding) int { return cmp.Compare(rank[a.Severity], rank[b.Severity]) })
	return d
}

// check is one thing that doctor looks at.
type check struct {
	look  func(*patient) []api.Finding
	right string              // what is so when it finds nothing to mend; "": it only tells
	seen  func(*patient) bool // whether there was anything to look at: nothing found where nothing was seen isn't right
}

// checks are all there are, in the order in which findings of one severity are shown.
func checks() []check {
	always := func(*patient) bool { return true }
	cloud := func(p *patient) bool { return p.cloudErr == nil }
	hosts := func(p *patient) bool { return len(p.hosts) > 0 }
	servers := func(p *patient) bool { return len(p.servers) > 0 }
	guarded := func(p *patient) bool {
		return slices.ContainsFunc(p.hosts, func(h engine.HostView) bool { return h.Unprotected == "" })
	}
	return []check{
		{checkCloud, "Keystone lets us in; Nova, Placement and Glance are in the catalogue", cloud},
		{checkRoles, "Our cloud user is an admin", cloud},
		{checkOthers, "No other service evacuates VMs", cloud},
		{checkConventions, "No marks of another instance HA service are there", cloud},
		{checkClusters, "No other cluster works with the same hosts", servers},
		{checkServers, "Every server answers", servers},
		{checkQuorum, "Another server may fail", func(p *patient) bool { return votersOf(p.servers).all > 1 && !p.external }},
		{checkHosts, "Every compute host is protected", hosts},
		{checkResume, "Nothing but the gate starts VMs when a protected host boots", guarded},
		{checkDevices, "Every protected host could be fenced now, by each of its devices", guarded},
		{checkPower, "", always},
		{checkVMs, "Nova could evacuate every VM, and each one's rule is known", hosts},
		{checkPolicy, "The policy says what it seems to say", always},
		{checkStorm, "More than one host is protected", guarded},
		{checkDisk, "There is room on the disk and in the database", always},
		{checkCertificates, "No certificate ends soon", always},
		{checkClock, "The clock runs evenly", always},
		{checkSwitches, "Armed", always},
		{checkContradictions, "No host's evidence contradicts itself", guarded},
		{checkTimes, "", always},
	}
}

// examine reads everything. Only the engine's part can fail: what the cloud or the disk doesn't tell is a finding.
func (b *backend) examine(ctx context.Context) (*patient, error) {
	s := b.s
	var vms guests
	p, err := see(ctx, b, func(r *reign, e *engine.Engine) *patient {
		vms = guestsOf(r, e)
		p := &patient{hosts: e.Hosts(), vms: vms.all(), policy: r.policy}
		p.switches, _ = e.Switches()
		p.superseded = e.Superseded()
		return p
	})
	if err != nil {
		return nil, err
	}
	p.advice = s.inventory.advice(p.policy, vms)
	p.at, p.started = time.Now(), s.started
	p.jumped = p.at.Round(0).Sub(s.started.Round(0)) - p.at.Sub(s.started)
	p.devices, p.times, p.dataDir = s.fencing.states(), safetyTimes(s.times), s.cfg.Data
	s.agents.mu.RLock()
	p.agents = make(map[string]AgentRecord, len(s.agents.records))
	for host, a := range s.agents.records {
		p.agents[host] = a
	}
	s.agents.mu.RUnlock()
	st := s.store.Status(ctx)
	p.dbInUse, p.dbQuota, p.alarms = st.DBInUseBytes, st.QuotaBytes, st.Alarms
	p.servers, p.strangers, p.external = membersOf(st.Members), s.strangers(ctx), s.cfg.external()
	var fs unix.Statfs_t
	if p.diskErr = unix.Statfs(s.cfg.Data, &fs); p.diskErr == nil {
		p.diskFree, p.diskSize = fs.Bavail*uint64(fs.Bsize), fs.Blocks*uint64(fs.Bsize)
	}
	p.certificates = b.certificates()
	b.askCloud(ctx, p)
	return p, nil
}

// askCloud reads afresh: what doctor says must be so now, not a minute ago.
func (b *backend) askCloud(ctx context.Context, p *patient) {
	ctx, cancel := context.WithTimeout(ctx, examineTimeout)
	defer cancel()
	if p.caps, p.cloudErr = b.s.cloud.Capabilities(ctx); p.cloudErr != nil {
		return
	}
	p.aggregates, p.aggregatesErr = b.s.cloud.Aggregates(ctx)
	list, err := b.s.cloud.Migrations(ctx, cloud.MigrationQuery{Types: []cloud.MigrationType{cloud.Evacuation}, Since: p.at.Add(-othersSince)})
	p.evacuations, p.evacuationsErr = list.Migrations, err
}

func (b *backend) certificates() []certificate {
	cfg := b.s.cfg
	out := []certificate{
		{what: "the CA that all agents and servers trust", file: filepath.Join(cfg.Data, "pki", "ca.crt"), until: b.s.ca.Certificate().NotAfter},
		readCertificate("this server's own certificate", filepath.Join(cfg.Data, "pki", "server.crt")),
	}
	if cfg.TLS.Cert != "" {
		out = append(out, readCertificate("the API's certificate", cfg.TLS.Cert))
	}
	return out
}

func readCertificate(what, file string) certificate {
	c := certificate{what: what, file: file}
	text, err := os.ReadFile(file)
	if err != nil {
		c.err = err
		return c
	}
	block, _ := pem.Decode(text)
	if block == nil {
		c.err = fmt.Errorf("%s holds no PEM block", file)
		return c
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		c.err = err
		return c
	}
	c.until = parsed.NotAfter
	return c
}
