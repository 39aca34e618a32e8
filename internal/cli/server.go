package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/cloud/openstack"
	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/fence/agents"
	"github.com/ninelives-ha/ninelives/internal/fence/ipmi"
	"github.com/ninelives-ha/ninelives/internal/fence/redfish"
	"github.com/ninelives-ha/ninelives/internal/probe"
	"github.com/ninelives-ha/ninelives/internal/server"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

const defaultServerConfig = "/etc/ninelives/server.yaml"

// stopTime bounds a daemon's stop: the unit kills it after 30 s.
const stopTime = 20 * time.Second

// daemonFlags are those of both daemons.
type daemonFlags struct {
	config, logFormat, logLevel string
}

func (d *daemonFlags) add(cmd *cobra.Command, config string) {
	cmd.Flags().StringVar(&d.config, "config", config, "configuration file")
	cmd.Flags().StringVar(&d.logFormat, "log-format", "text", "text or json")
	cmd.Flags().StringVar(&d.logLevel, "log-level", "info", "debug, info, warn or error")
}

// logger writes to standard error, where systemd and containers expect it.
func (a *app) logger(cmd *cobra.Command, d daemonFlags) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(d.logLevel)); err != nil {
		return nil, usage(cmd, "--log-level is %q; it can be debug, info, warn or error", d.logLevel)
	}
	o := &slog.HandlerOptions{Level: level}
	switch d.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(a.env.Stderr, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(a.env.Stderr, o)), nil
	default:
		return nil, usage(cmd, "--log-format is %q; it can be text or json", d.logFormat)
	}
}

func (a *app) serverCommand() *cobra.Command {
	var d daemonFlags
	var bundle string
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a server: detects, decides, fences, resurrects",
		Long: `Runs a server until it gets SIGTERM. One server works at once; three or five (cluster.initial in server.yaml) form a
quorum and take over from each other.

At its first start it makes what is missing in its data directory: the CA, its certificate and the admin token. Further
servers of a cluster need the first one's CA: "ninelives server init --bundle-out FILE" there, --bundle FILE here, once.

A cloud that can't be reached does not keep a server from starting; wrong credentials are told in the log and by doctor.
deploy/server.yaml is a sample that documents every key.`,
		Example: `  ninelives server --config /etc/ninelives/server.yaml
  ninelives server --bundle /root/ninelives.bundle     # first start of the second and third server`,
		Args: childOrNone,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := a.logger(cmd, d)
			if err != nil {
				return err
			}
			cfg, err := loadServer(d.config)
			if err != nil {
				return err
			}
			if bundle != "" {
				if _, err := pki.Import(filepath.Join(cfg.Data, "pki"), bundle); err != nil {
					return err
				}
			}
			return a.runServer(cmd.Context(), cfg, log)
		},
	}
	d.add(cmd, defaultServerConfig)
	cmd.Flags().StringVar(&bundle, "bundle", "", "first start of a further server: the bundle `FILE` that the first one's \"server init\" made")
	cmd.AddCommand(a.serverInitCommand(), a.serverJoinCommand())
	return cmd
}

// childOrNone refuses arguments of a command that runs itself but has others below it.
func childOrNone(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return needsCommand(cmd, args)
	}
	return nil
}

// found says where a configuration is expected when it isn't there.
func found(path, which string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s: name the file with --config, or begin with the sample deploy/%s.yaml", path, which)
	}
	return nil // what else is wrong is found at reading
}

func loadServer(path string) (server.Config, error) {
	if err := found(path, "server"); err != nil {
		return server.Config{}, err
	}
	return server.LoadConfig(path)
}

// runServer wires a server together and runs it until ctx ends or it fails.
func (a *app) runServer(ctx context.Context, cfg server.Config, log *slog.Logger) error {
	server.LimitProcess()
	for _, e := range cfg.Ended {
		log.Error("a certificate of server.yaml has ended; the server starts all the same", "file", e.Path, "line", e.Line, "what", e.Message)
	}
	cloud, err := openstack.Open(openstack.Options{Cloud: cfg.Cloud.Name, ConfigFile: cfg.Cloud.Config, Version: a.env.Version, Logger: log})
	if err != nil {
		return fmt.Errorf("cannot use the cloud's credentials: %w", err)
	}
	defer cloud.Close()
	prober, err := probe.New(probe.Options{Logger: log})
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s, err := begun(ctx, func() (*server.Server, error) {
		return server.New(server.Options{
			Config: cfg, Cloud: cloud, Drivers: drivers(), Vet: vet, Prober: eyes{prober}, Logger: log, Registry: registry, Version: a.env.Version,
		})
	})
	if err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return errors.Join(err, stopped(s.Stop))
	}
	log.Info("the server runs", "name", cfg.Name, "version", a.env.Version, "api", fmt.Sprint(s.APIAddr()), "agents", s.AgentsAddr().String(), "credentials", cloud.Source())
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return stopped(s.Stop)
	case err := <-s.Failed():
		return errors.Join(fmt.Errorf("the server can't go on: %w", err), stopped(s.Stop))
	}
}

// begun waits for a start, but not for longer than abandon once ctx has ended: a start that hangs on its disk, or waits for
// other servers, must not outlast the unit's patience. What was opened ends with the process.
func begun(ctx context.Context, start func() (*server.Server, error)) (*server.Server, error) {
	type result struct {
		s   *server.Server
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := start()
		done <- result{s, err}
	}()
	select {
	case r := <-done:
		return r.s, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return r.s, r.err
	case <-time.After(abandon):
		return nil, fmt.Errorf("told to stop while it was still starting; it hadn't started %s later and is ended as it is", abandon)
	}
}

const abandon = 5 * time.Second

// vet says why a declared device can't be used here: only agents are programs that have to be installed.
func vet(ctx context.Context, spec fence.Spec) error {
	if spec.Driver != fence.DriverAgent {
		return nil
	}
	return agents.New(agents.DefaultDir).Vet(ctx, spec)
}

// drivers are those that this program was built with.
func drivers() fence.Drivers {
	return fence.Drivers{
		fence.DriverIPMI: ipmi.Open, fence.DriverRedfish: redfish.Open, fence.DriverAgent: agents.New(agents.DefaultDir).Open,
	}
}

// stopped runs a daemon's Stop within stopTime. What won't end by then (a database on a stuck disk) ends with the process.
func stopped(stop func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- stop(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-time.After(stopTime + 2*time.Second):
		return fmt.Errorf("not all had stopped after %s; ended all the same", stopTime)
	}
}

// eyes lets a server probe with package probe.
type eyes struct{ prober *probe.Prober }

// Probe asks an address for life. The explanation of a silence is of no use to the server: silence is silence.
func (e eyes) Probe(ctx context.Context, plane detect.Plane, address string, port uint32) detect.Answer {
	answer, _ := e.prober.Probe(ctx, probe.Target{Plane: string(plane), Address: address, Port: port})
	switch answer {
	case probe.Agent:
		return detect.AnswerAgent
	case probe.Kernel:
		return detect.AnswerKernel
	default:
		return detect.AnswerNone
	}
}

// owner is who owns the nearest directory above path that is there: a file made by root for a daemon must be its own.
func owner(path string) (os.FileInfo, error) {
	for {
		info, err := os.Stat(path)
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(path) == path {
			return info, err
		}
		path = filepath.Dir(path)
	}
}
