package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
)

// Ticket is what a server must know to join a cluster that runs; AddServer gives it.
type Ticket struct {
	Token   string            `json:"token"`
	Servers map[string]string `json:"servers"` // cluster addresses by name, the new one's included
}

// Vacant is nil if a server with these options can join a cluster: its data
// directory has no data yet, and it has a cluster address.
func Vacant(o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if o.lone {
		return errors.New("this server has no cluster address: name it under cluster.initial, with one that the others can reach")
	}
	d, err := vacant(o)
	if err != nil {
		return err
	}
	d.release()
	return nil
}

// vacant locks a directory without data.
func vacant(o Options) (*dataDir, error) {
	d, err := lockDataDir(o)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(d.etcd(), "member")); err == nil || !errors.Is(err, os.ErrNotExist) {
		d.release()
		if err != nil {
			return nil, fmt.Errorf("cannot read data directory: %w", err)
		}
		return nil, fmt.Errorf("data directory %s has data already: move it away first", o.DataDir)
	}
	return d, nil
}

// PrepareJoin notes in the data directory that the server begins as one that joins:
// the next OpenEmbedded does.
func PrepareJoin(o Options, t Ticket) error {
	o, err := o.withDefaults()
	if err != nil {
		return fmt.Errorf("cannot prepare to join: %w", err)
	}
	d, err := vacant(o)
	if err != nil {
		return fmt.Errorf("cannot prepare to join: %w", err)
	}
	defer d.release()
	if own := t.Servers[o.Name]; own == "" || own != o.Initial[o.Name] {
		return fmt.Errorf("cannot prepare to join: the cluster expects %s at %q, the configuration says %q", o.Name, own, o.Initial[o.Name])
	}
	d.id = identity{Name: o.Name, Token: t.Token, Servers: maps.Clone(t.Servers), Joins: true}
	if err := d.write(); err != nil {
		return fmt.Errorf("cannot prepare to join: %w", err)
	}
	return nil
}
