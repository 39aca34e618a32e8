package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// bindWithin bounds one write of a binding.
const bindWithin = 5 * time.Second

var errHostsUnknown = errors.New("the compute hosts of Nova are not known yet, so none of the file can be checked against them")

// bind records that devices are the host's, and only then believes it. m are the devices that were looked at: when an
// import has replaced them meanwhile, what was seen says nothing of the new ones.
func (f *fencing) bind(ctx context.Context, m *machine, host string, bindings map[string]Binding) error {
	f.writes.Lock()
	defer f.writes.Unlock()
	r := f.s.reign.Load()
	if r == nil {
		return errNotLeading
	}
	f.mu.Lock()
	rec, current := m.record, f.machines[host] == m
	rec.Bound = maps.Clone(rec.Bound)
	f.mu.Unlock()
	if !current {
		return fmt.Errorf("%s's devices were replaced by an import meanwhile", host)
	}
	maps.Copy(rec.Bound, bindings)
	value, err := store.Encode(format, rec)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, bindWithin)
	defer cancel()
	if _, err := f.s.store.Commit(ctx, r.epoch, store.Put(store.DevicesKey(host), value)); err != nil {
		return err
	}
	f.mu.Lock()
	m.record = rec
	for device := range bindings {
		delete(m.refused, device)
	}
	f.mu.Unlock()
	f.s.want()
	return nil
}

// bindByHand binds all devices of a host on an operator's word, unless one shows that it is another living host's.
func (f *fencing) bindByHand(ctx context.Context, host, by, reason string) error {
	if reason == "" {
		return errNoReason
	}
	m, release := f.hold(host)
	defer release()
	if m == nil {
		return fmt.Errorf("%s has no fence devices (ninelives fence import FILE)", host)
	}
	bindings := map[string]Binding{}
	for _, d := range m.devices() {
		found, err := d.Identity(ctx)
		if err != nil && !errors.Is(err, fence.ErrNoIdentity) {
			return fmt.Errorf("cannot ask %s which machine it switches: %w", d.ID(), err)
		}
		if owner := f.s.agents.owner(found, host); owner != "" {
			return fmt.Errorf("%s shows the identity of %s, which is alive: refused", d.ID(), owner)
		}
		bindings[d.ID()] = Binding{Identity: found, By: by, Reason: reason, At: time.Now()}
	}
	if err := f.bind(ctx, m, host, bindings); err != nil {
		return err
	}
	for device := range bindings {
		f.s.ears.step(detect.Cleared{Host: host, Device: device})
	}
	return nil
}

// importDevices replaces the devices of the hosts named in a devices.yaml; others keep theirs. Bindings of devices that
// stay what they were are kept. A file with any mistake changes nothing.
func (f *fencing) importDevices(ctx context.Context, d fence.Devices) error {
	if err := f.admissible(ctx, d); err != nil {
		return err
	}
	if err := f.replace(ctx, d); err != nil {
		return err
	}
	f.s.want()
	ctx, cancel := context.WithTimeout(ctx, checkWithin) // as far as the time goes; the rest is checked with all others
	defer cancel()
	f.checkThese(ctx, slices.Sorted(maps.Keys(d.Hosts)))
	return nil
}

func (f *fencing) replace(ctx context.Context, d fence.Devices) error {
	f.writes.Lock()
	defer f.writes.Unlock()
	r := f.s.reign.Load()
	if r == nil {
		return errNotLeading
	}
	opened := map[string]*machine{}
	defer func() { // those that were not installed
		for _, m := range opened {
			m.close(f.log)
		}
	}()
	for host, wanted := range d.Hosts {
		m, err := f.open(DevicesRecord{Machine: wanted})
		if err != nil {
			return d.Errorf(host, "%v", err)
		}
		opened[host] = m
		m.record.Bound = f.keptBindings(host, m)
	}
	if err := f.unshared(d, opened); err != nil {
		return err
	}
	if err := f.storeDevices(ctx, r, opened); err != nil {
		return err
	}
	for _, host := range slices.Sorted(maps.Keys(opened)) {
		f.install(host, opened[host])
		delete(opened, host)
	}
	return nil
}

