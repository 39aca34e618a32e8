// Command replay writes an overlay of Go's runtime under which a simulation in one bubble of testing/synctest runs the
// same way each time: what the runtime decides by chance (which ready case a select takes, which of two timers of one
// instant fires first, where an iteration over a map begins) it draws from a seed, and it interrupts no goroutine
// because the machine is busy. The soak is built with it:
//
//	go run ./test/replay DIR && go test -c -tags replay -overlay DIR/overlay.json ./internal/sim/soak
//
// Every patch names the text that it replaces. When a new Go has other text, this fails and says which; nothing is
// ever patched on a guess.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// patch replaces one text of a file by another, as often as it says.
type patch struct {
	file, old, new string
	times          int
}

// soak is the package that gets the functions which seed.
const soak = "github.com/ninelives-ha/ninelives/internal/sim/soak"

var patches = []patch{
	// Which ready case a select takes.
	{"select.go", "cheaprandn(uint32(norder + 1))", "replayrandn(uint32(norder + 1))", 1},
	// Which timer of one instant fires first; the runtime draws only for timers of a bubble.
	{"time.go", "t.rand = cheaprand()", "t.rand = replayrand()", 1},
	// Hashes of strings.
	{"alg.go", "key[i] = bootstrapRand()", "key[i] = 0x9e3779b97f4a7c15 * uint64(2*i+1)", 1},
	// Seeds of maps and where iterations begin. Of caches that live longer than one run as well: that is why select has a
	// state of its own.
	{"rand.go", "func rand() uint64 {\n", "func rand() uint64 {\n\tif replayOn {\n\t\treplayMaps += 0xa0761d6478bd642f\n\t\thi, lo := math.Mul64(replayMaps, replayMaps^0xe7037ed1a0b428db)\n\t\treturn hi ^ lo\n\t}\n", 1},
	{"rand.go", "\tmp.cheaprand = rand()\n", "\tmp.cheaprand = seed[0]\n", 1},
	// A goroutine that ran for 10 ms, because somebody else had the processor, goes on.
	{"proc.go", "\t\t\tpreemptone(pp)\n\t\t\t// If pp is in a syscall", "\t\t\tif !replayOn {\n\t\t\t\tpreemptone(pp)\n\t\t\t}\n\t\t\t// If pp is in a syscall", 1},
}

const added = `
var (
	replayOn     bool
	replaySelect uint64
	replayMaps   uint64
)

//go:linkname replayBegin ` + soak + `.replayBegin
func replayBegin(seed uint64) {
	replayOn, replaySelect, replayMaps = true, seed, seed
	getg().m.p.ptr().schedtick = 0
}

//go:linkname replayMark ` + soak + `.replayMark
func replayMark(n uint64) { replayMaps = n }

//go:linkname replayEnd ` + soak + `.replayEnd
func replayEnd() { replayOn = false }

//go:nosplit
func replayrand() uint32 {
	if !replayOn {
		return cheaprand()
	}
	replaySelect += 0xa0761d6478bd642f
	hi, lo := math.Mul64(replaySelect, replaySelect^0xe7037ed1a0b428db)
	return uint32(hi ^ lo)
}

//go:nosplit
func replayrandn(n uint32) uint32 {
	return uint32((uint64(replayrand()) * uint64(n)) >> 32)
}
`

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "replay: one argument is wanted, the directory to write to")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("cannot ask where Go is: %w", err)
	}
	runtime := filepath.Join(strings.TrimSpace(string(root)), "src", "runtime")
	texts := map[string]string{}
	for _, p := range patches {
		text, read := texts[p.file]
		if !read {
			b, err := os.ReadFile(filepath.Join(runtime, p.file))
			if err != nil {
				return err
			}
			text = string(b)
		}
		if n := strings.Count(text, p.old); n != p.times {
			return fmt.Errorf("runtime/%s holds %q %d times, not %d: this version of Go needs another patch", p.file, p.old, n, p.times)
		}
		texts[p.file] = strings.ReplaceAll(text, p.old, p.new)
	}
	texts["rand.go"] += added
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for file, text := range texts {
		to := filepath.Join(dir, file)
		overlay.Replace[filepath.Join(runtime, file)] = to
		if old, err := os.ReadFile(to); err == nil && bytes.Equal(old, []byte(text)) {
			continue
		}
		if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(overlay, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "overlay.json"), text, 0o644)
}
