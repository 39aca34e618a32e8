/* The leader's decisions. Each option is one step of the engine whose records are committed under the leader's own epoch:
   so it can be taken by the leader of the moment only, and what it begins is begun after. */

/* mayAct, mayWrite (interlock.go), maySend (withdraw.go) */
#define mayAct (armed)
#ifdef NO_UNFORCED_STOP
#define notUndone(h) true
#else
#define notUndone(h) !undone[h]
#endif
#ifdef NO_GATE
#define emptyHost(h) true
#else
#define emptyHost(h) (!gate[h] && !runs[h])
#endif
#define stillSilent(h) (ret[h] == 0 && ver[h] != up || ret[h] != 0 && (ph[h] == recovered || emptyHost(h)))
#define mayWrite(h) (mayAct && proof[h] && !revoked[h] && notUndone(h) && stillSilent(h))
/* secondhand (interlock.go): a fence stands on what this leader sees itself */
#ifdef NO_SECONDHAND
#define seenDead(h) true
#else
#define seenDead(h) (ver[h] == dead || proof[h])
#endif
#define mayFence(h) (mayAct && seenDead(h))
/* endedByItself (fencing.go): a fence once more was due, and the host came back behind its gate */
#define endedByItself(h) (proof[h] && !revoked[h] && ver[h] == up && ret[h] != 0 && ret[h] == vb[h] && emptyHost(h))

/* One unresolved evacuation (resurrect.go begin, vm.go Open) */
#ifdef NO_ONE_UNRESOLVED
#define noneOpen (att != intended && attNo < 3)
#else
#define noneOpen (att == none)
#endif
#define SOME_STEADY(h) (h != 0 && steady(0) || h != 1 && steady(1) || h != 2 && steady(2))
#ifdef NO_ENTANGLED
#define UNTANGLED true
#else
#define UNTANGLED !tangled
#endif
/* the last word on Nova's records is younger than the request can be (track.go inspected) */
#ifdef NO_TTL
#define TTL_OVER true
#else
#define TTL_OVER !IN_THE_AIR
#endif
#define settledVM (vst == ok || vst == held || vst == nobody)
/* settled (resurrect.go) and the last look of beginPutBack: nothing of the host is under way */
#ifdef NO_UNFORCE_RULE
#define settledOn(h) true
#define NONE_FROM(h) true
#else
#define NONE_FROM(h) (own != h || att == none)
#define settledOn(h) (own != h || settledVM && att == none)
#endif
/* may its destination take it? (host.go: steadily) */
#define steady(t) (ver[t] == up && ph[t] == inService && !forced[t] && !forbidden[t])

/* forbiddenOn (gate.go) */
#ifdef NO_GATE_LIST
#define wantForbidden(h) false
#else
#define wantForbidden(h) (ph[h] != inService && (moved[h] || stray[h] || own == h && elsewhere) || onItsWay(h))
#endif
/* an evacuation to a host that died meanwhile: endAtProof will make it a stray */
#ifdef NO_STRAYS
#define onItsWay(h) false
#else
#define onItsWay(h) (proof[h] && ph[h] != inPlace && att != none && own != h && attTo == h)
#endif
#ifdef NO_GATE
#define wantGate(h) true
#else
#define wantGate(h) (ph[h] == inService || (ph[h] == inPlace || ph[h] == recovered) && NONE_FROM(h))
#endif

inline endAttempt() { att = none; attTo = 0; attMove = NOBODY }

inline evacuate(h, t) {
	attNo++; att = intended; attTo = t; attMove = NOBODY; again = NOBODY; vst = sent; moved[h] = true;
	launch(evac, h, attTo, attNo);
	printf("leader %d: intent on record: evacuate from %d to %d\n", cur, h, attTo)
}

/* beginAnew (verdict.go): a later boot failed as well; the proof of the earlier one is none for it */
inline beginAnew(h, b) {
	ib[h] = b; ret[h] = 0; onAsked[h] = false; revoked[h] = false;
#ifdef NO_BOOT
	ph[h] = takingOut; proof[h] = true
#else
	ph[h] = open; proof[h] = false; pb[h] = 0
#endif
}

/* closeIncident: what was forbidden is lifted, see wantForbidden */
inline close(h) {
	ph[h] = inService; proof[h] = false; pb[h] = 0; ib[h] = 0; begun[h] = false; revoked[h] = false; undone[h] = false;
	ret[h] = 0; onAsked[h] = false; moved[h] = false; stray[h] = false;
	if
	:: own == h -> own = NOBODY; vst = nobody; elsewhere = false; again = NOBODY; attNo = 0
	:: else
	fi
}

