package world

import "time"

type powerChange struct {
	at time.Time
	on bool
}

// PowerCut takes a machine's power at once, as pulling its plug does. Its QEMUs
// end. The BMC lives on stand-by, and reads off.
func (w *World) PowerCut(host string) { w.setPower(w.mustHost(host), false, "power cut") }

// PowerOn gives a machine power; it boots.
func (w *World) PowerOn(host string) { w.setPower(w.mustHost(host), true, "power on") }

// Reboot is a machine that reboots by itself or by its operator, or a third
// party's power cycle: off, and on again after the pause.
func (w *World) Reboot(host string, pause time.Duration) {
	h := w.mustHost(host)
	w.setPower(h, false, "reboot")
	epoch := h.powerEpoch
	w.after(pause, func() {
		if h.powerEpoch == epoch { // nobody switched it meanwhile
			w.setPower(h, true, "reboot")
		}
	})
}

// Feed says whether a machine's power supplies have any current. One without goes off at once and can't be switched on,
// and its BMC is silent; with it, it boots, as most are set to.
func (w *World) Feed(host string, fed bool) {
	h := w.mustHost(host)
	if h.unfed == !fed {
		return
	}
	h.unfed = !fed
	w.setPower(h, fed, "current")
}

func (w *World) setPower(h *Host, on bool, why string) {
	if h.On == on || on && h.unfed {
		return
	}
	h.On = on
	h.powerEpoch++
	w.endCompute(h)
	h.powerLog = append(h.powerLog, powerChange{w.now, on})
	h.Kernel, h.Hung, h.Frozen = false, false, false
	if !on {
		w.emit("power-off", h.Name, "", "%s; boot %s ended", why, h.Boot)
		w.endCopiesOf(h, "power off")
		return
	}
	w.emit("power-on", h.Name, "", "%s", why)
	epoch := h.powerEpoch
	w.after(w.draw(w.opt.Timing.Boot), func() {
		if h.powerEpoch == epoch {
			w.booted(h)
		}
	})
}

func (w *World) booted(h *Host) {
	h.Kernel, h.Boot, h.BootedAt, h.AgentKilled = true, w.uuid(), w.now, false
	h.GateClosed = h.gated
	w.emit("boot", h.Name, "", "boot %s", h.Boot)
	if !h.GateClosed {
		w.startComputeSoon(h)
	}
}

// OpenGate lets nova-compute start on a booted host; CloseGate keeps it from
// starting at the next chance (it doesn't stop a running one).
func (w *World) OpenGate(host string) {
	h := w.mustHost(host)
	if !h.GateClosed {
		return
	}
	h.GateClosed = false
	w.emit("gate-open", host, "", "")
	if h.Kernel {
		w.startComputeSoon(h)
	}
}

// CloseGate closes the gate.
func (w *World) CloseGate(host string) {
	w.mustHost(host).GateClosed = true
	w.emit("gate-closed", host, "", "")
}

// BMC is a machine's management controller and its faults.
type BMC struct {
	Driver         string // ipmi or redfish
	User, Password string
	// Machine is the host whose power it switches and whose identity it shows;
	// another host's name is a wrong entry in devices.yaml or a swapped cable.
	Machine string
	// Identity replaces the machine's uuid in what the BMC shows.
	Identity string

	Dead       bool          // never answers
	DiesToo    bool          // has no stand-by power: silent while the machine has none
	Lying      bool          // accepts off and does nothing
	Lag        time.Duration // shows the power state of that long ago
	ReadsOff   bool          // shows off, whatever the machine's power is; what it is ordered it does
	RefusesOff bool          // answers off with an error when already off
	Slow       time.Duration // before each answer
	RefuseOn   time.Duration // refuses on for that long after off
}

// BMC errors.
const (
	ErrBMCSilent   = bmcError("the BMC does not answer")
	ErrBMCAlready  = bmcError("the machine is off already")
	ErrBMCTooEarly = bmcError("the machine was switched off a moment ago")
)

type bmcError string

func (e bmcError) Error() string { return string(e) }

// SetBMC changes a host's BMC, for faults: w.SetBMC("h1", func(b *world.BMC) { b.Dead = true }).
func (w *World) SetBMC(host string, change func(*BMC)) {
	h := w.mustHost(host)
	change(&h.BMC)
	w.emit("bmc", host, "", "dead=%t lying=%t lag=%s machine=%s", h.BMC.Dead, h.BMC.Lying, h.BMC.Lag, h.BMC.Machine)
}

// BMCAnswers says whether the host's BMC is there.
func (w *World) BMCAnswers(host string) bool {
	h := w.mustHost(host)
	return !h.BMC.Dead && !h.unfed && (!h.BMC.DiesToo || w.mustHost(h.BMC.Machine).On)
}

// BMCIdentity is the machine uuid and serial that the host's BMC shows.
func (w *World) BMCIdentity(host string) (uuid, serial string) {
	h := w.mustHost(host)
	m := w.mustHost(h.BMC.Machine)
	return or(h.BMC.Identity, m.Identity), m.Serial
}

// BMCPower reads the power state through the host's BMC.
func (w *World) BMCPower(host string) (on bool, err error) {
	h := w.mustHost(host)
	if !w.BMCAnswers(host) {
		return false, ErrBMCSilent
	}
	if h.BMC.ReadsOff {
		return false, nil
	}
	m := w.mustHost(h.BMC.Machine)
	seen := w.now.Add(-h.BMC.Lag)
	on = m.powerLog[0].on
	for _, c := range m.powerLog {
		if !c.at.After(seen) {
			on = c.on
		}
	}
	return on, nil
}

// BMCSet orders power on or off through the host's BMC. Nil means accepted.
func (w *World) BMCSet(host string, on bool) error {
	h := w.mustHost(host)
	if !w.BMCAnswers(host) {
		return ErrBMCSilent
	}
	m := w.mustHost(h.BMC.Machine)
	switch {
	case !on && !m.On && h.BMC.RefusesOff:
		return ErrBMCAlready
	case on && !m.On && w.now.Before(m.powerLog[len(m.powerLog)-1].at.Add(h.BMC.RefuseOn)):
		return ErrBMCTooEarly
	}
	w.emit("bmc-order", m.Name, "", "on=%t through the BMC of %s", on, host)
	if h.BMC.Lying && !on {
		return nil
	}
	epoch := m.powerEpoch
	w.after(w.draw(w.opt.Timing.PowerOff), func() {
		if m.powerEpoch == epoch { // an order of an earlier state is void
			w.setPower(m, on, "BMC")
		}
	})
	return nil
}

// BMCCycle orders off and on again. A machine that is off stays so, as IPMI recommends.
func (w *World) BMCCycle(host string) error {
	h := w.mustHost(host)
	if !w.BMCAnswers(host) {
		return ErrBMCSilent
	}
	m := w.mustHost(h.BMC.Machine)
	w.emit("bmc-order", m.Name, "", "cycle through the BMC of %s", host)
	if m.On && !h.BMC.Lying {
		w.Reboot(m.Name, time.Second)
	}
	return nil
}
