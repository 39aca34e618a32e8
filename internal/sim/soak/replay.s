//go:build replay

// Empty: it allows functions without a body, which the runtime's overlay has.
