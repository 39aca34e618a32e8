package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// errDamaged says that etcd's files can't be what etcd wrote.
var errDamaged = errors.New("damaged files")

// bbolt's file format: two meta pages, the newer one counts. See go.etcd.io/bbolt/internal/common, Meta and Page.
const (
	boltMagic  = 0xED0CDAED
	boltHeader = 16 // of a page, before its contents
	boltPages  = 40 // in a meta: how many pages the file has
	boltTx     = 48 // in a meta: which of the two is newer
)

// checkDatabase finds a database file that was cut short. etcd maps it into memory, and reading beyond its end kills
// the process with no word about the cause. A file that isn't there is well: etcd makes one.
func checkDatabase(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read etcd's database: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot read etcd's database: %w", err)
	}
	var newest, pages, size uint64
	for _, at := range []int64{0, int64(os.Getpagesize())} {
		b := make([]byte, boltHeader+64)
		if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("cannot read etcd's database: %w", err)
		}
		meta := b[boltHeader:]
		if binary.NativeEndian.Uint32(meta) != boltMagic {
			continue // one of the two may be torn
		}
		if tx := binary.NativeEndian.Uint64(meta[boltTx:]); tx >= newest {
			newest, pages, size = tx, binary.NativeEndian.Uint64(meta[boltPages:]), uint64(binary.NativeEndian.Uint32(meta[8:]))
		}
	}
	if pages == 0 && info.Size() > 0 {
		return fmt.Errorf("etcd's database %s is none: %w", path, errDamaged)
	}
	if need := pages * size; uint64(info.Size()) < need {
		return fmt.Errorf("etcd's database %s has %d bytes of at least %d: %w", path, info.Size(), need, errDamaged)
	}
	return nil
}
