package fence_test

import (
	"testing"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

func TestMatch(t *testing.T) {
	const u = "4c4c4544-0032-4b10-8035-b4c04f385132"
	id := func(uuid, serial string) fence.Identity { return fence.Identity{UUID: uuid, Serial: serial} }
	tests := []struct {
		name string
		a, b fence.Identity
		want bool
	}{
		{"same", id(u, ""), id(u, ""), true},
		{"case and dashes", id(u, ""), id("{4C4C454400324B108035B4C04F385132}", ""), true},
		{"SMBIOS order", id(u, ""), id("44454c4c-3200-104b-8035-b4c04f385132", ""), true},
		{"reversed", id(u, ""), id("3251384f-c0b4-3580-104b-320044454c4c", ""), true},
		{"reversed SMBIOS order", id(u, ""), id("3251384f-c0b4-3580-4b10-00324c4c4544", ""), true},
		{"one digit differs", id(u, ""), id("4c4c4544-0032-4b10-8035-b4c04f385133", ""), false},
		{"one field swapped only", id(u, ""), id("44454c4c-0032-4b10-8035-b4c04f385132", ""), false},
		{"the controller's GUID", fence.Identity{Controller: u}, id(u, ""), true},
		{"other UUID, same serial", id(u, "CN1234"), id("5c4c4544-0032-4b10-8035-b4c04f385132", "CN1234"), false},
		{"same serial, one UUID missing", id("", "CN1234"), id(u, " cn1234 "), true},
		{"same serial, one UUID a dummy", id("00000000-0000-0000-0000-000000000000", "CN1234"), id(u, "CN1234"), true},
		{"other serial", id("", "CN1234"), id("", "CN1235"), false},
		{"nothing", id("", ""), id("", ""), false},
		{"zero", id("00000000-0000-0000-0000-000000000000", ""), id("00000000-0000-0000-0000-000000000000", ""), false},
		{"all F", id("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", ""), id("ffffffff-ffff-ffff-ffff-ffffffffffff", ""), false},
		{"AMI's default", id("03000200-0400-0500-0006-000700080009", ""), id("03000200-0400-0500-0006-000700080009", ""), false},
		{"AMI's default, swapped", id("00020003-0004-0005-0006-000700080009", ""), id("00020003-0004-0005-0006-000700080009", ""), false},
		{"no UUID", id("not-a-uuid", ""), id("not-a-uuid", ""), false},
		{"serial to be filled", id("", "To be filled by O.E.M."), id("", "To be filled by O.E.M."), false},
		{"default string", id("", "Default string"), id("", "Default string"), false},
		{"0123456789", id("", "0123456789"), id("", "0123456789"), false},
		{"zeros", id("", "00000000"), id("", "00000000"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.a.Match(tt.b) != tt.want || tt.b.Match(tt.a) != tt.want {
				t.Errorf("%+v and %+v: %v and %v, want %v", tt.a, tt.b, tt.a.Match(tt.b), tt.b.Match(tt.a), tt.want)
			}
		})
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("4c4c4544-0032-4b10-8035-b4c04f385132", "CN1")
	f.Add("00000000000000000000000000000000", "none")
	f.Add("", "é")
	f.Fuzz(func(t *testing.T, uuid, serial string) {
		a := fence.Identity{UUID: uuid, Serial: serial}
		if a.Match(a) != a.Usable() {
			t.Errorf("%+v: matches itself %v, usable %v", a, a.Match(a), a.Usable())
		}
	})
}
