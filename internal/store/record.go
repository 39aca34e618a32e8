package store

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Encode is body, which must marshal to a JSON object without a field "v", with
// the format version stamped in front: {"v":1,…}.
func Encode(version int, body any) ([]byte, error) {
	if version < 1 {
		return nil, fmt.Errorf("cannot encode %T: format versions begin at 1, not %d", body, version)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %T: %w", body, err)
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(b, &fields) != nil || fields == nil {
		return nil, fmt.Errorf("cannot encode %T: it isn't a JSON object", body)
	}
	if _, taken := fields["v"]; taken {
		return nil, fmt.Errorf(`cannot encode %T: its field "v" is the format version's name`, body)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, `{"v":%d`, version)
	if len(fields) > 0 {
		out.WriteByte(',')
	}
	out.Write(b[1:])
	return out.Bytes(), nil
}

// Decode reads r's value into the struct that into points to and gives its format
// version, 1 to known. Errors name the key: ErrNewer for a version above known
// (nothing of it is read), ErrFormat for anything that isn't such a record.
// Unknown fields are let pass: an addition that old servers may ignore needs no
// new version.
func Decode(r Record, known int, into any) (int, error) {
	var head struct {
		V *int `json:"v"`
	}
	if err := json.Unmarshal(r.Value, &head); err != nil {
		return 0, fmt.Errorf("record %s: %w: %v", r.Key, ErrFormat, err)
	}
	switch {
	case head.V == nil || *head.V < 1:
		return 0, fmt.Errorf(`record %s: %w: no format version "v"`, r.Key, ErrFormat)
	case *head.V > known:
		return *head.V, fmt.Errorf("record %s: %w: its format is %d, this one knows up to %d: upgrade this server", r.Key, ErrNewer, *head.V, known)
	}
	if err := json.Unmarshal(r.Value, into); err != nil {
		return *head.V, fmt.Errorf("record %s: %w: %v", r.Key, ErrFormat, err)
	}
	return *head.V, nil
}
