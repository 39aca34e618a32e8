//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// TestMain lets all rows of a wave run at once, however few cores there are: they mostly wait.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
