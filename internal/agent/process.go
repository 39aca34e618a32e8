package agent

import (
	"runtime"
	"runtime/debug"
)

const (
	memoryLimit = 20 << 20 // bytes; the Go heap of an agent with 3 servers and 100 guests is about 2 MiB
	gcPercent   = 50
	processors  = 2 // of the host, whose others are the guests'
)

// LimitProcess keeps a process that is nothing but an agent small. For the daemon's main; never where agents share a
// process.
func LimitProcess() {
	debug.SetMemoryLimit(memoryLimit)
	debug.SetGCPercent(gcPercent)
	runtime.GOMAXPROCS(min(processors, runtime.NumCPU()))
}
