package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/server"
)

func (a *app) clusterCommand() *cobra.Command {
	return a.client(parent("cluster", "The servers themselves: who they are, replacing one, backup and restore",
		`The servers hold a quorum: of three, one may fail; of five, two. What would lose the quorum is refused, with the reason.
A server is added with "ninelives server join", on the new machine.`,
		a.clusterListCommand(), a.clusterRemoveCommand(), a.clusterReplaceCommand(), a.clusterBackupCommand(), a.clusterRestoreCommand()))
}

func members(ctx context.Context, c *client.Client) (api.Membership, error) { return c.Members(ctx) }

func (a *app) clusterListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "All servers", Args: none,
		Long: `Lists the servers as the one that answers sees them. One that is joining copies the records first and has no vote until
it has caught up. READS is the newest format of records that a server can read, while servers of two versions run together.`,
		Example: "  ninelives cluster list\n  ninelives cluster list --server https://server-2:7400 -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := ask(a, cmd, members)
			if err != nil {
				return err
			}
			return a.show(m, func(p *page) { p.servers(m) })
		},
	}
}

func (p *page) servers(m api.Membership) {
	if m.External {
		p.line("The database is an etcd of your own; these are the ninelives servers that use it.")
	}
	var rows [][]string
	for _, s := range m.Servers {
		rows = append(rows, []string{s.Name, dash(s.Address), serverState(m, s), dash(s.Version), dash(number(s.Reads)), dash(s.API)})
	}
	p.table("NAME ADDRESS STATE VERSION READS API", rows)
	for _, s := range m.Servers {
		if s.Problem != "" {
			p.line("%s: %s.", s.Name, words(s.Problem))
		}
	}
	switch {
	case m.Electing:
		p.line("%s", p.paint(yellow, "No server leads yet: they are electing one."))
	case !m.Quorum:
		p.line("%s", p.paint(red, "NO QUORUM: "+words(m.Reason)+"."))
	}
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// serverState: without a quorum nobody leads, and nobody is followed.
func serverState(m api.Membership, s api.ClusterServer) string {
	switch {
	case s.Foreign:
		return "of another cluster"
	case s.Learner && !s.Healthy:
		return "joining, not reached"
	case !s.Healthy:
		return "not reached"
	case s.Learner:
		return "joining"
	case !m.Quorum:
		return "answers"
	case s.Leader:
		return "leads"
	default:
		return "follows"
	}
}

// listServers completes the names of servers.
func listServers(ctx context.Context, c *client.Client) ([]string, error) {
	m, err := c.Members(ctx)
	var out []string
	for _, s := range m.Servers {
		out = append(out, s.Name)
	}
	return out, err
}

func (a *app) clusterRemoveCommand() *cobra.Command {
	var reason string
	var yes bool
	cmd := &cobra.Command{
		Use: "remove NAME", Short: "Take a server out for good", Args: one("server"), ValidArgsFunction: a.complete(false, listServers),
		Long: `Takes a server out of the cluster for good: its vote, its records and its admin token are worth nothing after. To come
back it must join anew. It is refused where fewer than a majority of those that stay work now, and for the server that leads
(stop it first, then ask another one). The reply says how many of those left may fail.

With an etcd of your own, this forgets a server that was stopped for good; one that runs is refused.

To put another machine in its place: ninelives cluster replace.`,
		Example: `  ninelives cluster remove server-3 --reason "retired, Ana"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.removeServer(cmd, args[0], reason, yes)
		},
	}
	reasonFlag(cmd, &reason, "why (needed)")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask; needed where standard input is no terminal")
	return cmd
}

func (a *app) removeServer(cmd *cobra.Command, name, reason string, yes bool) error {
	if err := needReason(cmd, reason, "the audit trail keeps it"); err != nil {
		return err
	}
	if err := a.mayAsk(cmd, yes); err != nil {
		return err
	}
	if !yes {
		if err := a.confirm(cmd, name, fmt.Sprintf("This takes server %s out of the cluster for good: what it has is worth nothing after.", name)); err != nil {
			return err
		}
	}
	r, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Reply, error) {
		return c.RemoveServer(ctx, name, reason)
	})
	if err != nil {
		return err
	}
	return a.reply(r)
}

func (a *app) clusterReplaceCommand() *cobra.Command {
	var reason string
	var yes bool
	cmd := &cobra.Command{
		Use: "replace NAME", Short: "Take a lost server out, and say how another one takes its place", Args: one("server"), ValidArgsFunction: a.complete(false, listServers),
		Long: `For a server whose machine or disk is lost: takes it out, as "cluster remove" does, and says what to do on the machine that
takes its place. First out, then in: with one more server that doesn't work the cluster would survive less.

The new server may have the old one's name and addresses, or others: the servers tell the agents, which remember it. An
agent that is down meanwhile needs one server of its agent.yaml that still works.`,
		Example: `  ninelives cluster replace server-3 --reason "disk died"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := ask(a, cmd, members)
			if err != nil {
				return err
			}
			through := "SERVER:7401"
			for _, s := range m.Servers {
				if s.Healthy && s.Name != args[0] && len(s.Agents) > 0 {
					through = s.Agents[0]
				}
				if s.Name == args[0] && s.Healthy && !yes {
					return fmt.Errorf("%s works, so it needn't be replaced; if it is to go all the same: ninelives cluster remove %s", s.Name, s.Name)
				}
			}
			if err := a.removeServer(cmd, args[0], reason, yes); err != nil {
				return err
			}
			fmt.Fprintf(a.env.Stderr, "On the new machine, with its server.yaml and the CA's bundle (ninelives server init --bundle-out, on any server that works):\n  ninelives server join --bundle FILE --through %s\n", through)
			return nil
		},
	}
	reasonFlag(cmd, &reason, "why (needed)")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask, also if it works; needed where standard input is no terminal")
	return cmd
}

