package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/cloud/openstack"
	"github.com/ninelives-ha/ninelives/internal/server"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// What the database needs: etcd's quota is 2 GiB, and a full disk stops every decision.
const (
	leastSpace = 2 << 30
	tooLittle  = 256 << 20 // a server starts, and stops soon after
)

// offline checks what a server needs before it runs.
func (a *app) offline(ctx context.Context, path string) api.Diagnosis {
	d := api.Diagnosis{At: a.env.Now()}
	cfg, err := loadServer(path)
	if err != nil {
		d.Findings = configFindings(err)
		return d
	}
	for _, part := range []struct {
		right string
		found []api.Finding
	}{
		{"The configuration " + path + " is right", endedFindings(cfg)},
		{"Keystone and Nova answer", cloudFindings(ctx, a.env.Version, cfg)},
		{"The data directory can be used: " + cfg.Data, dataFindings(cfg.Data)},
		{"The CA is there, or will be made", caFindings(cfg)},
		{"The ports are free", portFindings(ctx, cfg)},
	} {
		d.Findings = append(d.Findings, part.found...)
		if !slices.ContainsFunc(part.found, func(f api.Finding) bool { return f.Severity != api.Tell }) {
			d.Passed = append(d.Passed, part.right)
		}
	}
	return d
}

func configFindings(err error) []api.Finding {
	list := mistakes(err)
	if len(list) == 0 {
		return []api.Finding{{Severity: api.Refuse, Code: "config", Title: "The configuration can't be read", What: err.Error()}}
	}
	var out []api.Finding
	for _, m := range list {
		m.Snippet = "" // one line each; `ninelives server` shows the place
		out = append(out, api.Finding{Severity: api.Refuse, Code: "config", Title: "The configuration has a mistake", What: mistakeText(m)})
	}
	return out
}

// endedFindings are the certificates in the configuration that have ended: the server would start, and nobody could speak to it.
func endedFindings(cfg server.Config) []api.Finding {
	var out []api.Finding
	for _, e := range cfg.Ended {
		out = append(out, api.Finding{Severity: api.Refuse, Code: "certificate", Title: "A certificate has ended", What: e.Summary(),
			Do: "put a new one in its place; the server would start all the same"})
	}
	return out
}

// cloudFindings logs in and asks Nova what it can do.
func cloudFindings(ctx context.Context, version string, cfg server.Config) []api.Finding {
	c, err := openstack.Open(openstack.Options{Cloud: cfg.Cloud.Name, ConfigFile: cfg.Cloud.Config, Version: version})
	if err != nil {
		return []api.Finding{{Severity: api.Refuse, Code: "cloud-credentials", Title: "The cloud's credentials can't be used", What: err.Error(),
			Do: "cloud.name in server.yaml names an entry of clouds.yaml; or set OS_* in /etc/ninelives/server.env"}}
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	caps, err := c.Capabilities(ctx)
	switch {
	case errors.Is(err, cloud.ErrUnavailable):
		return []api.Finding{{Severity: api.Warn, Code: "cloud-unreachable", Title: "The cloud doesn't answer", What: err.Error(),
			Do: "the server starts all the same and tries again; can this machine reach Keystone and Nova?"}}
	case err != nil:
		return []api.Finding{{Severity: api.Refuse, Code: "cloud-login", Title: "The cloud refuses", What: err.Error(),
			Do: "the credentials are from " + c.Source()}}
	}
	return []api.Finding{{Severity: api.Tell, Code: "cloud", Title: fmt.Sprintf("The cloud answers: Nova up to %s, credentials from %s", caps.Max, c.Source())}}
}

// dataFindings asks whether the data directory can be written, is private, and has room.
func dataFindings(dir string) []api.Finding {
	var out []api.Finding
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		out = append(out, api.Finding{Severity: api.Tell, Code: "data", Title: fmt.Sprintf("The data directory %s will be made", dir)})
		for errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			info, err = os.Stat(dir)
		}
	case err == nil && info.IsDir() && info.Mode().Perm()&0o077 != 0:
		out = append(out, api.Finding{Severity: api.Warn, Code: "data-mode", Title: fmt.Sprintf("Others can read the data directory %s", dir),
			What: "it holds the CA's key and the admin token", Do: "chmod 0700 " + dir})
	}
	refuse := func(what, do string) []api.Finding {
		return append(out, api.Finding{Severity: api.Refuse, Code: "data", Title: "The data directory can't be used", What: what, Do: do})
	}
	switch {
	case err != nil:
		return refuse(err.Error(), "")
	case !info.IsDir():
		return refuse(dir+" is no directory", "")
	case errors.Is(unix.Access(dir, unix.W_OK|unix.X_OK), unix.EROFS):
		return refuse(dir+" lies on a file system that is mounted read-only", "mount it for writing; if it was, the kernel's log says why it isn't any more")
	case unix.Access(dir, unix.W_OK|unix.X_OK) != nil:
		return refuse(dir+" can't be written by this user", "run doctor as the daemon's user (sudo -u ninelives), and give the directory to it")
	}
	return append(out, spaceFindings(dir)...)
}

