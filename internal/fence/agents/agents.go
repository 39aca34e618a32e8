// Package agents switches machines by ClusterLabs' fence agents: the fence_*
// programs that an operator has installed.
package agents

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

// DefaultDir is where distributions install fence agents.
const DefaultDir = "/usr/sbin"

// An agent is a program that logs in, asks, switches and asks again; its bounds
// are multiples of one exchange's timeout. Off waits for the agent's own
// reading back (power_timeout, 20 s by default).
const (
	metadataTimes = 2
	statusTimes   = 3
	switchTimes   = 8
)

// Driver opens devices of driver agent. It remembers the metadata of each
// installed agent, since thousands of devices share a few of them.
type Driver struct {
	dir string

	mu    sync.Mutex
	known map[string]*installed
}

// installed is one agent's metadata, as of one state of its file.
type installed struct {
	mu    sync.Mutex // held while it is asked
	stamp time.Time
	size  int64
	meta  Metadata
	asked bool
}

// New makes a driver for the agents in a directory, such as DefaultDir.
func New(dir string) *Driver {
	return &Driver{dir: dir, known: map[string]*installed{}}
}

// Open makes the device of a spec with driver agent. It is a fence.OpenFunc.
// Whether the agent is installed and fit is found at each use.
func (d *Driver) Open(spec fence.Spec, opts fence.Options) (fence.Device, error) {
	return &device{driver: d, spec: spec, opts: opts.WithDefaults(), turn: make(chan struct{}, 1)}, nil
}

// Vet says why a declaration can't be used for fencing, for the import: the
// agent isn't installed, can't prove power, or doesn't know an option.
func (d *Driver) Vet(ctx context.Context, spec fence.Spec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, metadataTimes*fence.DefaultTimeout)
	defer cancel()
	_, err := d.vetted(ctx, spec)
	return err
}

// vetted returns the metadata of an agent that may be used as the spec says.
func (d *Driver) vetted(ctx context.Context, spec fence.Spec) (Metadata, error) {
	if why := fence.RefusedAgent(spec.Agent); why != "" {
		return Metadata{}, fmt.Errorf("%s is refused: %s", spec.Agent, why)
	}
	meta, err := d.metadata(ctx, spec.Agent)
	if err != nil {
		return Metadata{}, fmt.Errorf("%s: %w", spec.Agent, err)
	}
	if err := meta.Provable(); err != nil {
		return Metadata{}, fmt.Errorf("%s is refused: %w", spec.Agent, err)
	}
	if err := meta.CheckOptions(spec.Options); err != nil {
		return Metadata{}, fmt.Errorf("%s: %w", spec.Agent, err)
	}
	return meta, nil
}

// metadata asks an agent, once for each state of its file. Failures aren't
// remembered.
func (d *Driver) metadata(ctx context.Context, agent string) (Metadata, error) {
	path := filepath.Join(d.dir, agent)
	file, err := os.Stat(path)
	if err != nil {
		return Metadata{}, fmt.Errorf("not installed in %s", d.dir)
	}
	d.mu.Lock()
	in := d.known[agent]
	if in == nil {
		in = &installed{}
		d.known[agent] = in
	}
	d.mu.Unlock()
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.asked && in.stamp.Equal(file.ModTime()) && in.size == file.Size() {
		return in.meta, nil
	}
	res, err := run(ctx, path, "action=metadata\n", nil)
	if err != nil {
		return Metadata{}, fmt.Errorf("cannot read its metadata: %w", err)
	}
	if res.code != 0 {
		return Metadata{}, fmt.Errorf("cannot read its metadata: %w", res.failure(nil))
	}
	meta, err := ParseMetadata([]byte(res.stdout))
	if err != nil {
		return Metadata{}, err
	}
	in.meta, in.stamp, in.size, in.asked = meta, file.ModTime(), file.Size(), true
	return meta, nil
}
