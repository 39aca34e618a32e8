// Command ninelives is the whole product in one program: the servers, the agents, and the command line.
package main

import (
	"os"

	"github.com/ninelives-ha/ninelives/internal/cli"
)

// version is set by the linker.
var version string

func main() { os.Exit(cli.Main(version)) }
