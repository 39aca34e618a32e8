/* What the world and the records hold. One VM, three hosts: A fails first, B and C may take the VM. */

#ifndef FLIGHTS
#define FLIGHTS 3           /* acts under way at once, of all leaders together */
#endif
#ifndef REIGNS
#define REIGNS 1            /* leaderships in a run; the first is 0 */
#endif
#define HOSTS 3
#define MOVES 4             /* Nova's evacuation records */
#define NOBODY 7

/* How often the world may do what; each thing that happens uses up one. So every run ends. */
#ifndef DIES_A
#define DIES_A 0
#endif
#ifndef DIES_B
#define DIES_B 0
#endif
#ifndef CUTS
#define CUTS 0              /* A's networks: silent, but running */
#endif
#ifndef CUTS_B
#define CUTS_B 0
#endif
#ifndef HEALS
#define HEALS 0             /* a cut network comes back */
#endif
#ifndef CYCLES
#define CYCLES 0            /* a machine reboots by itself */
#endif
#ifndef THIRD_ON
#define THIRD_ON 0          /* a third party switches a machine on */
#endif
#ifndef LOST_ANSWERS
#define LOST_ANSWERS 0
#endif
#ifndef LOST_REQUESTS
#define LOST_REQUESTS 0
#endif
#ifndef LATE
#define LATE 0              /* the caller gives up while its request is still on the way */
#endif
#ifndef FAILS
#define FAILS 0             /* evacuations that fail at their destination */
#endif
#ifndef USER_STARTS
#define USER_STARTS 0
#endif
#ifndef NO_ROOM
#define NO_ROOM 0           /* no host takes the VM now */
#endif
#ifndef LIES
#define LIES 0              /* offs that A's BMC accepts and doesn't carry out */
#endif
#ifndef STALE
#define STALE 0             /* A's BMC begins by showing an off of long ago */
#endif
#ifndef BMC_DEAD
#define BMC_DEAD 0
#endif
#ifndef CONFIRMS
#define CONFIRMS 0          /* the operator says that A is down; only when it is */
#endif
#ifndef DISARMS
#define DISARMS 0
#endif
#ifndef UNFORCES
#define UNFORCES 0          /* the operator takes A's forced_down away */
#endif
#ifndef HIDDEN
#define HIDDEN 0            /* lists that leave the VM out: its cell doesn't answer */
#endif
#ifndef MIGRATING
#define MIGRATING 0         /* the VM was on its way from A to B, and may have got there */
#endif
#ifndef PAUSE
#define PAUSE 0             /* between permit and wire: 0 none, 1 shorter than permit + request_ttl, 2 any */
#endif

/* ---- the world ---- */
bool power[HOSTS]; bool net[HOSTS];      /* net: the agent and nova-compute reach the control plane */
byte boot[HOSTS];                        /* 1, 2, …: lives of the machine */
bool runs[HOSTS];                        /* a QEMU of the VM */
bool gate[HOSTS];                        /* open: nova-compute runs. Closed at each boot */
bool forbidden[HOSTS];                   /* libvirt's hook refuses the VM; kept on disk */
byte heardEpoch[HOSTS];                  /* highest epoch the agent knows */
bool queued[HOSTS];                      /* a user's start lies in nova-compute's queue */
byte lies = LIES; bool stale = STALE;
bool bmcDead = BMC_DEAD;

/* Nova */
byte where; bool forced[HOSTS];
mtype = { none, accepted, spawned, done, failed };
mtype mst[MOVES] = none; byte mdest[MOVES]; bool mlinked[MOVES];
bool abandoned[MOVES];                   /* ghost: its destination had a proof when it was given up */
byte moves;

/* ---- acts under way ---- */
mtype = { idle, decided, passed, wire, yes, no, readback };
mtype = { evac, fence, order };
mtype fst[FLIGHTS] = idle; mtype fkind[FLIGHTS] = none;
byte fby[FLIGHTS]; byte fhost[FLIGHTS]; byte fto[FLIGHTS]; byte fatt[FLIGHTS];

/* ---- leaderships ---- */
byte cur; byte epoch = 1; byte epochOf[REIGNS];

/* ---- records, as committed under the epoch ---- */
mtype = { inService, open, takingOut, resurrecting, inPlace, recovered };
mtype ph[HOSTS] = inService;
byte hb[HOSTS];                          /* the boot whose VMs are accounted for (HostRecord.Boot) */
byte ib[HOSTS];                          /* Incident.Boot */
bool proof[HOSTS]; byte pb[HOSTS];       /* Proof, Proof.Boot */
bool begun[HOSTS]; bool revoked[HOSTS]; bool undone[HOSTS];
byte ret[HOSTS]; bool onAsked[HOSTS];    /* Return.Boot, Return.PowerOn */
bool moved[HOSTS]; bool stray[HOSTS];    /* what forbiddenOn says: the VM runs elsewhere, or may; it was on its way here */
bool armed = true;

