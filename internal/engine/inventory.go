package engine

func (e *Engine) hostSeen(f HostFacts) {
	h := e.host(f.Name)
	if in := e.incidentOf(f.Name); in != nil && in.Out.Begun && h.facts.Service.ID != "" {
		f.Service = h.facts.Service // a list begun before our own write would undo it in our eyes; readings made for the incident count
	}
	h.facts = f
}

func (e *Engine) hostForgotten(name string) {
	if e.incidentOf(name) == nil {
		delete(e.hosts, name)
	}
}

// inventoryRead keeps the last list from before a failure until the incident's own plan was checked against it.
func (e *Engine) inventoryRead(ev InventoryRead) {
	h := e.host(ev.Host)
	if in := e.incidentOf(ev.Host); h.now.Suspect || in != nil && in.acting() && !in.Planned {
		return
	}
	h.vms = ev.VMs
}
