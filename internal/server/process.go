package server

import (
	"os"
	"runtime/debug"
)

// gcPercent lets the heap grow by a quarter between two collections, instead of to twice its size: most of a server's heap are
// links and VMs that stay, with little garbage between, so memory is the dearer of the two.
const gcPercent = 25

// LimitProcess keeps a process that is nothing but a server small, unless its environment says otherwise (GOGC). For the
// daemon's main; never where servers share a process.
func LimitProcess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
