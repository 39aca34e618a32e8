package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// joinWithin bounds the questions of a server that joins; the leader asks all servers first.
const joinWithin = 20 * time.Second

// CheckBackup reads a backup through and holds it against its checksum.
func CheckBackup(ctx context.Context, path string) error { return store.CheckBackup(ctx, path) }

// Join lets the server with this configuration join a cluster that runs: it takes over the CA from a bundle, asks the
// leader, through the agents' port of any server, and leaves in the data directory what the server's first start needs. It
// gives the names of all servers. To do it again is fine until the server has started.
func Join(ctx context.Context, cfg Config, bundle, through string) ([]string, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.external() {
		return nil, errors.New("with an etcd of your own no server has to join: give it the bundle and start it (ninelives server --bundle FILE)")
	}
	times, err := cfg.times()
	if err != nil {
		return nil, err
	}
	pkiDir := filepath.Join(cfg.Data, "pki")
	o := cfg.storeOptions(pkiDir, times.Permit, slog.New(slog.DiscardHandler))
	if err := store.Vacant(o); err != nil {
		return nil, fmt.Errorf("cannot join: %w", err)
	}
	ca, err := pki.Import(pkiDir, bundle)
	if err != nil {
		return nil, err
	}
	cred, err := ca.EnsureServer(pkiDir, cfg.Name, cfg.names(), time.Now())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, joinWithin)
	defer cancel()
	ticket, err := askToJoin(ctx, cred, cfg, through)
	if err != nil {
		return nil, err
	}
	if err := store.PrepareJoin(o, ticket); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(ticket.Servers)), nil
}

// askToJoin asks a server, and if that doesn't lead, the one that it names.
func askToJoin(ctx context.Context, cred *pki.Credentials, cfg Config, through string) (store.Ticket, error) {
	for range 2 {
		peer, err := transport.DialPeer(through, func() *pki.Credentials { return cred }, nil)
		if err != nil {
			return store.Ticket{}, err
		}
		t, err := peer.Join(ctx, cfg.Name, cfg.Cluster.Initial[cfg.Name])
		peer.Close() //nolint:errcheck // its answer is all that was wanted
		switch {
		case err != nil:
			return store.Ticket{}, err
		case t.GetLeader() == "":
			return store.Ticket{Token: t.GetToken(), Servers: t.GetServers()}, nil
		case t.GetLeaderAddress() == "":
			return store.Ticket{}, fmt.Errorf("cannot join through %s: %s leads; name that one's agents' port with --through", through, t.GetLeader())
		}
		through = t.GetLeaderAddress()
	}
	return store.Ticket{}, errors.New("cannot join: the leadership is changing hands; try again")
}

// Restore makes a cluster of this server alone from a backup, disarmed: what the backup says of open incidents is old. On a
// machine without the cluster's CA it takes that from a bundle; "" where the CA is there.
func Restore(ctx context.Context, cfg Config, backup, bundle string) error {
	if err := cfg.check(); err != nil {
		return err
	}
	if cfg.external() {
		return errors.New("the database is an etcd of your own: restore it with etcdutl, bumping its revision (--bump-revision, --mark-compacted), and disarm")
	}
	times, err := cfg.times()
	if err != nil {
		return err
	}
	pkiDir := filepath.Join(cfg.Data, "pki")
	o := cfg.storeOptions(pkiDir, times.Permit, slog.New(slog.DiscardHandler))
	var ca *pki.CA
	if bundle == "" {
		ca, err = pki.Load(pkiDir)
	} else {
		ca, err = pki.Import(pkiDir, bundle)
	}
	if err != nil {
		return fmt.Errorf("agents and servers trust the old cluster's CA alone: %w", err)
	}
	if _, err := ca.EnsureServer(pkiDir, cfg.Name, cfg.names(), time.Now()); err != nil {
		return err
	}
	if err := store.Restore(ctx, backup, o); err != nil {
		return err
	}
	if err := disarmRestored(ctx, o, filepath.Base(backup)); err != nil {
		return fmt.Errorf("the backup was restored, but not disarmed; move %s away and try again: %w", o.DataDir, err)
	}
	return nil
}

// disarmRestored writes the switch as the engine does.
func disarmRestored(ctx context.Context, o store.Options, backup string) error {
	s, err := store.OpenEmbedded(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 4*electionTimeout)
	defer cancel()
	err = errors.New("this server didn't become leader")
	for l := range s.Lead(ctx) {
		if !l.Leader {
			continue
		}
		var value []byte
		value, err = store.Encode(format, engine.Switches{By: "restore", At: time.Now().UTC(), Reason: "restored from " + backup + ": look at what is open, then arm"})
		if err == nil {
			// What the old servers said of themselves holds no longer.
			_, err = s.Commit(ctx, l.Epoch, store.Put(store.ArmedKey, value), store.DeletePrefix(store.ServersPrefix))
		}
		break
	}
	return errors.Join(err, s.Close())
}
