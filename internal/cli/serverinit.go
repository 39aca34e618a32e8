package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/server"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

func (a *app) serverInitCommand() *cobra.Command {
	var config, data, name, bundle string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the cluster's CA, and the bundle for further servers",
		Long: `Makes what a cluster begins with, in the first server's data directory: the CA and the admin token. Where they are
there already they are kept. With --bundle-out it writes the bundle that further servers need at their first start.

The bundle holds the CA's key: carry it safely, delete it on every server when all have started, and
keep one copy offline, apart from the servers and the backups. A single server needs none of
this; it makes everything itself. Run it as root or as the daemon's user; files get the owner of the data directory.`,
		Example: `  ninelives server init --name mycloud --bundle-out /root/ninelives.bundle
  scp /root/ninelives.bundle server-2:/root/ && rm /root/ninelives.bundle`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := pki.ValidName(name); err != nil {
				return usage(cmd, "--name: %v", err)
			}
			data, err := initIn(cmd, config, data)
			if err != nil {
				return err
			}
			return a.initServer(data, name, bundle)
		},
	}
	cmd.Flags().StringVar(&config, "config", defaultServerConfig, "the server's configuration file, which names the data directory")
	cmd.Flags().StringVar(&data, "data", "", "data directory, without a configuration file")
	cmd.MarkFlagsMutuallyExclusive("config", "data")
	cmd.Flags().StringVar(&name, "name", "ninelives", "the cluster's name, shown in certificates; usually the cloud's")
	cmd.Flags().StringVar(&bundle, "bundle-out", "", "write the bundle for further servers to this file")
	return cmd
}

// initIn is the data directory to begin in: as --data says, else as the configuration; without one, the default.
func initIn(cmd *cobra.Command, config, data string) (string, error) {
	if data != "" {
		return data, nil
	}
	if _, err := os.Stat(config); errors.Is(err, fs.ErrNotExist) && !cmd.Flags().Changed("config") {
		return server.DefaultConfig().Data, nil
	}
	cfg, err := loadServer(config)
	return cfg.Data, err
}

// initServer makes CA, token and bundle; each only if it isn't there.
func (a *app) initServer(data, name, bundle string) error {
	if bundle != "" {
		if _, err := os.Lstat(bundle); err == nil {
			return fmt.Errorf("%s exists; a bundle is not written over anything", bundle)
		}
	}
	whose, err := owner(data)
	if err != nil {
		return fmt.Errorf("cannot use the data directory: %w", err)
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("cannot use the data directory: %w", err)
	}
	dir := filepath.Join(data, "pki")
	ca, err := pki.Load(dir)
	made := "is kept"
	if errors.Is(err, pki.ErrNoCA) {
		made = "was made"
		ca, err = pki.Init(dir, name, a.env.Now())
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.env.Stdout, "The CA of cluster %s %s in %s (SHA-256 %s…).\n", ca.Cluster(), made, dir, ca.Fingerprint()[:16])
	token := filepath.Join(data, "admin.token")
	if err := makeToken(token); err != nil {
		return err
	}
	fmt.Fprintf(a.env.Stdout, "The admin token is in %s.\n", token)
	if err := giveTo(whose, data, dir, filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"), token); err != nil {
		return err
	}
	if bundle == "" {
		return nil
	}
	if err := ca.Export(bundle); err != nil {
		return err
	}
	fmt.Fprintf(a.env.Stdout, "The bundle is %s. It holds the CA's key: on each further server once\n  ninelives server --bundle FILE\nThen delete it on every server; keep one copy offline, apart from them.\n", bundle)
	return nil
}

// makeToken writes a new admin token, unless there is one. The server reads it and makes its own only if there is none.
func makeToken(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("cannot store the admin token: %w", err)
	}
	_, err = f.WriteString(strings.ToLower(rand.Text()) + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot store the admin token: %w", err)
	}
	return nil
}

// giveTo gives files to the owner of a directory, where root made them for the daemon.
func giveTo(whose os.FileInfo, paths ...string) error {
	st, ok := whose.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 || st.Uid == 0 {
		return nil
	}
	for _, p := range paths {
		if err := os.Lchown(p, int(st.Uid), int(st.Gid)); err != nil {
			return fmt.Errorf("cannot give %s to the daemon's user: %w", p, err)
		}
	}
	return nil
}
