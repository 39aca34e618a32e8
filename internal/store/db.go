package store

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// db is what both etcd stores do in the same way: records and watches, by a client.
type db struct {
	cli         *clientv3.Client
	name        string // this server's
	callTimeout time.Duration
	life        context.Context // ends with Close, or with a failure

	alive  func() error               // nil while the store can be used
	words  func(error) error          // etcd's error as one of ours
	kick   func()                     // a commit was refused: look who leads
	task   func(func()) bool          // runs until life ends; false: it is closing
	guards func(Epoch) []clientv3.Cmp // under which this epoch's leader may write
}