mtype = { nobody, waiting, sent, verifying, ok, held, restarting, unaccounted };
mtype vst = nobody; byte own = NOBODY; bool elsewhere;
mtype = { intended, unanswered };
mtype att = none;                        /* the open attempt's Answer; none: no attempt is open */
byte attNo; byte attTo; byte attMove = NOBODY; byte again = NOBODY;

bool tangled = MIGRATING; byte lookAgain = 1;
byte hidden_left = HIDDEN; byte confirms = CONFIRMS; byte noRoom = NO_ROOM; byte late = LATE;

/* ---- what only the leader of the moment knows ---- */
mtype = { up, dead };
mtype ver[HOSTS] = none; byte vb[HOSTS]; bool readPower[HOSTS];

#define heard(h) (power[h] && net[h])
#define readsOff(h) (!power[h] || h == 0 && stale)
#define copies (runs[0] + runs[1] + runs[2])
#define FLYING(i, k, h) (fst[i] != idle && fkind[i] == k && fhost[i] == h && fby[i] == cur)
#if FLIGHTS == 2
#define ROOM (fst[0] == idle || fst[1] == idle)
#define BUSY(k, h) (FLYING(0, k, h) || FLYING(1, k, h))
#define ONWIRE(i) (fkind[i] == evac && (fst[i] == wire WAIT_PASSED(i)))
#define IN_THE_AIR (ONWIRE(0) || ONWIRE(1))
#define UNSENT(i) (fst[i] == passed)
#define ANY_PASSED (UNSENT(0) || UNSENT(1))
#else
#define ROOM (fst[0] == idle || fst[1] == idle || fst[2] == idle)
#define BUSY(k, h) (FLYING(0, k, h) || FLYING(1, k, h) || FLYING(2, k, h))
#define ONWIRE(i) (fkind[i] == evac && (fst[i] == wire WAIT_PASSED(i)))
#define IN_THE_AIR (ONWIRE(0) || ONWIRE(1) || ONWIRE(2))
#define UNSENT(i) (fst[i] == passed)
#define ANY_PASSED (UNSENT(0) || UNSENT(1) || UNSENT(2))
#endif
/* permit + request_ttl: what was on its way, or had passed its permit, has arrived by then. */
#if PAUSE == 2
#define WAIT_PASSED(i)
#else
#define WAIT_PASSED(i) || fst[i] == passed
#endif

#define MATCH(m, t) (mst[m] != none && !mlinked[m] && mdest[m] == t)
#define unlinked(t) (MATCH(0, t) || MATCH(1, t) || MATCH(2, t) || MATCH(3, t))
inline link(t) {
	if
	:: MATCH(0, t) -> attMove = 0
	:: MATCH(1, t) && !MATCH(0, t) -> attMove = 1
	:: MATCH(2, t) && !MATCH(1, t) && !MATCH(0, t) -> attMove = 2
	:: else -> attMove = 3
	fi;
	mlinked[attMove] = true
}
#define PENDING(m, h) (mst[m] == accepted && mdest[m] == h)
#define orderFor(h) (PENDING(0, h) || PENDING(1, h) || PENDING(2, h) || PENDING(3, h))
#define UNRESOLVED(m) ((mst[m] == accepted || mst[m] == spawned) && !abandoned[m])

/* Promise S1, checked wherever a copy starts. */
inline startCopy(h) {
	runs[h] = true; printf("compute %d: the VM starts\n", h);
	assert(copies <= 1)   /* S1: never twice */
}

inline powerOff(h) { printf("machine %d: off\n", h); power[h] = false; runs[h] = false; gate[h] = false }

inline launch(k, h, t, n) {
	d_step {
		if
		:: fst[0] == idle -> slot = 0
		:: fst[0] != idle && fst[1] == idle -> slot = 1
		:: else -> slot = 2
		fi;
		fst[slot] = decided; fkind[slot] = k; fby[slot] = cur; fhost[slot] = h; fto[slot] = t; fatt[slot] = n;
		slot = 0
	}
}

inline land(i) { fst[i] = idle; fkind[i] = none; fby[i] = 0; fhost[i] = 0; fto[i] = 0; fatt[i] = 0 }
