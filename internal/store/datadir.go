package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// dataDir is a server's directory, held by a lock for as long as the server runs.
type dataDir struct {
	path string
	lock *os.File
}

// identity says whose data a directory holds. etcd itself takes any directory
// that has data and ignores what the configuration says about the cluster.
type identity struct {
	Name    string            `json:"name"`
	Token   string            `json:"token"`
	Servers map[string]string `json:"servers"` // cluster addresses by name
}

const identityVersion = 1

func (d *dataDir) etcd() string     { return filepath.Join(d.path, "etcd") }
func (d *dataDir) identity() string { return filepath.Join(d.path, "identity.json") }

// openDataDir makes, locks and checks the directory. etcd would wait for ever for
// a database that another process has open.
func openDataDir(o Options) (*dataDir, error) {
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(o.DataDir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock data directory: %w", err)
	}
	d := &dataDir{path: o.DataDir, lock: lock}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s is in use by another ninelives server", o.DataDir)
		}
		return nil, fmt.Errorf("cannot lock data directory %s: %w", o.DataDir, err)
	}
	if err := d.claim(o); err != nil {
		d.release()
		return nil, err
	}
	return d, nil
}

func (d *dataDir) release() { d.lock.Close() }

// claim checks that the data is this server's, or says that it is if there is none.
func (d *dataDir) claim(o Options) error {
	want := identity{Name: o.Name, Token: o.ClusterToken, Servers: o.Initial}
	_, err := os.Stat(filepath.Join(d.etcd(), "member", "wal"))
	if errors.Is(err, os.ErrNotExist) {
		return d.write(want)
	}
	if err != nil {
		return fmt.Errorf("cannot read data directory: %w", err)
	}
	b, err := os.ReadFile(d.identity())
	if err != nil {
		return fmt.Errorf("data directory %s has data, but doesn't say whose: %w", d.path, err)
	}
	var have identity
	if _, err := Decode(Record{Key: d.identity(), Value: b}, identityVersion, &have); err != nil {
		return fmt.Errorf("cannot read whose data directory this is: %w", err)
	}
	switch {
	case have.Name != want.Name:
		return fmt.Errorf("data directory %s belongs to server %q, this one is %q", d.path, have.Name, want.Name)
	case have.Token != want.Token:
		return fmt.Errorf("data directory %s belongs to cluster %q, this server is of %q", d.path, have.Token, want.Token)
	case !maps.Equal(have.Servers, want.Servers):
		return fmt.Errorf("data directory %s was made for the servers %s, the configuration says %s: a cluster's servers can't be changed by editing it", d.path, inWords(have.Servers), inWords(want.Servers))
	}
	return nil
}

func (d *dataDir) write(id identity) error {
	b, err := Encode(identityVersion, id)
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.identity(), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot write to data directory: %w", err)
	}
	return nil
}

// inWords: maps marshal sorted.
func inWords(servers map[string]string) string {
	b, err := json.Marshal(servers)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
