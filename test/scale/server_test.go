//go:build scale

package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	_ "net/http/pprof" // of the server, when asked for
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/ninelives-ha/ninelives/internal/cloud/openstack"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/server"
	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// serverSpec is what the server's process is told.
type serverSpec struct {
	Data   string `json:"data"`
	Agents string `json:"agents"` // where to listen
	API    string `json:"api"`
	Nova   string `json:"nova"`
	BMCs   string `json:"bmcs"`
	Log    string `json:"log"`
	Pulse  string `json:"pulse"`
	Pprof  string `json:"pprof,omitempty"`
}

// running is its one line of answer.
type running struct {
	API   string `json:"api"`
	Agent string `json:"agents"`
	Token string `json:"token"`
}

// runServer is a whole server but for its fence drivers. It ends with its standard input.
func runServer(s serverSpec) error {
	server.LimitProcess()
	if s.Pprof != "" {
		go http.ListenAndServe(s.Pprof, nil) //nolint:errcheck,gosec // only while somebody measures
	}
	out, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	log := slog.New(slog.NewTextHandler(out, nil))
	nova, err := openstack.Open(openstack.Options{Version: "scale", Logger: log, Login: &openstack.Login{
		AuthURL: s.Nova + "/v3", Username: "ninelives", Password: "secret", ProjectName: "admin", Region: "R",
	}})
	if err != nil {
		return err
	}
	bmcs, err := dialBMCs(s.BMCs)
	if err != nil {
		return err
	}
	cfg := server.DefaultConfig()
	cfg.Name, cfg.Data = "server-1", s.Data
	cfg.Listen = server.Listen{API: s.API, Agents: s.Agents, Cluster: "127.0.0.1:0"}
	pulse, err := time.ParseDuration(s.Pulse)
	if err != nil {
		return err
	}
	cfg.Times.Pulse = yamlfile.Duration(pulse)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector())
	srv, err := server.New(server.Options{
		Config: cfg, Cloud: nova, Drivers: fence.Drivers{fence.DriverIPMI: bmcs.open}, Logger: log, Registry: registry, Version: "scale",
	})
	if err != nil {
		return err
	}
	if err := srv.Start(); err != nil {
		return err
	}
	line, err := json.Marshal(running{API: "http://" + srv.APIAddr().String(), Agent: srv.AgentsAddr().String(), Token: srv.AdminToken()})
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	_, _ = io.Copy(io.Discard, os.Stdin)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return srv.Stop(ctx)
}