// admissible finds what is wrong with a file before anything is changed.
func (f *fencing) admissible(ctx context.Context, d fence.Devices) error {
	if f.s.reign.Load() == nil {
		return errNotLeading
	}
	if f.s.inventory.names() == "" {
		why, _ := f.s.inventory.troubled()
		return fmt.Errorf("%w: %s", errHostsUnknown, either(why, "try again in a few seconds"))
	}
	var errs yamlfile.Errors
	vetted := map[string]bool{}
	for _, host := range slices.Sorted(maps.Keys(d.Hosts)) {
		if len(errs) > fence.EnoughMistakes {
			break
		}
		if _, ok := f.s.inventory.facts(host); !ok {
			errs = append(errs, d.Errorf(host, "Nova has no compute host %q (it has: %s)", host, f.s.inventory.names()))
		}
		for _, spec := range slices.Concat(d.Hosts[host].Levels...) {
			if f.s.o.Vet == nil || vetted[vetKey(spec)] {
				continue
			}
			vetted[vetKey(spec)] = true // a mistake of its kind is told once
			if err := f.s.o.Vet(ctx, spec); err != nil {
				errs = append(errs, d.Errorf(host, "%s: %v", spec.Driver, err))
			}
		}
	}
	return d.All(errs)
}

// vetKey is equal for devices that need the same from the program installed here: an agent is asked once for each set
// of options, not once for each of 10,000 hosts.
func vetKey(s fence.Spec) string {
	return s.Driver + " " + s.Agent + " " + fmt.Sprint(slices.Sorted(maps.Keys(s.Options)))
}

// unshared refuses a device that would fence two hosts: one of the two entries is a mistake, and a fence of one host
// would kill the other.
func (f *fencing) unshared(d fence.Devices, opened map[string]*machine) error {
	owner := map[string]string{}
	f.mu.Lock()
	for host, m := range f.machines {
		if opened[host] == nil {
			for _, dev := range m.devices() {
				owner[dev.ID()] = host
			}
		}
	}
	f.mu.Unlock()
	var errs yamlfile.Errors
	for _, host := range slices.Sorted(maps.Keys(opened)) {
		for _, dev := range opened[host].devices() {
			if other := owner[dev.ID()]; other != "" && other != host {
				errs = append(errs, d.Errorf(host, "%s is a device of %s already: fencing one host would kill the other", dev.ID(), other))
				continue
			}
			owner[dev.ID()] = host
		}
	}
	return d.All(errs)
}

// keptBindings are those of devices that the new declaration leaves what they were; credentials may change.
func (f *fencing) keptBindings(host string, m *machine) map[string]Binding {
	kept := map[string]Binding{}
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.machines[host]
	if old == nil {
		return kept
	}
	before := targets(old)
	for device, target := range targets(m) {
		b, bound := old.record.Bound[device]
		if was, ok := before[device]; ok && bound && reflect.DeepEqual(was, target) {
			kept[device] = b
		}
	}
	return kept
}

// targets are the declarations by device, without what only lets us in.
func targets(m *machine) map[string]fence.Spec {
	out := map[string]fence.Spec{}
	for i, level := range m.levels {
		for j, d := range level {
			s := m.record.Machine.Levels[i][j]
			s.Username, s.PasswordFile, s.PasswordEnv, s.Cipher, s.CAFile, s.Insecure = "", "", "", 0, "", false
			s.Options = maps.Clone(s.Options)
			maps.DeleteFunc(s.Options, func(name, _ string) bool {
				_, secret := fence.SecretOption(name)
				return secret || name == "username" || name == "login"
			})
			out[d.ID()] = s
		}
	}
	return out
}

// storeDevices writes records in as few transactions as the store allows.
func (f *fencing) storeDevices(ctx context.Context, r *reign, machines map[string]*machine) error {
	var ops []store.Op
	size := 0
	send := func() error {
		ctx, cancel := context.WithTimeout(ctx, bindWithin)
		defer cancel()
		_, err := f.s.store.Commit(ctx, r.epoch, ops...)
		ops, size = nil, 0
		return err
	}
	for _, host := range slices.Sorted(maps.Keys(machines)) {
		value, err := store.Encode(format, machines[host].record)
		if err != nil {
			return err
		}
		if len(ops) > 0 && (len(ops) == store.MaxOps || size+len(value) > store.MaxBytes/2) {
			if err := send(); err != nil {
				return err
			}
		}
		ops, size = append(ops, store.Put(store.DevicesKey(host), value)), size+len(value)
	}
	if len(ops) == 0 {
		return nil
	}
	return send()
}
