/* Fencing, recovery and takeover of one VM's host: see README.md. */
#include "state.pml"
#include "world.pml"
#include "engine.pml"
#include "acts.pml"

init {
	atomic {
		power[0] = true; power[1] = true; power[2] = true; net[0] = true; net[1] = true; net[2] = true;
		boot[0] = 1; boot[1] = 1; boot[2] = 1; hb[0] = 1; hb[1] = 1; hb[2] = 1;
		gate[0] = true; gate[1] = true; gate[2] = true;
		ver[0] = up; ver[1] = up; ver[2] = up; vb[0] = 1; vb[1] = 1; vb[2] = 1;
		heardEpoch[0] = 1; heardEpoch[1] = 1; heardEpoch[2] = 1; epochOf[0] = 1;
		if
		:: MIGRATING == 0 -> runs[0] = true
		:: MIGRATING == 1 -> runs[0] = true
		:: MIGRATING == 1 -> runs[1] = true
		fi;
#ifdef PROVEN
		power[0] = false; runs[0] = false; gate[0] = false; ver[0] = dead; vb[0] = 0;    /* A was fenced already */
		ph[0] = takingOut; proof[0] = true; ib[0] = 1; pb[0] = 1; readPower[0] = true;
#endif
		run Incident(0); run Incident(1); run Incident(2);
		run Compute(0); run Compute(1); run Compute(2);
		run Act(0); run Act(1);
#if FLIGHTS > 2
		run Act(2);
#endif
		run Faults(); run Takeover();
#ifndef HARM_ONLY
		run Monitor()
#endif

	}
}
