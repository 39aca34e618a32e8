//go:build !replay

package soak

// replays: this program's runtime leaves nothing to chance.
const replays = false

func replayBegin(uint64) {}

func replayMark(uint64) {}

func replayEnd() {}
