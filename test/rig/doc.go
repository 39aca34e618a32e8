// Package rig is what the tests on the real lab share: the lab itself, Nova as nobody but Nova tells it, and the product
// as an operator runs it.
package rig