// notInBackup says what a backup lacks.
const notInBackup = `The CA's key, the admin token and the secrets that devices refer to are not in it: keep one copy of the bundle
("ninelives server init --bundle-out FILE") offline, apart from the backups and the servers.`

func (a *app) clusterBackupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Write all records to a file", Args: one("file"), ValidArgsFunction: anyFile,
		Long: `Writes all records (hosts, incidents, policy, fence devices, switches, audit trail) as of one moment to a new file, which
only its owner may read (0600), checks its checksum, and doesn't overwrite anything. Any server with quorum will do.

` + notInBackup,
		Example: "  ninelives cluster backup /var/backups/ninelives-$(date +%F)",
		RunE:    func(cmd *cobra.Command, args []string) error { return a.backup(cmd, args[0]) },
	}
}

func (a *app) backup(cmd *cobra.Command, path string) (err error) {
	m, err := ask(a, cmd, members)
	if err != nil {
		return err
	}
	if m.External {
		return errors.New("the database is an etcd of your own: back it up with etcdctl snapshot save")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write the backup: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path)) // half a backup is none
		}
	}()
	n, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (int64, error) { return c.Backup(ctx, f) })
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := server.CheckBackup(cmd.Context(), path); err != nil {
		return err
	}
	done := struct {
		File  string `json:"file"`
		Bytes int64  `json:"bytes"`
	}{path, n}
	return a.show(done, func(p *page) {
		p.line("%s: %d bytes, checksum right.", path, n)
		p.line("%s", strings.ReplaceAll(notInBackup, "\n", " "))
	})
}

