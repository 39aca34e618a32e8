package agent

import (
	"bytes"
	_ "embed"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/transport"
)

//go:embed hook.sh
var hookScript []byte

// hookMark is how our script is known, in this version and in others.
const hookMark = "ninelives"

// maxDomain bounds what is read of a domain's XML; the largest that Nova writes have some 100 KiB.
const maxDomain = 8 << 20

// HookRequest is one call of libvirt's qemu hook.
type HookRequest struct {
	ConfigPath string    // agent.yaml; "": DefaultConfigPath
	Args       []string  // what libvirt gave: GUEST OPERATION SUB-OPERATION EXTRA
	Stdin      io.Reader // the domain's XML
	Stderr     io.Writer // libvirt shows it to whoever wanted to start the VM
}

// Hook answers libvirt's qemu hook: 0, the VM may start; 1, it must not. Only the operations prepare and start are
// judged; a refusal of any other (reconnect, attach) would make libvirt kill a VM that runs. Everything unknown is a no,
// on a host where an agent was ever set up.
func Hook(r HookRequest) int {
	name := "?"
	if len(r.Args) > 0 {
		name = r.Args[0]
	}
	if len(r.Args) < 2 || r.Args[1] != "prepare" && r.Args[1] != "start" {
		return 0
	}
	if why := hookRefuses(r); why != "" {
		// When this can't be written, the exit code still says it.
		_, _ = fmt.Fprintf(r.Stderr, "ninelives: %s must not start on this host: %s\n", name, why)
		return 1
	}
	return 0
}

func hookRefuses(r HookRequest) string {
	path := r.ConfigPath
	if path == "" {
		path = DefaultConfigPath
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "" // no agent was set up here
	}
	cfg, err := LoadConfig(path)
	if err != nil {
		return "the agent's configuration can't be read: " + err.Error()
	}
	g, err := readGate(cfg.Data)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dataFile(cfg.Data, transport.AgentFiles+".key")); errors.Is(err, fs.ErrNotExist) {
			return "" // it never joined: no server can have brought a VM of this host back
		}
		return "the gate is closed: no agent has run since this host joined"
	}
	if err != nil {
		return "it can't be told whether it may: " + err.Error()
	}
	boot, err := readBoot(cfg.Proc)
	if err != nil {
		return "it can't be told whether it may: " + err.Error()
	}
	vm, err := domainUUID(r.Stdin)
	if err != nil {
		return "it can't be told which VM it is: " + err.Error()
	}
	return g.refuses(boot.String(), vm)
}

// domainUUID finds the uuid of a domain: the only <uuid> directly under <domain>. Others, of its system table or of
// devices, are none of ours.
func domainUUID(in io.Reader) (string, error) {
	d := xml.NewDecoder(io.LimitReader(in, maxDomain))
	var path []string
	found := ""
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("the domain's XML can't be read: %w", err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			path = append(path, t.Name.Local)
			if len(path) != 2 || path[0] != "domain" || path[1] != "uuid" {
				continue
			}
			var text string
			if err := d.DecodeElement(&text, &t); err != nil {
				return "", fmt.Errorf("the domain's XML can't be read: %w", err)
			}
			path = path[:1]
			vm, ok := normalUUID(strings.TrimSpace(text))
			if !ok || found != "" {
				return "", fmt.Errorf("the domain's XML has the uuid %q after %q", text, found)
			}
			found = vm
		case xml.EndElement:
			path = path[:len(path)-1]
		}
	}
	if found == "" {
		return "", errors.New("the domain's XML has no uuid")
	}
	return found, nil
}

// HookInstalled is true if libvirt calls our hook, as far as files tell.
func HookInstalled(path string) bool { return ours(path) || ours(besides(path)) }

// besides is where libvirt (6.5 and newer) looks for further hooks.
func besides(path string) string { return filepath.Join(path+".d", hookMark) }

func ours(path string) bool {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&0o111 == 0 || !info.Mode().IsRegular() {
		return false
	}
	text, err := os.ReadFile(path)
	return err == nil && bytes.Contains(text, []byte(hookMark))
}

// InstallHook puts our script where libvirt calls it and returns the place: at path, or beside a foreign hook that is
// there (path.d/ninelives, which libvirt knows since 6.5). Ours is replaced, a foreign one never touched. libvirtd takes
// notice of a first hook only when it is restarted.
func InstallHook(path string) (string, error) {
	at := path
	if _, err := os.Stat(path); err == nil && !ours(path) {
		at = besides(path)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot install libvirt's hook: %w", err)
	}
	if old, err := os.ReadFile(at); err == nil && bytes.Equal(old, hookScript) && ours(at) {
		return at, nil
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return "", fmt.Errorf("cannot install libvirt's hook: %w", err)
	}
	tmp := filepath.Join(filepath.Dir(at), "."+filepath.Base(at)+".new")
	err := os.WriteFile(tmp, hookScript, 0o755)
	if err == nil {
		err = errors.Join(os.Chmod(tmp, 0o755), os.Rename(tmp, at))
	}
	if err != nil {
		return "", fmt.Errorf("cannot install libvirt's hook: %w", errors.Join(err, os.Remove(tmp)))
	}
	return at, nil
}
