// Package api is the REST API of a server: what it shows, what operators may ask, and the Go types of both. It knows
// the server only as a Backend, and decides nothing.
package api