/* ghost: an evacuation that nothing can come of any more but on the host that it was sent to */
inline abandon() {
	if
	:: attMove != NOBODY -> abandoned[attMove] = true
	:: attMove == NOBODY && unlinked(attTo) -> link(attTo); abandoned[attMove] = true
	:: else
	fi
}

/* plan (classify.go): a list read after the proof. The VM may belong to another host's incident that had sent it here. */
inline plan(h) {
	if
	:: where == h ->
		if
		:: own == h && att != none -> vst = sent                      /* r.Open() != nil: goes on */
		:: own != NOBODY && own != h && att != none && attTo != h     /* takeOver: it stays with the other incident */
		:: else ->
			if
			:: own != NOBODY && own != h && att != none -> stray[h] = true; abandon(); endAttempt()
			:: else
			fi;
			moved[h] = moved[h] && own == h;
			own = h; again = NOBODY; elsewhere = false;
			if
			:: hidden_left > 0 -> hidden_left--;
#ifdef NO_UNACCOUNTED
				own = NOBODY; vst = nobody
#else
				vst = unaccounted                              /* account (classify.go) */
#endif
			:: true -> vst = waiting
			fi
		fi
	:: else
	fi
}

proctype Incident(byte h) {
	byte slot;
end:	do
	/* ---- what detection says (verdict.go assessed) ---- */
	:: d_step { heard(h) && (ver[h] != up || vb[h] != boot[h]) -> ver[h] = up; vb[h] = boot[h] }
	:: d_step { !heard(h) && ver[h] != dead -> ver[h] = dead; vb[h] = 0 }

	:: d_step { ph[h] == inService && ver[h] == dead -> ph[h] = open; ib[h] = hb[h] }
	:: d_step { ph[h] == inService && ver[h] == up && vb[h] != hb[h] ->     /* rebooted, also when nobody led meanwhile */
		ph[h] = inPlace; ib[h] = hb[h]; hb[h] = vb[h]; ret[h] = vb[h] }

	/* ---- open, fencing (fencing.go) ---- */
	:: d_step { ph[h] == open && !proof[h] && ver[h] == up && vb[h] == ib[h] && !begun[h] && !BUSY(fence, h) ->
		ph[h] = inService; ib[h] = 0 }                          /* standDown */
#ifndef NO_LIVES_ON
	:: d_step { ph[h] == open && !proof[h] && ver[h] == up && vb[h] == ib[h] && begun[h] && !BUSY(fence, h) ->      /* livesOn */
		proof[h] = true; pb[h] = 0; ret[h] = vb[h]; ph[h] = recovered }
#endif
	:: d_step { ph[h] == open && !proof[h] && ver[h] == up && vb[h] != ib[h] && !BUSY(fence, h) ->      /* rebooted */
		hb[h] = vb[h]; ret[h] = vb[h];
		if
		:: begun[h] -> proof[h] = true; pb[h] = ib[h]; ph[h] = takingOut
		:: else -> ph[h] = inPlace
		fi }
#ifdef NO_STICK
	:: d_step { ph[h] == open && mayFence(h) && readsOff(h) && !(h == 0 && bmcDead) ->
		proof[h] = true; pb[h] = ib[h]; ph[h] = takingOut }     /* it reads off: good enough? */
#endif
	:: d_step { ph[h] == open && !BUSY(fence, h) && endedByItself(h) -> ph[h] = takingOut; printf("leader %d: no further fence of %d is needed\n", cur, h) }
	:: atomic { ph[h] == open && mayFence(h) && !endedByItself(h) && !BUSY(fence, h) && ROOM && !(h == 0 && bmcDead) ->
		launch(fence, h, 0, 0); printf("leader %d: intent on record: fence %d\n", cur, h) }
	:: d_step { h == 0 && confirms > 0 && ph[h] == open && !proof[h] && !power[h] && ver[h] != up ->
		confirms--; printf("operator: %d is down\n", h); proof[h] = true; pb[h] = ib[h]; ph[h] = takingOut }         /* confirmDown (operator.go) */

	/* ---- life after the proof (life.go) ---- */
	:: d_step { proof[h] && ph[h] != inPlace && ver[h] == up && ret[h] != vb[h] && !(ph[h] == recovered && vb[h] != pb[h]) && vb[h] == pb[h] && !revoked[h] ->
		revoked[h] = true; printf("leader %d: proof of %d contradicted\n", cur, h) }
	:: d_step { proof[h] && ph[h] != inPlace && ver[h] == up && ret[h] != vb[h] && vb[h] != pb[h] ->
		ret[h] = vb[h]; hb[h] = vb[h]; printf("leader %d: %d is back with boot %d\n", cur, h, vb[h]);
		if
		:: own == h && vst == ok && where == h -> vst = held    /* it had been restarted there, and died with it */
		:: own == h && vst == restarting -> vst = held
		:: else
		fi }
	:: d_step { ph[h] == recovered && ret[h] != 0 && ver[h] == dead -> beginAnew(h, ret[h]) }       /* failedAgain */

	/* ---- taking out (takeout.go) ---- */
	:: atomic { ph[h] == takingOut && mayWrite(h) -> 
		forced[h] = true; begun[h] = true; ph[h] = resurrecting; plan(h); printf("leader %d: %d taken out, the VM is %e of %d\n", cur, h, vst, own) }
	:: d_step { begun[h] && ph[h] != inService && !forced[h] && !undone[h] -> undone[h] = true }     /* serviceRead (readmit.go) */

	/* ---- resurrecting ---- */
	:: d_step { ph[h] == resurrecting && own == h && vst == waiting && !readPower[h] && readsOff(h) && !(h == 0 && bmcDead) -> readPower[h] = true }
	:: d_step { ph[h] == resurrecting && own == h && vst == waiting && ret[h] == 0 && !onAsked[h] && !readsOff(h) && !(h == 0 && bmcDead) ->
		ph[h] = open; readPower[h] = false; printf("leader %d: %d reads on again\n", cur, h) }                    /* reads on again: fenceAgain */
#ifndef NO_ENTANGLED
	/* entangled (entangled.go): the other end has a proof, too, or its agent says whether it runs there */
	:: d_step { tangled && ph[h] == resurrecting && own == h && vst == waiting && proof[1] && !revoked[1] && ph[1] != takingOut -> tangled = false }
	:: d_step { tangled && ph[h] == resurrecting && own == h && vst == waiting && !proof[1] && ver[1] == up && heard(1) ->
		tangled = false;
		if
		:: runs[1] -> vst = held; elsewhere = true
		:: else
		fi }
#endif
	:: atomic { ph[h] == resurrecting && own == h && vst == waiting && noneOpen && mayWrite(h) && (readPower[h] || ret[h] != 0) && ROOM && UNTANGLED && moves < MOVES ->
		if
		:: again != NOBODY && steady(again) -> evacuate(h, again)               /* Lost: the same target */
		:: !(again != NOBODY && steady(again)) && h != 0 && steady(0) -> evacuate(h, 0)
		:: !(again != NOBODY && steady(again)) && h != 1 && steady(1) -> evacuate(h, 1)
		:: !(again != NOBODY && steady(again)) && h != 2 && steady(2) -> evacuate(h, 2)
		:: !SOME_STEADY(h) && ver[0] != none && ver[1] != none && ver[2] != none -> vst = held
		:: noRoom > 0 -> noRoom--; vst = held
		fi }
	/* a held VM is looked at again while its host isn't coming (takeout.go refresh) */
	:: d_step { ph[h] == resurrecting && own == h && vst == held && !elsewhere && noneOpen && SOME_STEADY(h) && mayWrite(h) && lookAgain > 0 ->
		lookAgain--; vst = waiting }
	:: d_step { own == h && ph[h] != inService && vst == unaccounted -> vst = waiting }      /* found (verify.go) */

	/* ---- unresolved (answer.go, track.go) ---- */
	:: d_step { own == h && att == intended && !BUSY(evac, h) -> att = unanswered }  /* an earlier leader began it, or the answer was lost */
	:: d_step { own == h && att == intended && late > 0 && ((fst[0] == wire && FLYING(0, evac, h)) || (fst[1] == wire && FLYING(1, evac, h))) ->
		late--; att = unanswered; printf("leader %d: no answer in time\n", cur) }
	:: atomic { own == h && att != none && attMove == NOBODY && unlinked(attTo) ->           /* tracked: attemptFor */
		link(attTo); att = accepted }
	:: atomic { own == h && att == unanswered && attMove == NOBODY && TTL_OVER && !unlinked(attTo) ->  /* inspected */
		
		again = attTo; endAttempt(); moved[h] = false; vst = waiting; printf("leader %d: it never reached Nova: repeated\n", cur) }
	:: atomic { own == h && att == accepted && attMove != NOBODY && mst[attMove] == done -> endAttempt(); vst = verifying }
	:: atomic { own == h && att == accepted && attMove != NOBODY && mst[attMove] == failed -> endAttempt(); moved[h] = false; vst = waiting; printf("leader %d: evacuation failed\n", cur) }
#ifdef NO_ONE_UNRESOLVED
	:: d_step { own == h && vst == sent && (att == accepted || att == unanswered) && attNo < 3 -> vst = waiting }   /* it takes too long */
#endif
	/* its destination died (resurrect.go followAttempt, endAtProof) */
#ifdef NO_DESTINATION_PROOF
	:: atomic { own == h && att == accepted && attMove != NOBODY && mst[attMove] != done && ph[attTo] == open ->
		stray[attTo] = true; endAttempt(); vst = verifying }
#endif
	:: atomic { own == h && att == accepted && attTo != h && proof[attTo] && !revoked[attTo] && ph[attTo] != takingOut && ph[attTo] != inPlace ->
#ifndef NO_STRAYS
		stray[attTo] = true;
#endif
		abandon(); endAttempt(); vst = verifying; printf("leader %d: its destination has a proof\n", cur) }

	/* ---- verifying (verify.go) ---- */
	:: d_step { own == h && vst == verifying && where == h && ph[h] != inPlace && ret[h] == 0 -> vst = waiting; moved[h] = false }   /* notMoved */
	:: d_step { own == h && vst == verifying && where == h && ret[h] != 0 -> vst = held; moved[h] = false }
	:: d_step { own == h && vst == verifying && where != h && runs[where] && ph[where] == inService -> vst = ok }
	:: d_step { own == h && vst == verifying && where != h && ph[where] == resurrecting && proof[where] && !revoked[where] ->
		own = where; vst = waiting; again = NOBODY }              /* handOver */
	:: d_step { own == h && vst == verifying && where != h && ph[where] == recovered && proof[where] && !revoked[where] ->
		own = where; vst = held; again = NOBODY }

	/* ---- recovered: bring it back (readmit.go) ---- */
	:: d_step { ph[h] == resurrecting && settledOn(h) && !(own == h && vst == waiting) -> ph[h] = recovered; printf("leader %d: %d is recovered, the VM %e\n", cur, h, vst) }
	:: d_step { ph[h] == recovered && !onAsked[h] && ret[h] == 0 && mayWrite(h) && !(h == 0 && bmcDead) ->
		onAsked[h] = true; printf("leader %d: switch %d on\n", cur, h);
		if
		:: !power[h] -> power[h] = true; boot[h]++; gate[h] = false
		:: else
		fi }
	:: d_step { ph[h] == recovered && ret[h] != 0 && ver[h] == up && gate[h] && own == h && vst == held && where == h && !elsewhere && noneOpen && !forbidden[h] && mayWrite(h) ->
		vst = restarting; queued[h] = true; printf("leader %d: restart it on %d\n", cur, h) }    /* stayed, restart */
	:: d_step { own == h && vst == restarting && runs[h] -> vst = ok }
	:: d_step { ph[h] == recovered && ret[h] != 0 && ret[h] == vb[h] && ver[h] == up && gate[h] && settledOn(h) && !queued[h] && !orderFor(h) && !onItsWay(h) && mayWrite(h) && !(own == h && vst == held) ->
		if
		:: forced[h] -> forced[h] = false
		:: else
		fi;
		close(h); printf("leader %d: %d readmitted\n", cur, h) }

	/* ---- in place (inplace.go) ---- */
	:: d_step { ph[h] == inPlace && ver[h] == up && ret[h] == vb[h] && gate[h] && where == h && (own == NOBODY || vst == verifying || vst == ok) && own != h && !runs[h] && !forbidden[h] && mayAct ->
		own = h; vst = restarting; queued[h] = true; printf("leader %d: restart it in place on %d\n", cur, h) }
	:: d_step { ph[h] == inPlace && ver[h] == up && ret[h] == vb[h] && gate[h] && (where != h || vst == ok || runs[h]) && (own != h || vst == ok) -> close(h) }
	:: d_step { ph[h] == inPlace && ver[h] == up && ret[h] != vb[h] -> ret[h] = vb[h]; hb[h] = vb[h];
		if
		:: own == h -> own = NOBODY; vst = nobody
		:: else
		fi }
	:: d_step { ph[h] == inPlace && ver[h] == dead ->
		if
		:: own == h -> own = NOBODY; vst = nobody
		:: else
		fi;
		beginAnew(h, ret[h]) }

	/* ---- the gate (gate.go): an order has an epoch, and no permit ---- */
	:: atomic { ver[h] == up && vb[h] == boot[h] && !BUSY(order, h) && ROOM && heard(h) && (gate[h] != wantGate(h) || forbidden[h] != wantForbidden(h)) ->
		launch(order, h, (wantGate(h) -> 1 : 0) + (wantForbidden(h) -> 2 : 0), boot[h]) }
	od
}
