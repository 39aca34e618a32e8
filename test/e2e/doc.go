// Package e2e is the proof on a real OpenStack: the lab of test/lab, one server, a real agent on every host, BMCs that
// really kill. What happened is read from the kernel, from Nova and from the BMCs' logs, never from Ninelives alone.
//
//	make e2e        the rows that every change must pass
//	make e2e-full   all rows
//
// The rows are in rows_test.go's table; each has a victim of its own, and those of one wave run side by side. All faults of a
// wave begin together, so that no row's VMs land on a host that is about to be another row's victim.
package e2e
