// Package house holds the tests that enforce the rules of the house: which
// package may import which, and the hygiene that keeps files readable. It has
// no code of its own; `go test ./internal/house` says which rule is broken,
// where, and why the rule exists.
package house
