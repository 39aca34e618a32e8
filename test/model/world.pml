/* Machines, Nova's conductor and computes, and everything that goes wrong. */

byte dies_a = DIES_A; byte dies_b = DIES_B; byte cuts = CUTS; byte cuts_b = CUTS_B; byte heals = HEALS; byte cycles = CYCLES;
byte thirdOn = THIRD_ON; byte lostAnswers = LOST_ANSWERS; byte lostRequests = LOST_REQUESTS; byte fails = FAILS;
byte userStarts = USER_STARTS; byte disarms = DISARMS; byte unforces = UNFORCES;

/* nova-compute of one host: it works while its machine runs and its gate was opened in this boot */
#define works(h) (power[h] && net[h] && gate[h])
proctype Compute(byte h) {
	byte m;
end:	do
	:: atomic { works(h) && orderFor(h) ->
		d_step {
			if
			:: PENDING(0, h) -> m = 0
			:: !PENDING(0, h) && PENDING(1, h) -> m = 1
			:: !PENDING(0, h) && !PENDING(1, h) && PENDING(2, h) -> m = 2
			:: else -> m = 3
			fi
		}
		if
		:: forbidden[h] -> mst[m] = failed                           /* libvirt's hook */
		:: !forbidden[h] && fails > 0 -> fails--; mst[m] = failed; printf("compute %d: the evacuation fails\n", h)
		:: !forbidden[h] -> mst[m] = spawned; startCopy(h)
		fi;
		m = 0 }
	:: d_step { works(h) && runs[h] && mst[0] == spawned && mdest[0] == h -> mst[0] = done; where = h; printf("nova: evacuation done on %d\n", h) }
	:: d_step { works(h) && runs[h] && mst[1] == spawned && mdest[1] == h -> mst[1] = done; where = h; printf("nova: evacuation done on %d\n", h) }
	:: d_step { works(h) && runs[h] && mst[2] == spawned && mdest[2] == h -> mst[2] = done; where = h }
	:: d_step { works(h) && runs[h] && mst[3] == spawned && mdest[3] == h -> mst[3] = done; where = h }
	:: atomic { works(h) && queued[h] -> queued[h] = false;
		if
		:: !forbidden[h] -> startCopy(h)
		:: else
		fi }
#ifdef SLOW_EPOCHS
	:: d_step { heard(h) && heardEpoch[h] < epoch -> heardEpoch[h] = epoch }     /* a server's ack carries it */
#endif
	od
}

proctype Faults() {
end:	do
	:: d_step { dies_a > 0 && power[0] -> dies_a--; powerOff(0) }
	:: d_step { dies_b > 0 && power[1] -> dies_b--; powerOff(1) }
	:: d_step { cuts > 0 && net[0] -> cuts--; net[0] = false; printf("network of 0: cut\n") }
	:: d_step { cuts_b > 0 && net[1] -> cuts_b--; net[1] = false; printf("network of 1: cut\n") }
	:: d_step { heals > 0 && !net[0] -> heals--; net[0] = true; printf("network of 0: back\n") }
	:: d_step { heals > 0 && !net[1] -> heals--; net[1] = true; printf("network of 1: back\n") }
	:: d_step { cycles > 0 && power[0] -> cycles--; powerOff(0); power[0] = true; boot[0]++; printf("machine 0: reboots\n") }
	:: d_step { thirdOn > 0 && !power[0] -> thirdOn--; power[0] = true; boot[0]++; printf("third party: 0 on\n") }
	:: d_step { stale -> stale = false }
	:: d_step { userStarts > 0 && where == 0 && !runs[0] && !queued[0] -> userStarts--; queued[0] = true; printf("user: start\n") }
	:: d_step { disarms > 0 && armed -> disarms--; armed = false; printf("operator: disarm\n") }
	:: d_step { !armed -> armed = true }
	:: d_step { unforces > 0 && forced[0] -> unforces--; forced[0] = false; printf("operator: un-forces 0\n") }
	od
}

/* A leader ends: killed (what it hadn't sent is gone), or paused and deposed, or its reign failed while its server leads
   on. The next one knows what is on record, and nothing else (reign.go, govern.go). */
inline forget(i) {
	if
	:: fst[i] == decided || fst[i] == passed -> land(i)
	:: else
	fi
}
#if PAUSE == 0
#define MAY_PAUSE !ANY_PASSED
#else
#define MAY_PAUSE true
#endif
proctype Takeover() {
end:	do
	:: atomic { cur < REIGNS - 1 && MAY_PAUSE ->
		if
		:: true -> forget(0); forget(1);
#if FLIGHTS > 2
			forget(2);
#endif
			epoch++
		:: true -> epoch++
		:: true                                                     /* the same epoch: a commit failed */
		fi;
		cur++; epochOf[cur] = epoch; printf("leader %d leads with epoch %d\n", cur, epoch);
		d_step {
			ver[0] = none; vb[0] = 0;
#if DIES_B + CUTS_B > 0
			ver[1] = none; vb[1] = 0;                            /* of the others it hears at once that they live */
#endif
#ifndef SLOW_EPOCHS
			heardEpoch[0] = epoch; heardEpoch[1] = epoch; heardEpoch[2] = epoch;
#endif
			readPower[0] = false; readPower[1] = false; readPower[2] = false
		} }
	od
}

/* S3 and S5: when nothing can happen any more, the VM runs, once, where Nova says, and nothing is left half-way; or a
   reason that an operator is shown holds it. */
#define halfway(h) (ph[h] == open || ph[h] == takingOut || ph[h] == resurrecting || ph[h] == inPlace)
#define finished (copies == 1 && runs[where] && att == none && !halfway(0) && !halfway(1) && !halfway(2))
#define contradicted (revoked[0] || revoked[1] || revoked[2])
#define unfenceable (bmcDead && ph[0] == open && confirms == 0)
#define heldWithReason (att == none && (vst == held || vst == waiting && tangled || vst == unaccounted))
proctype Monitor() {
end:	do
	:: atomic { timeout -> assert(finished || heldWithReason || contradicted || undone[0] || unfenceable); break  } /* S3 and S5: the work ends */
	od
}
