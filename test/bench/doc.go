// Package bench measures on the real lab: a recovery against a bare loop of evacuate calls, in one run, and what an agent
// costs.
//
//	make bench
//
// NINELIVES_BENCH_VMS (default 20) and NINELIVES_BENCH_PAIRS (default 5) make it shorter.
package bench
