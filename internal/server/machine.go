package server

import (
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/store"
)

// DevicesRecord is a host's fence devices as imported, and what binds them to its machine.
type DevicesRecord struct {
	Machine fence.Machine `json:"machine"`
	// Bound: device → the identity it showed when it matched the host's, or what an operator said.
	Bound map[string]Binding `json:"bound,omitempty"`
}

// Binding is why a device counts as the host's.
type Binding struct {
	Identity fence.Identity `json:"identity,omitzero"`
	By       string         `json:"by,omitempty"` // an operator; "" for a matching identity
	Reason   string         `json:"reason,omitempty"`
	At       time.Time      `json:"at"`
}

// DeviceState is one device as people see it.
type DeviceState struct {
	Host    string       `json:"host"`
	Level   int          `json:"level"` // from 1
	Device  string       `json:"device"`
	Driver  string       `json:"driver"`
	Via     string       `json:"via"`
	Bound   bool         `json:"bound"`
	Why     string       `json:"why"` // why it is bound, or why it isn't
	Health  fence.Health `json:"health"`
	Working bool         `json:"working"` // it could fence now
	Trouble string       `json:"trouble,omitempty"`
	Since   time.Time    `json:"since,omitzero"`
	// Power is the latest reading that was no check's: of the watch on a suspect, or of a fence.
	Power fence.Reading `json:"power,omitzero"`
}

// machine is a host's devices, opened. All but levels is fencing.mu's.
type machine struct {
	record  DevicesRecord
	levels  [][]fence.Device
	health  map[string]DeviceState
	power   map[string]fence.Reading // the latest of each device, but for checks
	refused map[string]string        // device → why it doesn't count now, whatever binds it
	trouble string                   // why the devices can't be opened
	users   int                      // who uses the devices now; they are closed after the last one
	retired bool                     // replaced by an import
}

// saw takes in what a device read.
func (f *fencing) saw(m *machine, device string, r fence.Reading) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.power == nil {
		m.power = map[string]fence.Reading{}
	}
	if r.At.After(m.power[device].At) {
		m.power[device] = r
	}
}

// counts reports whether a device is bound, and was not seen to be another machine's since.
func (m *machine) counts(device string) bool {
	_, bound := m.record.Bound[device]
	return bound && m.refused[device] == "" && !m.retired
}

// usable are the levels of which every device counts: an unbound device neither proves nor fences.
func (m *machine) usable() [][]fence.Device {
	var out [][]fence.Device
	for _, level := range m.levels {
		all := len(level) > 0
		for _, d := range level {
			all = all && m.counts(d.ID())
		}
		if all {
			out = append(out, level)
		}
	}
	return out
}

func (m *machine) devices() (out []fence.Device) {
	for _, level := range m.levels {
		out = append(out, level...)
	}
	return out
}

func (m *machine) close(log *slog.Logger) {
	for _, d := range m.devices() {
		if err := d.Close(); err != nil {
			log.Debug("cannot close a fence device", "device", d.ID(), "error", err)
		}
	}
}

// hold returns a host's devices, nil if it has none, for use until release is called: an import that replaces them waits
// with closing them.
func (f *fencing) hold(host string) (m *machine, release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m = f.machines[host]; m == nil {
		return nil, func() {}
	}
	m.users++
	return m, func() { f.leave(m) }
}

// share adds a user to devices that are held already.
func (f *fencing) share(m *machine) (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m.users++
	return func() { f.leave(m) }
}

func (f *fencing) leave(m *machine) {
	f.mu.Lock()
	m.users--
	last := m.users == 0 && m.retired
	f.mu.Unlock()
	if last {
		m.close(f.log)
	}
}

// install puts opened devices in the place of those a host had; nil takes them away.
func (f *fencing) install(host string, m *machine) {
	f.mu.Lock()
	old := f.machines[host]
	if m == nil {
		delete(f.machines, host)
	} else {
		f.machines[host] = m
	}
	unused := old != nil && old.users == 0
	if old != nil {
		old.retired = true
	}
	f.mu.Unlock()
	if unused {
		old.close(f.log)
	}
}

// open makes a host's devices; it sends nothing to them.
func (f *fencing) open(d DevicesRecord) (*machine, error) {
	levels, err := f.drivers.OpenLevels(d.Machine, fence.Options{Logger: f.log, Timeout: f.s.o.FenceTimeout})
	if err != nil {
		return nil, err
	}
	if d.Bound == nil {
		d.Bound = map[string]Binding{}
	}
	return &machine{record: d, levels: levels, health: map[string]DeviceState{}, refused: map[string]string{}}, nil
}

// load opens the devices on record. Those that are open as they are on record stay so, with what is known of them.
func (f *fencing) load(records []store.Record) error {
	seen := map[string]bool{}
	for _, rec := range records {
		if !strings.HasPrefix(rec.Key, store.DevicesPrefix) {
			continue
		}
		var d DevicesRecord
		if _, err := store.Decode(rec, format, &d); err != nil {
			return err
		}
		host := d.Machine.Host
		seen[host] = true
		if f.rebind(d) {
			continue
		}
		m, err := f.open(d)
		if err != nil { // shown as the host's trouble; it doesn't stop the others' fencing
			f.log.Error("cannot use the fence devices of a host", "host", host, "error", err)
			m = &machine{record: d, health: map[string]DeviceState{}, refused: map[string]string{}, trouble: err.Error()}
		}
		f.install(host, m)
	}
	for _, host := range f.hosts() {
		if !seen[host] {
			f.install(host, nil)
		}
	}
	return nil
}

// rebind takes over the bindings on record for devices that are open already.
func (f *fencing) rebind(d DevicesRecord) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machines[d.Machine.Host]
	if m == nil || m.trouble != "" || !reflect.DeepEqual(m.record.Machine, d.Machine) {
		return false
	}
	if d.Bound == nil {
		d.Bound = map[string]Binding{}
	}
	m.record = d
	return true
}
