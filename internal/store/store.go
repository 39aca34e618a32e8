// Package store keeps what Ninelives must not forget: hosts, incidents, policy,
// devices, switches and the audit trail. It also says which server leads.
//
// There are two implementations with the same behaviour: [Embedded], on an etcd
// member inside this process, and [Memory], for tests and simulation. One
// contract suite runs against both.
//
// Keys are relative to /ninelives/ and never begin or end with a slash. Every
// write is guarded by the epoch of the server that writes, so that a deposed
// leader can't write; a dangerous act may only follow a committed intent, and
// only as long as the [Permit] of that commit is good.
package store

import (
	"context"
	"errors"
	"time"
)

// Sentinel errors. All errors of this package say in words what could not be
// done; callers branch on these with errors.Is.
var (
	// ErrDeposed: the epoch isn't (or no longer) the current one, or this server
	// doesn't lead. Nothing was written.
	ErrDeposed = errors.New("this server no longer leads")
	// ErrNoQuorum: no majority of the servers answered in time.
	ErrNoQuorum = errors.New("no quorum")
	// ErrUncertain: a Commit was sent and got no answer; it may or may not be
	// written, or be written later. Load the records again before deciding
	// anything on them, never assume either. The cause is wrapped as well.
	ErrUncertain = errors.New("outcome unknown")
	// ErrTooLarge: more operations or bytes than one transaction may carry.
	// Nothing was written.
	ErrTooLarge = errors.New("transaction too large")
	// ErrBadOp: an operation that can't be carried out as it is written (bad key,
	// one key twice, …). Nothing was written.
	ErrBadOp = errors.New("bad operation")
	// ErrNotFound: there is no record with this key.
	ErrNotFound = errors.New("no such record")
	// ErrNoSpace: the database has reached its quota; it only takes deletions
	// until space is reclaimed. Nothing was written.
	ErrNoSpace = errors.New("database is full")
	// ErrExpired: the permit's time is over. Nothing may be sent any more.
	ErrExpired = errors.New("permit expired")
	// ErrFormat: a record that can't be read: no JSON, no format version.
	ErrFormat = errors.New("unreadable record")
	// ErrNewer: a record written by a newer Ninelives than this one.
	ErrNewer = errors.New("written by a newer ninelives")
	// ErrAlone: leadership can't be handed over, because no other server is healthy.
	ErrAlone = errors.New("no other server can take over")
	// ErrClosed: the store was closed, or has failed for good.
	ErrClosed = errors.New("store is closed")
)

// Bounds of one transaction, and of what waits for a slow watcher.
const (
	// MaxOps is how many operations one Commit may carry.
	MaxOps = 2048
	// MaxBytes is how many bytes of keys and values one Commit may carry. Raft
	// copies every transaction to every server in one message.
	MaxBytes = 4 << 20
	// maxPending is how many changes may wait for a slow watcher before they are
	// dropped and replaced by a fresh list.
	maxPending = 4096
)

// Epoch is the fencing token of one leadership: the store's revision at which
// the leader claimed it. A later leadership has a greater epoch. Zero is never
// current.
type Epoch int64

// Record is one value of the store.
type Record struct {
	Key string // relative to /ninelives/
	// Value is JSON with a format version; see Encode and Decode.
	Value []byte
	// Revision is the store's revision at which this value was written.
	Revision int64
}

// Op is one operation of a transaction; made by Put, Delete and DeletePrefix.
type Op struct {
	kind  opKind
	key   string
	value []byte
}

type opKind string

const (
	opPut          opKind = "put"
	opDelete       opKind = "delete"
	opDeletePrefix opKind = "delete prefix"
)

// Put writes value under key.
func Put(key string, value []byte) Op { return Op{kind: opPut, key: key, value: value} }

// Delete removes key; one that isn't there is no error.
func Delete(key string) Op { return Op{kind: opDelete, key: key} }

// DeletePrefix removes every key that begins with prefix, which must end with a
// slash: "incidents/7f3a/" never takes incidents/7f3a4 along.
func DeletePrefix(prefix string) Op { return Op{kind: opDeletePrefix, key: prefix} }

// ChangeKind says what happened to a record.
type ChangeKind string

const (
	// Written: the record is new or has a new value.
	Written ChangeKind = "written"
	// Deleted: the record is gone; Record has its key and the revision of the deletion.
	Deleted ChangeKind = "deleted"
	// Reset: forget everything known under the prefix; the changes that follow in
	// the same batch are all records there are. Record is empty but for its
	// Revision, that of the list.
	Reset ChangeKind = "reset"
)

// Change is one thing that Watch saw.
type Change struct {
	Kind   ChangeKind
	Record Record
}

