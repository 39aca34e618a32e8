package fence

import (
	"encoding/hex"
	"slices"
	"strings"
)

// Identity is what a device, or a host's agent from its DMI tables, says about
// which machine this is.
type Identity struct {
	// UUID is the machine's: SMBIOS product_uuid, IPMI system GUID, Redfish UUID.
	UUID string `json:"uuid,omitempty"`
	// Controller is the GUID of the BMC itself (IPMI device GUID). Some vendors
	// put the machine's there.
	Controller string `json:"controller,omitempty"`
	// Serial is the machine's serial number: SMBIOS product_serial, Redfish
	// SerialNumber.
	Serial string `json:"serial,omitempty"`
}

// Usable reports whether the identity can match anything at all: firmware that
// was never filled in says "To be filled by O.E.M." on every machine.
func (id Identity) Usable() bool {
	return usableUUID(id.UUID) || usableUUID(id.Controller) || usableSerial(id.Serial)
}

// Match reports whether two identities name the same machine. Unknown means no:
//   - missing and dummy values match nothing, not even themselves;
//   - the machines' UUIDs decide if both are usable. Equal serials don't heal
//     different UUIDs (blades report their chassis' serial), unless one side's
//     other GUID agrees;
//   - the serial decides only if one of them has no usable UUID at all.
func (id Identity) Match(other Identity) bool {
	mine, theirs := id.uuids(), other.uuids()
	if len(mine) > 0 && len(theirs) > 0 {
		for _, a := range mine {
			if slices.ContainsFunc(theirs, func(b string) bool { return sameUUID(a, b) }) {
				return true
			}
		}
		return false
	}
	return usableSerial(id.Serial) && usableSerial(other.Serial) &&
		normalSerial(id.Serial) == normalSerial(other.Serial)
}

func (id Identity) uuids() []string {
	return slices.DeleteFunc([]string{id.UUID, id.Controller}, func(s string) bool { return !usableUUID(s) })
}

// sameUUID compares two UUIDs in every byte order in which one of them may have
// been written down.
func sameUUID(a, b string) bool {
	ra, okA := rawUUID(a)
	rb, okB := rawUUID(b)
	if !okA || !okB {
		return false
	}
	orders := byteOrders(ra)
	return slices.Contains(orders[:], rb)
}

// byteOrders are the ways in which one UUID is met in the field: as RFC 4122
// says; with the first three fields little-endian (SMBIOS 2.6, DSP0134 7.2.1);
// and wholly reversed, least significant byte first (IPMI 2.0, 20.8), which
// firmware applies to either of the former. The list is its own inverse: if b is
// among a's orders, a is among b's.
func byteOrders(u [16]byte) [5][16]byte {
	return [5][16]byte{u, swapped(u), reversed(u), reversed(swapped(u)), swapped(reversed(u))}
}

func swapped(u [16]byte) [16]byte {
	slices.Reverse(u[0:4])
	slices.Reverse(u[4:6])
	slices.Reverse(u[6:8])
	return u
}

func reversed(u [16]byte) [16]byte {
	slices.Reverse(u[:])
	return u
}

// rawUUID reads 32 hexadecimal digits with any dashes, spaces and braces.
func rawUUID(s string) (raw [16]byte, ok bool) {
	var digits [32]byte
	n := 0
	for i := range len(s) {
		switch c := s[i]; {
		case strings.IndexByte("- {}:\t\r\n", c) >= 0:
		case n == len(digits):
			return raw, false
		default:
			digits[n] = c
			n++
		}
	}
	if n < len(digits) {
		return raw, false
	}
	_, err := hex.Decode(raw[:], digits[:])
	return raw, err == nil
}

// dummyUUIDs are values that firmware vendors ship on every board.
var dummyUUIDs = [...]string{
	"03000200-0400-0500-0006-000700080009", // AMI's default
	"12345678-1234-5678-90ab-cddeefaabbcc", // AMI, older
	"03020100-0504-0706-0809-0a0b0c0d0e0f", // 00 01 02 … 0f
	"4c4c4544-0000-2010-8020-80c04f202020", // Dell without a service tag
	"01234567-89ab-cdef-0123-456789abcdef",
	"12345678-90ab-cdef-1234-567890abcdef",
}

// usableUUID refuses what is no UUID, what repeats one byte (all zero, all F)
// and the known dummies.
func usableUUID(s string) bool {
	raw, ok := rawUUID(s)
	if !ok {
		return false
	}
	if !slices.ContainsFunc(raw[1:], func(b byte) bool { return b != raw[0] }) {
		return false
	}
	orders := byteOrders(raw)
	return !slices.ContainsFunc(dummyUUIDs[:], func(d string) bool {
		dummy, _ := rawUUID(d)
		return slices.Contains(orders[:], dummy)
	})
}

// dummySerials are what firmware says when nobody wrote a serial, in the form
// of normalSerial without its punctuation.
var dummySerials = [...]string{
	"none", "null", "unknown", "empty", "invalid", "oem", "default", "defaultstring", "tobefilledbyoem",
	"systemserialnumber", "chassisserialnumber", "baseboardserialnumber", "productserialnumber", "serialnumber",
	"serial", "notspecified", "notavailable", "notapplicable", "notprovided", "na", "nil", "test",
	"0123456789", "1234567890", "123456789", "12345678", "1234567", "123456", "012345678",
}

func normalSerial(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

func usableSerial(s string) bool {
	bare := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, normalSerial(s))
	// Shorter than four characters is no serial of a server, but is what
	// filled-in forms look like: "0", "1", "n/a".
	if len(bare) < 4 || strings.Count(bare, bare[:1]) == len(bare) {
		return false
	}
	return !slices.Contains(dummySerials[:], bare)
}
