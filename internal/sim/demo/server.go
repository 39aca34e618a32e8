package demo

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/cloud/openstack"
	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/fence/agents"
	"github.com/ninelives-ha/ninelives/internal/fence/ipmi"
	"github.com/ninelives-ha/ninelives/internal/fence/redfish"
	"github.com/ninelives-ha/ninelives/internal/probe"
	"github.com/ninelives-ha/ninelives/internal/server"
	"github.com/ninelives-ha/ninelives/internal/sim/wire"
)

// startServer brings up a real server with its default settings and waits until it leads.
func (d *Demo) startServer(ctx context.Context) error {
	cl, err := openstack.Open(openstack.Options{Logger: d.log, Version: d.o.Version, Login: &openstack.Login{
		AuthURL: d.cloud.AuthURL(), Username: wire.Username, Password: wire.Password, ProjectName: wire.ProjectName, Region: wire.Region,
	}})
	if err != nil {
		return err
	}
	cfg := server.DefaultConfig()
	cfg.Name, cfg.Data = "demo", filepath.Join(d.dir, "server")
	cfg.Listen = server.Listen{API: freeAddress(ctx, d.o.API), Agents: "127.0.0.1:0", Cluster: "127.0.0.1:0"}
	d.srv, err = server.New(server.Options{
		Config: cfg, Cloud: cl, Prober: serverProber{d.cloud.Prober("")}, Logger: d.log, Version: d.o.Version, ProbeAllPlanes: true,
		Drivers: fence.Drivers{fence.DriverIPMI: ipmi.Open, fence.DriverRedfish: redfish.Open, fence.DriverAgent: agents.New(agents.DefaultDir).Open},
	})
	if err != nil {
		return err
	}
	d.stops = append(d.stops, d.srv.Stop)
	if err := d.srv.Start(); err != nil {
		return err
	}
	d.url = "http://" + d.srv.APIAddr().String()
	if d.api, err = client.New(d.url, d.srv.AdminToken(), nil); err != nil {
		return err
	}
	return d.awaitLeader(ctx)
}

func (d *Demo) awaitLeader(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		st, err := d.api.Status(ctx)
		if err == nil && st.Leads && st.Hosts.Total >= d.o.Hosts {
			d.leads = time.Now()
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the server does not lead, or knows of only %d of %d hosts (%w)", st.Hosts.Total, d.o.Hosts, ctx.Err())
		case err := <-d.srv.Failed():
			return fmt.Errorf("the server's database has failed: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// freeAddress is the wanted address, or one with a free port if that is taken.
func freeAddress(ctx context.Context, wanted string) string {
	host, _, err := net.SplitHostPort(wanted)
	if err != nil {
		return "127.0.0.1:0"
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", wanted)
	if err != nil {
		return net.JoinHostPort(host, "0")
	}
	_ = l.Close() // it was only asked whether it is free
	return wanted
}

// serverProber is how the server's own machine asks for life.
type serverProber struct{ p *wire.Prober }

// Probe implements server.Prober.
func (s serverProber) Probe(ctx context.Context, plane detect.Plane, address string, port uint32) detect.Answer {
	a, _ := s.p.Probe(ctx, probe.Target{Plane: string(plane), Address: address, Port: port}) // the error only explains a silence
	switch a {
	case probe.Agent:
		return detect.AnswerAgent
	case probe.Kernel:
		return detect.AnswerKernel
	default:
		return detect.AnswerNone
	}
}

// devicesYAML is what an operator would write: passwords lie in files of their own.
func (d *Demo) devicesYAML() (string, error) {
	dir := filepath.Join(d.dir, "secrets")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	ca := filepath.Join(dir, "redfish-ca.pem")
	if err := os.WriteFile(ca, d.cloud.RedfishCA(), 0o600); err != nil {
		return "", err
	}
	var text strings.Builder
	text.WriteString("hosts:\n")
	for _, name := range d.o.names() {
		bmc, file := d.cloud.BMC(name), filepath.Join(dir, name+".pass")
		if err := os.WriteFile(file, []byte(bmc.Password+"\n"), 0o600); err != nil {
			return "", err
		}
		extra := ""
		if bmc.Driver == fence.DriverRedfish {
			extra = ", ca_file: " + ca
		}
		fmt.Fprintf(&text, "  %s:\n    levels:\n      - - {driver: %s, address: %q, username: %s, password_file: %s%s}\n",
			name, bmc.Driver, bmc.Address, bmc.User, file, extra)
	}
	return text.String(), nil
}