// caFindings: one server alone makes its CA at its first start; one of several needs the others'.
func caFindings(cfg server.Config) []api.Finding {
	if len(cfg.Cluster.Initial) < 2 {
		return nil
	}
	switch _, err := pki.Load(filepath.Join(cfg.Data, "pki")); {
	case errors.Is(err, pki.ErrNoCA):
		return []api.Finding{{Severity: api.Warn, Code: "ca", Title: "The cluster's CA is not here yet",
			What: fmt.Sprintf("this is one of %d servers (cluster.initial), which need the same CA", len(cfg.Cluster.Initial)),
			Do:   "on the first server: ninelives server init --bundle-out FILE; on each other one start once with --bundle FILE, or ninelives server join"}}
	case err != nil:
		return []api.Finding{{Severity: api.Refuse, Code: "ca", Title: "The cluster's CA can't be read", What: err.Error(),
			Do: "run doctor as the daemon's user (sudo -u ninelives)"}}
	}
	return nil
}

func spaceFindings(dir string) []api.Finding {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return []api.Finding{{Severity: api.Warn, Code: "data-space", Title: "The disk can't be examined", What: err.Error(), Do: "look at it by hand: df " + dir}}
	}
	free := st.Bavail * uint64(st.Bsize)
	if free >= leastSpace {
		return nil
	}
	f := api.Finding{Severity: api.Warn, Code: "data-space", Title: fmt.Sprintf("Only %d MiB are free in %s", free>>20, dir),
		What: "the database may grow to 2 GiB, and a full disk stops every decision", Do: "make room, or choose another data directory"}
	if free < tooLittle {
		f.Severity = api.Refuse
	}
	return []api.Finding{f}
}

// portFindings tries the ports. One that is taken may be this very server's, when it runs.
func portFindings(ctx context.Context, cfg server.Config) []api.Finding {
	ports := [][2]string{{"listen.api", cfg.Listen.API}, {"listen.agents", cfg.Listen.Agents}}
	if len(cfg.Cluster.Initial) > 1 {
		ports = append(ports, [2]string{"listen.cluster", cfg.Listen.Cluster})
	}
	var out []api.Finding
	for _, p := range ports {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p[1])
		if err == nil {
			_ = l.Close() // it was only tried
			continue
		}
		f := api.Finding{Severity: api.Refuse, Code: "port", Title: fmt.Sprintf("%s: %s can't be listened on", p[0], p[1]), What: err.Error()}
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			f.Severity = api.Warn
			f.Do = "if this server doesn't run already, another program has the port: " + listeners(p[1])
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			f.Do = "this machine has no such address; ip addr tells which it has"
		}
		out = append(out, f)
	}
	return out
}

func listeners(addr string) string {
	_, port, ok := strings.Cut(addr, ":")
	if !ok {
		return "ss -ltnp"
	}
	return "ss -ltnp 'sport = :" + port[strings.LastIndex(port, ":")+1:] + "'"
}
