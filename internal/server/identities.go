package server

import (
	"encoding/hex"
	"slices"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

// identities finds the hosts whose machine may have an identity, without comparing it with those of 10,000 others:
// key → hosts. Whether it is really the same, Match decides.
type identities map[string]map[string]bool

func (x identities) add(id fence.Identity, host string) {
	for _, k := range keysOf(id) {
		if x[k] == nil {
			x[k] = map[string]bool{}
		}
		x[k][host] = true
	}
}

func (x identities) remove(id fence.Identity, host string) {
	for _, k := range keysOf(id) {
		if delete(x[k], host); len(x[k]) == 0 {
			delete(x, k)
		}
	}
}

func (x identities) candidates(id fence.Identity) map[string]bool {
	out := map[string]bool{}
	if !id.Usable() {
		return out
	}
	for _, k := range keysOf(id) {
		for host := range x[k] {
			out[host] = true
		}
	}
	return out
}

// keysOf are equal for all ways in which firmware writes the same identity down: a uuid's byte orders have the same
// bytes in them.
func keysOf(id fence.Identity) []string {
	var keys []string
	for _, uuid := range []string{id.UUID, id.Controller} {
		digits := strings.Map(func(r rune) rune {
			if strings.ContainsRune("0123456789abcdefABCDEF", r) {
				return r
			}
			return -1
		}, uuid)
		if raw, err := hex.DecodeString(digits); err == nil && len(raw) == 16 {
			slices.Sort(raw)
			keys = append(keys, "uuid "+string(raw))
		}
	}
	if serial := strings.ToLower(strings.TrimSpace(id.Serial)); serial != "" {
		keys = append(keys, "serial "+serial)
	}
	return slices.Compact(keys)
}
