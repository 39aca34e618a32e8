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
