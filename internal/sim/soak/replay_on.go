//go:build replay

package soak

import _ "unsafe" // for the names below, which the runtime's overlay gives bodies (test/replay)

// replays: this program's runtime leaves nothing to chance.
const replays = true

func replayBegin(seed uint64)

func replayMark(n uint64)

func replayEnd()
