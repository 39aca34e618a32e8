package store

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Keys and prefixes of the records, relative to /ninelives/.
const (
	HostsPrefix     = "hosts/"
	IncidentsPrefix = "incidents/"
	DevicesPrefix   = "devices/"
	ServersPrefix   = "servers/"
	AuditPrefix     = "audit/"
	PolicyKey       = "policy"
	ArmedKey        = "switches/armed"
)

// HostKey is the key of a host's record.
func HostKey(host string) string { return HostsPrefix + url.PathEscape(host) }

// ServerKey is the key of a server's card, which it writes itself (Announce).
func ServerKey(name string) string { return ServersPrefix + url.PathEscape(name) }

// DevicesKey is the key of a host's fence devices.
func DevicesKey(host string) string { return DevicesPrefix + url.PathEscape(host) }

// IncidentKey is the key of an incident.
func IncidentKey(id string) string { return IncidentsPrefix + url.PathEscape(id) }

// IncidentServersPrefix is where an incident's VMs are.
func IncidentServersPrefix(id string) string { return IncidentKey(id) + "/servers/" }

// IncidentServerKey is the key of one VM (a server, as Nova says) of an incident.
func IncidentServerKey(id, uuid string) string {
	return IncidentServersPrefix(id) + url.PathEscape(uuid)
}

// auditTime sorts as text: all digits, always UTC, always nine of a second.
const auditTime = "2006-01-02T15:04:05.000000000Z"

// AuditKey is the key of an audit entry of time t. Keys sort by time, then by n,
// which keeps entries of the same instant apart (0 to 999999).
func AuditKey(t time.Time, n int) string {
	return fmt.Sprintf("%s%s-%06d", AuditPrefix, t.UTC().Format(auditTime), n)
}

// AuditTime is the time in an audit key.
func AuditTime(key string) (time.Time, error) {
	s, ok := strings.CutPrefix(key, AuditPrefix)
	i := strings.LastIndexByte(s, '-')
	if !ok || i < 0 {
		return time.Time{}, fmt.Errorf("%s: not the key of an audit entry", key)
	}
	t, err := time.Parse(auditTime, s[:i])
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: not the key of an audit entry: %v", key, err)
	}
	return t, nil
}

// NameOf is the last part of a key as it was given to the function that made the
// key: the host of a HostKey, the uuid of an IncidentServerKey.
func NameOf(key string) string {
	last := key[strings.LastIndexByte(key, '/')+1:]
	name, err := url.PathUnescape(last)
	if err != nil {
		return last
	}
	return name
}