func (a *app) clusterRestoreCommand() *cobra.Command {
	var config, bundle string
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Begin a cluster anew from a backup, on this machine, with the server stopped", Args: one("file"), ValidArgsFunction: anyFile,
		Long: `For when the quorum is lost for good: makes a cluster of this one server from a backup. Run it on the server's machine, as
root or as the daemon's user, while no server of the old cluster runs anywhere: there would be two clusters, and both would act.
It refuses while one of cluster.initial answers.

The data directory may have no database yet: move DATA/etcd away first. DATA/pki stays; on a machine without it, give the
CA's bundle with --bundle.
The new cluster begins DISARMED: what the backup says of open incidents is as old as the backup. Look (ninelives status,
ninelives incident list), then "ninelives arm". Agents find this server again by themselves. The other servers join again:
on each, move DATA/etcd away, then "ninelives server join".`,
		Example: `  systemctl stop ninelives-server                      # on all servers
  mv /var/lib/ninelives/etcd /var/lib/ninelives/etcd.old
  ninelives cluster restore /var/backups/ninelives-2026-03-01
  systemctl start ninelives-server`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadServer(config)
			if err != nil {
				return err
			}
			whose, err := owner(cfg.Data)
			if err != nil {
				return fmt.Errorf("cannot use the data directory: %w", err)
			}
			if err := server.Restore(cmd.Context(), cfg, args[0], bundle); err != nil {
				return err
			}
			if err := giveAllTo(whose, cfg.Data); err != nil {
				return err
			}
			fmt.Fprintf(a.env.Stdout, "%s is a cluster of its own now, disarmed. Start it, look at ninelives status, then ninelives arm; let the others join again.\n", cfg.Name)
			return nil
		},
	}
	cmd.Flags().StringVar(&config, "config", defaultServerConfig, "the server's configuration file")
	cmd.Flags().StringVar(&bundle, "bundle", "", "the CA's bundle `FILE`, on a machine that hasn't the CA")
	return cmd
}

func (a *app) serverJoinCommand() *cobra.Command {
	var config, bundle, through string
	cmd := &cobra.Command{
		Use: "join", Short: "Let this machine's server join a running cluster", Args: none,
		Long: `Lets the server of this machine join a cluster that runs. Write its server.yaml first: a name of its own, listen.cluster,
and all servers under cluster.initial as they will be, this one included. --bundle is the CA's bundle ("ninelives server init
--bundle-out FILE" on a server that works); --through is the agents' port of any server that works.

Then start it (systemctl start ninelives-server). It copies the records first; when it has caught up it gets its vote by
itself: "ninelives cluster list" shows it. One server joins at a time, and only while all others work; a lost one is taken
out first (ninelives cluster replace). While no server leads, or another one is joining, it asks again for up to a minute.
Run it as root or as the daemon's user.`,
		Example: `  ninelives server join --bundle /root/ninelives.bundle --through server-1:7401
  systemctl start ninelives-server && ninelives cluster list`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if bundle == "" || through == "" {
				return usage(cmd, "--bundle FILE and --through HOST:PORT are needed")
			}
			cfg, err := loadServer(config)
			if err != nil {
				return err
			}
			whose, err := owner(cfg.Data)
			if err != nil {
				return fmt.Errorf("cannot use the data directory: %w", err)
			}
			servers, err := server.Join(cmd.Context(), cfg, bundle, through, func(reason string) { fmt.Fprintf(a.env.Stderr, "Waiting: %s.\n", reason) })
			if err != nil {
				return err
			}
			if err := giveAllTo(whose, cfg.Data); err != nil {
				return err
			}
			fmt.Fprintf(a.env.Stdout, "%s may join %s. Start it now (systemctl start ninelives-server), and delete the bundle here; one copy is kept offline.\n", cfg.Name, strings.Join(servers, ", "))
			return nil
		},
	}
	cmd.Flags().StringVar(&config, "config", defaultServerConfig, "configuration file")
	cmd.Flags().StringVar(&bundle, "bundle", "", "the CA's bundle `FILE`, of \"server init\"")
	cmd.Flags().StringVar(&through, "through", "", "`HOST:PORT` of the agents' port of a server that works")
	return cmd
}

// giveAllTo gives a directory and all in it to the owner of the data directory, where root made them for the daemon.
func giveAllTo(whose os.FileInfo, dir string) error {
	var paths []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		return err
	}
	return giveTo(whose, paths...)
}
