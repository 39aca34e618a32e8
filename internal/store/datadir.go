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
	id   identity // changed by note alone once it is open
}

// identity says whose data a directory holds. etcd itself takes any directory
// that has data and ignores what the configuration says about the cluster.
type identity struct {
	Name    string            `json:"name"`
	Token   string            `json:"token"`
	Servers map[string]string `json:"servers"` // cluster addresses by name, as the cluster began or as it was when this one joined
	// Now are the servers as last known; others have joined or gone since.
	Now map[string]string `json:"now,omitempty"`
	// Joins: it was let into a cluster that runs, or restored from a backup. What the
	// configuration says of the other servers doesn't count then.
	Joins    bool `json:"joins,omitempty"`
	Restored bool `json:"restored,omitempty"`
	// Ran: etcd has run on this data: it must all be there.
	Ran bool `json:"ran,omitempty"`
}

const identityVersion = 1

func (d *dataDir) etcd() string     { return filepath.Join(d.path, "etcd") }
func (d *dataDir) identity() string { return filepath.Join(d.path, "identity.json") }

// member is a file beside the directory: this server has had a vote beside others.
func (d *dataDir) member() string { return d.path + ".member" }

// openDataDir makes, locks and checks the directory. etcd would wait for ever for
// a database that another process has open.
func openDataDir(o Options) (*dataDir, error) {
	d, err := lockDataDir(o)
	if err != nil {
		return nil, err
	}
	if err := d.claim(o); err != nil {
		d.release()
		return nil, err
	}
	return d, nil
}

func lockDataDir(o Options) (*dataDir, error) {
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
	return d, nil
}

func (d *dataDir) release() { d.lock.Close() }

// claim checks that the data is this server's, or says that it is if there is none.
func (d *dataDir) claim(o Options) error {
	want := identity{Name: o.Name, Token: o.ClusterToken, Servers: o.Initial}
	have, err := d.read()
	if err != nil {
		return err
	}
	_, err = os.Stat(filepath.Join(d.etcd(), "member", "wal"))
	switch there := err == nil; {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("cannot read data directory: %w", err)
	case !there && have != nil && have.Ran:
		return fmt.Errorf("data directory %s has lost its log (etcd/member/wal): is this the only server, put a backup back (ninelives cluster restore); are there others, replace this one (ninelives cluster replace). If it is to begin with nothing, move the directory away", d.path)
	case !there && (have == nil || !have.Joins):
		if err := d.mayBegin(); err != nil {
			return err
		}
		if n := len(o.Initial); n != 1 && n != 3 && n != 5 {
			return fmt.Errorf("a cluster of %d servers is refused: one, three or five (an even number survives no more failures than one less)", n)
		}
		d.id = want
		return d.write()
	case have == nil:
		return fmt.Errorf("data directory %s has data, but doesn't say whose: %s is missing", d.path, d.identity())
	}
	d.id = *have
	return d.belongs(want, o.lone)
}

// mayBegin refuses to begin with nothing where this server has had a vote beside others. It would vote as the member it was,
// having forgotten what it had acknowledged, and with another one that was away then it would be a majority.
func (d *dataDir) mayBegin() error {
	switch _, err := os.Stat(d.member()); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("cannot read data directory: %w", err)
	}
	return fmt.Errorf("data directory %s is empty, but this server was one of several (%s says so): it must not begin with nothing. "+
		"Are there others, replace this one (ninelives cluster replace there, then ninelives server join here); are all lost, put a backup back (ninelives cluster restore). "+
		"Only if the whole cluster is to begin anew, without its records, remove that file", d.path, d.member())
}

// belongs holds what the directory says against the configuration.
func (d *dataDir) belongs(want identity, lone bool) error {
	have := d.id
	own := map[string]string{want.Name: want.Servers[want.Name]}
	switch {
	case have.Name != want.Name:
		return fmt.Errorf("data directory %s belongs to server %q, this one is %q", d.path, have.Name, want.Name)
	case have.Token != want.Token:
		return fmt.Errorf("data directory %s belongs to cluster %q, this server is of %q", d.path, have.Token, want.Token)
	case maps.Equal(have.Servers, want.Servers), maps.Equal(have.Now, want.Servers):
		return nil
	case !lone && len(have.Servers) == 1 && have.Servers[want.Name] == loneAddress && maps.Equal(own, want.Servers):
		return nil // a server that was alone gets an address, so that others can join
	case !lone && (have.Joins || have.Restored) && have.Servers[want.Name] == own[want.Name]:
		return nil
	}
	known := have.Servers
	if len(have.Now) > 0 {
		known = have.Now
	}
	return fmt.Errorf("data directory %s is of the servers %s, the configuration says %s: a cluster's servers can't be changed by editing it. %s", d.path, inWords(known), inWords(want.Servers), d.wayOut(known, want))
}

// wayOut says what to do instead of editing the configuration.
func (d *dataDir) wayOut(known map[string]string, want identity) string {
	is := d.id.Servers[want.Name]
	switch {
	case is == want.Servers[want.Name]:
		return "Write cluster.initial as it was. One more server joins by `ninelives server join` on its own machine; one is taken out by `ninelives cluster remove NAME --reason WHY`"
	case len(known) == 1:
		return fmt.Sprintf("Write this server's address as it was: %s", is)
	}
	return fmt.Sprintf("This server is %s for the others. To give it another address, on one of them: `ninelives cluster remove %s --reason WHY`; "+
		"here: `mv %s %s.old`, then `ninelives server join --bundle FILE --through HOST:7401`", is, want.Name, d.path, d.path)
}

// note remembers who the servers are, and that there is data.
func (d *dataDir) note(now map[string]string) error {
	if err := d.noteMember(len(now) > 1); err != nil {
		return err
	}
	if d.id.Ran && maps.Equal(d.id.Now, now) {
		return nil
	}
	before, ran := d.id.Now, d.id.Ran
	d.id.Now, d.id.Ran = now, true
	err := d.write()
	if err != nil {
		d.id.Now, d.id.Ran = before, ran
	}
	return err
}

// noteMember keeps the file for mayBegin, or takes it away.
func (d *dataDir) noteMember(is bool) error {
	_, err := os.Stat(d.member())
	switch was := err == nil; {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case was == is:
		return nil
	case !is:
		return os.Remove(d.member())
	}
	return os.WriteFile(d.member(), []byte("This server has had a vote beside others: without its database it must not begin by itself.\n"), 0o600)
}

// read is nil if the directory doesn't say whose it is.
func (d *dataDir) read() (*identity, error) {
	b, err := os.ReadFile(d.identity())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("cannot read whose data directory this is: %w", err)
	}
	var have identity
	if _, err := Decode(Record{Key: d.identity(), Value: b}, identityVersion, &have); err != nil {
		return nil, fmt.Errorf("cannot read whose data directory this is: %w", err)
	}
	return &have, nil
}

// write replaces the file at once: after a crash there is the old one or the new.
func (d *dataDir) write() error {
	b, err := Encode(identityVersion, d.id)
	if err != nil {
		return err
	}
	fresh := d.identity() + ".new"
	if err := os.WriteFile(fresh, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot write to data directory: %w", err)
	}
	if err := os.Rename(fresh, d.identity()); err != nil {
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
