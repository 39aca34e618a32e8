// Package scale measures one real server against thousands of agents on this machine's loopback: three processes, of which
// only the server's is counted. Agents are light (internal/transport's own client, real mutual TLS), Nova and the power
// controllers are simulated by the measuring process. The agents' process is the one that yields when cores are short
// (nice 10): real ones run on other machines.
//
//	make bench-scale
//
// It ends by itself and prints a table. NINELIVES_SCALE=1000 makes it small (default 1000,3000,10000);
// NINELIVES_SCALE_PROFILE=DIR leaves the server's profiles there.
package scale
