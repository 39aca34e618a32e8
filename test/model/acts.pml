/* Acts on their way: act.go, flight.go, the gates of the drivers, and what is at the other end of the wire. */

/* flight.go permit and stands: the permit of a leader that has a successor has run out; a reign that has ended sends
   nothing, although its server leads on. */
#if defined(NO_PERMIT)
#define permitted(i) (fby[i] == cur || epochOf[fby[i]] != epoch)
#elif defined(NO_STANDS)
#define permitted(i) (fby[i] == cur || epochOf[fby[i]] == epoch)
#else
#define permitted(i) (fby[i] == cur)
#endif
/* withdraw.go maySend: the interlocks' second look. An earlier leader has only its own, old one. */
#ifdef NO_WITHDRAW
#define maySend(i) true
#else
#define maySend(i) (fby[i] != cur || fkind[i] == evac && mayWrite(fhost[i]) || fkind[i] == fence && mayFence(fhost[i]))
#endif
#ifdef NO_ORDER_EPOCH
#define ADMITTED(i) true
#else
#define ADMITTED(i) (epochOf[fby[i]] >= heardEpoch[fhost[i]])
#endif
#define mine(i) (fby[i] == cur && att == intended && fatt[i] == attNo)

/* Promise S2 (and S4), at the moment of the permit: what the leader of the moment knows stands against nothing. */
inline notOnAGuess(i) {
	assert(armed);                                                       /* S4: never while disarmed */
	if
	:: fkind[i] == evac ->
		assert(proof[fhost[i]] && !revoked[fhost[i]]);               /* S2: never without a proof that stands */
		assert(!undone[fhost[i]])                                    /* S4: never after an operator's un-force was seen */
	:: fkind[i] == fence ->
		assert(ver[fhost[i]] == dead || proof[fhost[i]])             /* S2: never on another's verdict, or of who lives */
	fi
}

/* one unresolved evacuation a VM, by Nova's own records */
inline accept(i) {
	d_step {
		assert(!UNRESOLVED(0) && !UNRESOLVED(1) && !UNRESOLVED(2) && !UNRESOLVED(3));     /* S1: one unresolved evacuation a VM */
		printf("nova: accepts the evacuation to %d of leader %d\n", fto[i], fby[i]);
		mst[moves] = (forced[fto[i]] -> failed : accepted);          /* Nova's scheduler looks at a named target, too */
		 mdest[moves] = fto[i]; moves++
	}
}

inline proven(i) {
	if
	:: fby[i] == cur && ph[fhost[i]] == open ->
		proof[fhost[i]] = true; pb[fhost[i]] = ib[fhost[i]]; printf("leader %d: proof: %d is off\n", cur, fhost[i]); ph[fhost[i]] = takingOut; revoked[fhost[i]] = false; readPower[fhost[i]] = true
	:: else
	fi
}

proctype Act(byte i) {
end:	do
	:: atomic { fst[i] == decided && fkind[i] != order ->
		if
		:: permitted(i) && maySend(i) -> notOnAGuess(i); fst[i] = passed; printf("leader %d: %e of %d has its permit\n", fby[i], fkind[i], fhost[i])
		:: !(permitted(i) && maySend(i)) && fkind[i] == evac && mine(i) ->           /* NotSent: it never was */
			endAttempt(); moved[fhost[i]] = false; vst = waiting; land(i)
		:: !(permitted(i) && maySend(i)) && !(fkind[i] == evac && mine(i)) -> land(i)
		fi }

	/* a power command, and off read back twice (fence/off.go) */
	:: atomic { fst[i] == passed && fkind[i] == fence ->
		if
		:: fhost[i] == 0 && lies > 0 -> lies--; printf("bmc: accepts off and does nothing\n")
		:: else -> powerOff(fhost[i])
		fi;
#ifdef NO_READBACK
		proven(i); land(i) }
#else
		fst[i] = readback }
#endif
	:: atomic { fst[i] == readback ->
		if
		:: readsOff(fhost[i]) -> proven(i)
		:: else                                                      /* still reads on: next level, or this one again */
		fi;
		land(i) }

	/* an evacuation: a proxy may hold it back for long, or lose it or its answer */
	:: atomic { fst[i] == passed && fkind[i] == evac -> fst[i] = wire }
	:: atomic { fst[i] == wire && lostRequests > 0 -> lostRequests--; land(i) }
	:: atomic { fst[i] == wire && moves < MOVES ->
		if
		:: forced[where] && where != fto[i] -> accept(i);
			if
			:: fby[i] == cur -> fst[i] = yes
			:: fby[i] != cur -> land(i)
			:: lostAnswers > 0 -> lostAnswers--; land(i)
			fi
		:: !(forced[where] && where != fto[i]) -> fst[i] = no
		fi }
	:: atomic { fst[i] == yes ->
		if
		:: mine(i) -> att = accepted
		:: else
		fi;
		land(i) }
	:: atomic { fst[i] == no ->
		if
		:: mine(i) -> endAttempt(); vst = verifying; moved[fhost[i]] = false;
			if
			:: begun[fhost[i]] && !forced[fhost[i]] -> undone[fhost[i]] = true
			:: else
			fi
		:: else
		fi;
		land(i) }

	/* an order to an agent: it refuses an older epoch than it knows, and another boot's */
	:: atomic { fst[i] == decided && fkind[i] == order ->
		if
		:: heard(fhost[i]) && boot[fhost[i]] == fatt[i] && ADMITTED(i) ->
			printf("agent %d: gate open %d, VM forbidden %d, by leader %d\n", fhost[i], fto[i] % 2, fto[i] / 2, fby[i]); gate[fhost[i]] = (fto[i] % 2 == 1); forbidden[fhost[i]] = (fto[i] / 2 == 1);
			heardEpoch[fhost[i]] = (epochOf[fby[i]] > heardEpoch[fhost[i]] -> epochOf[fby[i]] : heardEpoch[fhost[i]])
		:: else
		fi;
		land(i) }
	od
}
