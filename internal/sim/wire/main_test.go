package wire_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Close must end everything: the demo starts and ends clouds in one process.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