// Leadership is who leads, as this server knows it.
type Leadership struct {
	// Leader: this server leads and may write with Epoch.
	Leader bool
	// Epoch of this server's leadership; 0 when it doesn't lead.
	Epoch Epoch
	// LeaderName is the leading server's name; "" when none is known.
	LeaderName string
}

// Member is one server of the quorum.
type Member struct {
	Name    string
	Address string // cluster address, host:port; "" if it has none
	Healthy bool
	// Learner: it has joined and copies the records; it has no vote yet.
	Learner bool
	// Problem says in words why it isn't healthy; "" when it is.
	Problem string
	// Foreign: a server of another cluster answers at its address.
	Foreign bool
	Leader  bool
}

// Status is the store's condition, as far as this server can see.
type Status struct {
	Members []Member // by name
	// Quorum: a majority answered just now. When false, QuorumReason says why not.
	Quorum       bool
	QuorumReason string
	// Epoch is the current leadership's, whoever leads; 0 when unknown.
	Epoch  Epoch
	Leader string // "" when none is known
	// DBBytes is the size of the database file; DBInUseBytes the part in use;
	// QuotaBytes where writing ends. All 0 in memory.
	DBBytes, DBInUseBytes, QuotaBytes int64
	// Alarms are troubles in words, each with what to do about it.
	Alarms []string
	// elected: a leader was elected while this was asked.
	elected bool
}

// Electing reports whether there is no quorum for the moment only: a majority answers, and who led is not among them, or
// another one was elected just now.
func (s Status) Electing() bool {
	voters, voices, leads := 0, 0, false
	for _, m := range s.Members {
		if m.Learner {
			continue
		}
		voters++
		if m.Healthy {
			voices++
			leads = leads || m.Name == s.Leader
		}
	}
	return !s.Quorum && voices > voters/2 && (!leads || s.elected)
}

// Permit says how long a dangerous act may still be sent after the commit of its
// intent. The zero Permit is never good.
type Permit struct {
	clock    Clock
	leads    func() error
	boot     time.Duration
	wall     time.Time
	validFor time.Duration
}

// Store is what both implementations do. All methods may be called concurrently;
// each has a deadline of its own (Options.CallTimeout), an earlier one of ctx counts.
type Store interface {
	// Name is this server's name.
	Name() string

	// Commit carries out all operations or none, if epoch is current. The permit
	// counts from when Commit was called. Errors: ErrDeposed, ErrTooLarge, ErrBadOp,
	// ErrNoSpace, ErrClosed, and ErrUncertain with its cause; all but the last mean
	// that nothing was written. No operations at all is good for a permit: it
	// proves the leadership anew.
	Commit(ctx context.Context, epoch Epoch, ops ...Op) (Permit, error)

	// Get reads one record, linearizably. Errors: ErrNotFound, ErrNoQuorum, ErrClosed.
	Get(ctx context.Context, key string) (Record, error)

	// List reads all records whose key begins with prefix ("" means all), by key,
	// linearizably, and the revision at which this was the truth. None is no error.
	List(ctx context.Context, prefix string) ([]Record, int64, error)

	// Watch sends what happens under prefix after revision fromRev, in order, until
	// ctx ends or the store closes; then the channel is closed. With fromRev 0, and
	// whenever changes had to be dropped (compaction, slow reader), the batch begins
	// with a Reset and carries all records. Changes of one commit are never torn
	// apart. On a follower that is cut off it is silent, not wrong: see Status.
	Watch(ctx context.Context, prefix string, fromRev int64) <-chan []Change

	// Lead sends who leads, now and at each change, until ctx ends or the store
	// closes; then the channel is closed. Only the newest state waits for a slow
	// reader: a new epoch without a loss in between means that leadership was lost
	// and won again, and everything must be loaded anew.
	Lead(ctx context.Context) <-chan Leadership

	// Resign hands leadership over to a healthy server: to one of those named, if any
	// are. All permits end before. Errors: ErrDeposed (doesn't lead), ErrAlone, ErrNoQuorum.
	Resign(ctx context.Context, to ...string) error

	// Announce writes this server's own card (ServerKey of its name), whoever leads:
	// how the others reach it, what it knows. It is news, nothing may be decided on it
	// alone. Errors: ErrBadOp, ErrNoQuorum, ErrClosed.
	Announce(ctx context.Context, card []byte) error

	// Status asks all servers. It doesn't fail: what can't be found out is said in it.
	Status(ctx context.Context) Status

	// Close ends leadership, watches and permits at once, then stops. Idempotent,
	// bounded by Options.CloseTimeout.
	Close() error
}
