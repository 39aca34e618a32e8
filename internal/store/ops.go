package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// root is where all keys are in etcd; epochKey is the one that guards all writes.
// It is not a record: List and Watch leave it out, no Op may touch it.
const (
	root     = "/ninelives/"
	epochKey = "epoch"
	maxKey   = 512
)

// checkOps refuses what can't be one transaction. etcd would refuse most of it as
// well, in other words and later.
func checkOps(ops []Op) error {
	if len(ops) > MaxOps {
		return fmt.Errorf("cannot commit %d operations: %w: at most %d go into one", len(ops), ErrTooLarge, MaxOps)
	}
	size := 0
	kinds := make(map[string]opKind, len(ops))
	var prefixes []string
	for _, op := range ops {
		if err := checkOp(op); err != nil {
			return fmt.Errorf("cannot %s %q: %w: %v", op.kind, op.key, ErrBadOp, err)
		}
		if before, twice := kinds[op.key]; twice {
			return fmt.Errorf("cannot %s %q: %w: the same transaction has %s for it", op.kind, op.key, ErrBadOp, before)
		}
		kinds[op.key] = op.kind
		if op.kind == opDeletePrefix {
			prefixes = append(prefixes, op.key)
		}
		size += len(op.key) + len(op.value)
	}
	if size > MaxBytes {
		return fmt.Errorf("cannot commit %d bytes: %w: at most %d go into one", size, ErrTooLarge, MaxBytes)
	}
	// Written and deleted at once: which one was meant to win?
	for _, prefix := range prefixes {
		for _, op := range ops {
			if op.kind != opDeletePrefix && strings.HasPrefix(op.key, prefix) {
				return fmt.Errorf("cannot %s %q: %w: the same transaction deletes all of %s", op.kind, op.key, ErrBadOp, prefix)
			}
		}
	}
	return nil
}

func checkOp(op Op) error {
	switch op.kind {
	case opPut:
		if err := checkKey(op.key); err != nil {
			return err
		}
		// A value that can't be read back would stop the next leader from loading.
		if !bytes.HasPrefix(op.value, []byte(`{"v":`)) || !json.Valid(op.value) {
			return fmt.Errorf("its value wasn't made by Encode")
		}
		return nil
	case opDelete:
		return checkKey(op.key)
	case opDeletePrefix:
		key, slash := strings.CutSuffix(op.key, "/")
		if !slash {
			return fmt.Errorf("a prefix to delete must end with a slash")
		}
		return checkKey(key)
	}
	return fmt.Errorf("made by none of Put, Delete, DeletePrefix")
}

func checkKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("the key is empty")
	case len(key) > maxKey:
		return fmt.Errorf("the key has %d bytes, at most %d are allowed", len(key), maxKey)
	case key == epochKey:
		return fmt.Errorf("only the election writes the epoch")
	case !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl):
		return fmt.Errorf("the key isn't plain text")
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" {
			return fmt.Errorf("a part of the key is empty")
		}
	}
	return nil
}
