package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/peerv1"
)

const (
	// joinWithin bounds how long a server asks to join while the servers can't let it: a new leader, another server that
	// is just joining.
	joinWithin = time.Minute
	joinAgain  = time.Second
)

// CheckBackup reads a backup through and holds it against its checksum.
func CheckBackup(ctx context.Context, path string) error { return store.CheckBackup(ctx, path) }

// Join lets the server with this configuration join a cluster that runs: it takes over the CA from a bundle, asks the
// leader, through the agents' port of any server, and leaves in the data directory what the server's first start needs. It
// gives the names of all servers. To do it again is fine until the server has started. waiting is told each reason to wait.
func Join(ctx context.Context, cfg Config, bundle, through string, waiting func(reason string)) (_ []string, err error) {
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
	if _, had := os.Stat(pkiDir); errors.Is(had, fs.ErrNotExist) {
		defer func() {
			if err != nil { // the next attempt may bring another bundle
				err = errors.Join(err, os.RemoveAll(pkiDir))
			}
		}()
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
	ticket, err := askToJoin(ctx, cred, cfg, through, waiting)
	if err != nil {
		return nil, err
	}
	if err := store.PrepareJoin(o, ticket); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(ticket.Servers)), nil
}

// askToJoin asks until the servers let this one join, refuse, or ctx ends.
func askToJoin(ctx context.Context, cred *pki.Credentials, cfg Config, through string, waiting func(string)) (store.Ticket, error) {
	told := ""
	for {
		ticket, why, err := askOnce(ctx, cred, cfg, through)
		switch {
		case err != nil && told != "" && ctx.Err() != nil:
			return store.Ticket{}, fmt.Errorf("cannot join within %s: %s", joinWithin, told)
		case err != nil || why == "":
			return ticket, err
		case why != told:
			told = why
			waiting(why)
		}
		select {
		case <-ctx.Done():
			return store.Ticket{}, fmt.Errorf("cannot join within %s: %s", joinWithin, why)
		case <-time.After(joinAgain):
		}
	}
}

// askOnce asks a server, and if that doesn't lead, the one that it names. why: nothing was done, for a reason that passes.
func askOnce(ctx context.Context, cred *pki.Credentials, cfg Config, through string) (_ store.Ticket, why string, _ error) {
	t, err := askAt(ctx, cred, cfg, through)
	if err == nil && t.GetLeader() != "" {
		leader := t.GetLeader()
		if t.GetLeaderAddress() == "" {
			return store.Ticket{}, "", fmt.Errorf("cannot join through %s: %s leads; name that one's agents' port with --through", through, leader)
		}
		if t, err = askAt(ctx, cred, cfg, t.GetLeaderAddress()); errors.Is(err, transport.ErrNotReached) {
			return store.Ticket{}, fmt.Sprintf("%s, which leads as far as %s knows, isn't reached: %v", leader, through, err), nil
		} else if err == nil && t.GetLeader() != "" {
			return store.Ticket{}, "the leadership is changing hands", nil
		}
	}
	if err != nil || t.GetWait() != "" {
		return store.Ticket{}, t.GetWait(), err
	}
	return store.Ticket{Token: t.GetToken(), Servers: t.GetServers()}, "", nil
}

// askAt asks one server.
func askAt(ctx context.Context, cred *pki.Credentials, cfg Config, addr string) (*peerv1.JoinTicket, error) {
	peer, err := transport.DialPeer(addr, func() *pki.Credentials { return cred }, nil)
	if err != nil {
		return nil, err
	}
	defer peer.Close() //nolint:errcheck // its answer is all that is wanted
	return peer.Join(ctx, cfg.Name, cfg.Cluster.Initial[cfg.Name])
}

// Restore makes a cluster of this server alone from a backup, disarmed: what the backup says of open incidents is old. On a
// machine without the cluster's CA it takes that from a bundle; "" where the CA is there. It refuses while another server that
// the configuration names answers.
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
	alive, err := store.Alive(ctx, o)
	if err != nil {
		return err
	}
	if len(alive) > 0 {
		return fmt.Errorf("cannot restore: servers of the old cluster still run: %s. There would be two clusters, and both would act; stop every server first (where a majority works, ninelives server join is the way back)", few(alive))
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
