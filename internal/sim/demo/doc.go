// Package demo is the whole product on a simulated cloud, in one process: a real server on a temporary embedded etcd,
// real agents that joined over mutual TLS, Keystone and Nova over HTTP, BMCs over IPMI and Redfish. Faults go into
// package world, and what became of the VMs is judged by its truth, never by what the server believes.
package demo
