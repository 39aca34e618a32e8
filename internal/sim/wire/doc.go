// Package wire puts a simulated cloud (package world) on the network, in real
// time and on loopback only: Keystone v3, Nova 2.1 with microversions, the bits
// of Placement and Glance that Ninelives reads, over HTTP; a BMC a host that
// speaks IPMI 2.0 over UDP or Redfish over HTTPS; and, for agents that run in
// the same process, dialers whose connections fall silent as those of a host
// without power do.
//
// Everything that goes over these wires has the form that the real services
// give it; where the two differ, this package is wrong.
package wire
