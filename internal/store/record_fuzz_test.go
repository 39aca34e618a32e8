package store

import (
	"encoding/json"
	"errors"
	"testing"
)

// FuzzDecode reads a record of any age: it has a version that we know, or an error says which of the two it is; and what
// we write we read.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"v":1,"host":"h"}`, `{"v":2}`, `{"v":0}`, `{"v":"1"}`, `{"v":1.5}`, `{"v":1,"v":3}`, `{"V":1}`, `{}`, `null`, `[1]`, `{"v":1}x`, "", "\xff", `{"v":99999999999999999999}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var into map[string]json.RawMessage
		version, err := Decode(Record{Key: "hosts/h", Value: data}, 1, &into)
		switch {
		case err == nil && (version != 1 || into == nil):
			t.Errorf("%q is taken as version %d: %v", data, version, into)
		case err != nil && !errors.Is(err, ErrNewer) && !errors.Is(err, ErrFormat):
			t.Errorf("%q: an error of no class: %v", data, err)
		case errors.Is(err, ErrNewer) && version < 2:
			t.Errorf("%q is newer, with version %d", data, version)
		}
		if err != nil {
			return
		}
		delete(into, "v")
		again, err := Encode(1, into)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := Decode(Record{Key: "hosts/h", Value: again}, 1, &into); err != nil || v != 1 {
			t.Errorf("%s, which we wrote, is version %d: %v", again, v, err)
		}
	})
}
