// Package falseverdict is the false-verdict bench on real networks: `ninelives server` and twenty `ninelives agent`, each
// agent in a network namespace of its own on two planes, with packets lost by iptables, stalls of the server's and the
// agents' processes, and planes that fail one at a time or in one direction. Nova and the BMCs are simulated; every host
// lives, and its BMC says so.
//
//	make bench-false-real
//
// It needs root, and makes and removes the bridges and namespaces nlf* (10.79.0.0/16). NINELIVES_FALSE_MINUTES (default
// 5) says for how long, NINELIVES_FALSE_SEED plays other troubles. The same in virtual time, for a thousand hosts and a
// day, is internal/sim/quiet.
package falseverdict
