package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// host is the real Machine.
type host struct {
	cfg     Config
	table   *table
	looking chan struct{} // see inTime

	mu         sync.Mutex
	hypervisor string    // as libvirt calls this host; "" while unknown
	askLibvirt time.Time // not before
}

// NewMachine is the machine that this process runs on, as cfg's Proc, NovaConf and Identity show it.
func NewMachine(cfg Config) Machine {
	return &host{cfg: cfg, table: newTable(cfg.Proc), looking: make(chan struct{}, 1)}
}

const dmiDir = "/sys/class/dmi/id"

// Boot reads the kernel's boot id.
func (h *host) Boot() (transport.Boot, error) { return readBoot(h.cfg.Proc) }

// Identity is agent.yaml's, else DMI's product UUID and serial. Values that vendors left unfilled are the server's to
// recognise, which compares them with the BMC's.
func (h *host) Identity() (pki.Machine, error) {
	id := pki.Machine{UUID: h.cfg.Identity.UUID, Serial: h.cfg.Identity.Serial}.Normal()
	if !id.IsZero() {
		return id, nil
	}
	var errs []error
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dmiDir, name))
		if err != nil {
			errs = append(errs, err)
		}
		return string(text)
	}
	id = pki.Machine{UUID: read("product_uuid"), Serial: read("product_serial")}.Normal()
	if id.IsZero() {
		return id, fmt.Errorf("cannot tell which machine this is: %w", errors.Join(append(errs, errNoIdentity)...))
	}
	return id, nil
}

// Guests reads the process table.
func (h *host) Guests(fresh bool) ([]Guest, error) { return h.table.guests(fresh) }

// Kill ends a VM's QEMU.
func (h *host) Kill(ctx context.Context, vm string) (int, error) { return h.table.kill(ctx, vm) }

// Stores looks at where nova.conf says that disks lie.
func (h *host) Stores(ctx context.Context) ([]Store, error) {
	return inTime(ctx, h.looking, "look at the stores of instances' disks", func() ([]Store, error) {
		conf, err := readNovaConf(h.cfg.NovaConf)
		if err != nil {
			return nil, err
		}
		id, err := h.Identity()
		own := ""
		if err == nil {
			own = id.String()
		}
		return findStores(h.cfg, conf, own)
	})
}

// Facts reads nova.conf and libvirt's files anew: they are small, and asked for once a connection and every few seconds
// at most.
func (h *host) Facts(ctx context.Context) Facts {
	f := Facts{NovaComputeRunning: h.table.novaCompute(), HookInstalled: HookInstalled(h.cfg.LibvirtHook)}
	conf, err := readNovaConf(h.cfg.NovaConf)
	if err != nil || len(conf.files) == 0 {
		f.Nova = &agentv1.Nova{}
		return f
	}
	get := func(option string) string { return conf.get("DEFAULT", option) }
	f.Nova = &agentv1.Nova{
		Host: get("host"), InstancesPath: conf.instancesPath(), ComputeDriver: get("compute_driver"), VirtType: conf.get("libvirt", "virt_type"),
		ResumeGuestsStateOnHostBoot: yes(get("resume_guests_state_on_host_boot")), ConfigPath: strings.Join(conf.files, ", "),
		LibvirtGuestsOnBoot: libvirtGuestsStart("/etc"), Autostarted: autostarted("/etc/libvirt/qemu/autostart"),
	}
	if f.Nova.Host == "" {
		f.Nova.Host, _ = os.Hostname() // as Nova does; unknown stays empty
	}
	switch {
	case strings.HasPrefix(f.Nova.ComputeDriver, "fake."):
		f.Nova.HypervisorHostname = f.Nova.Host
	case f.NovaComputeRunning: // so libvirt runs too, and isn't waiting behind the gate
		f.Nova.HypervisorHostname = h.libvirtName(ctx)
	}
	return f
}

// libvirtName asks libvirt how it calls this host, once; a wrong guess would make the host unprotected.
func (h *host) libvirtName(ctx context.Context) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hypervisor != "" || time.Now().Before(h.askLibvirt) {
		return h.hypervisor
	}
	h.askLibvirt = time.Now().Add(time.Minute)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "virsh", "-r", "-c", "qemu:///system", "hostname")
	cmd.WaitDelay = time.Second
	if out, err := cmd.Output(); err == nil { // no virsh here: it stays unknown, which the server takes as such
		h.hypervisor = strings.TrimSpace(string(out))
	}
	return h.hypervisor
}

// libvirtGuestsStart is true if libvirt-guests would start guests at boot: its unit is enabled, and ON_BOOT isn't
// ignore (its script's default is start).
func libvirtGuestsStart(etc string) bool {
	enabled, _ := filepath.Glob(filepath.Join(etc, "systemd/system/*.wants/libvirt-guests.service")) // fails only for a bad pattern
	if len(enabled) == 0 {
		return false
	}
	for _, file := range []string{"default/libvirt-guests", "sysconfig/libvirt-guests"} {
		text, err := os.ReadFile(filepath.Join(etc, file))
		if err != nil {
			continue
		}
		values := map[string]map[string]string{}
		parseINI(text, values)
		if v := values["DEFAULT"]["ON_BOOT"]; v != "" {
			return v == "start"
		}
	}
	return true
}

func autostarted(dir string) []string {
	files, err := os.ReadDir(dir)
	if err != nil { // no libvirt, or no such directory: it starts nothing
		return nil
	}
	var out []string
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), ".xml"); ok {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// ShuttingDown asks systemd; on a host without it, the old runlevel record's place says that the system is halting.
func (h *host) ShuttingDown(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "systemctl", "is-system-running")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if text := strings.TrimSpace(string(out)); text != "" && text != "offline" && text != "unknown" {
		return text == "stopping" // its exit code is not 0 for any state but running
	}
	if !errors.Is(err, exec.ErrNotFound) && !errors.Is(err, fs.ErrNotExist) && len(out) == 0 {
		return false
	}
	out, err = exec.CommandContext(ctx, "runlevel").Output()
	fields := strings.Fields(string(out))
	return err == nil && len(fields) == 2 && (fields[1] == "0" || fields[1] == "6")
}
