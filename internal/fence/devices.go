package fence

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// EnoughMistakes of one file are looked for: each costs a walk through its hosts, and nobody reads more.
const EnoughMistakes = 100

// Machine is what devices.yaml says about one host: levels, tried in order, of
// devices that must all succeed.
type Machine struct {
	Host   string   `yaml:"-" json:"host"`
	Levels [][]Spec `yaml:"levels" json:"levels"`
}

// Devices is a whole devices.yaml.
type Devices struct {
	Hosts map[string]Machine `yaml:"hosts"`

	file *yamlfile.File
}

// Errorf makes an error about a host of the file, with its line: what is wrong with it shows only against the cloud.
func (d Devices) Errorf(host, format string, args ...any) *yamlfile.Error {
	if d.file == nil {
		return &yamlfile.Error{Message: fmt.Sprintf(format, args...)}
	}
	return d.file.Errorf(fmt.Sprintf("hosts[%q]", host), format, args...)
}

// All makes one error of many, sorted as the file is; nil if there is none.
func (d Devices) All(errs yamlfile.Errors) error {
	if d.file == nil {
		return errs.Err()
	}
	return d.file.All(errs)
}

// ParseDevices reads devices.yaml strictly: unknown keys, unknown drivers,
// refused agents and incomplete declarations are errors with file, line and
// column, all of them at once. No file or device that is named in it is looked
// at. Path is only for the messages.
func ParseDevices(path string, data []byte) (Devices, error) {
	var d Devices
	file, err := yamlfile.Survey(path, data, &d)
	if err != nil {
		return Devices{}, err
	}
	var errs yamlfile.Errors
	if len(d.Hosts) == 0 {
		errs = append(errs, file.Errorf("hosts", "no hosts: nothing to import"))
	}
	for _, host := range slices.Sorted(maps.Keys(d.Hosts)) {
		if len(errs) > EnoughMistakes {
			break
		}
		m := d.Hosts[host]
		m.Host = host
		d.Hosts[host] = m
		errs = append(errs, checkMachine(file, m)...)
	}
	if err := file.All(errs); err != nil {
		return Devices{}, err
	}
	d.file = file
	return d, nil
}

// checkMachine finds the mistakes of one host, and hides the lines that hold a
// secret: no message may show them.
func checkMachine(file *yamlfile.File, m Machine) (errs yamlfile.Errors) {
	at := fmt.Sprintf("hosts[%q]", m.Host)
	if len(m.Levels) == 0 {
		errs = append(errs, file.Errorf(at, "%s has no levels: nothing could fence it", m.Host))
	}
	for i, level := range m.Levels {
		if len(level) == 0 {
			errs = append(errs, file.Errorf(fmt.Sprintf("%s.levels[%d]", at, i), "level %d has no devices", i+1))
		}
		for j, spec := range level {
			for _, se := range specErrors(spec.Validate()) {
				key := fmt.Sprintf("%s.levels[%d][%d].%s", at, i, j, se.Key)
				e := file.Errorf(key, "%s", se.Error())
				if se.secret {
					file.Hide(e.Line)
				}
				errs = append(errs, e)
			}
		}
	}
	return errs
}

// specErrors takes the joined errors of Validate apart.
func specErrors(err error) (out []*SpecError) {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			out = append(out, specErrors(e)...)
		}
		return out
	}
	var one *SpecError
	if errors.As(err, &one) {
		out = append(out, one)
	}
	return out
}
