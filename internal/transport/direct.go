package transport

import (
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// Direct is the agent's end of a link without a network, for simulations: whoever holds it calls the server's Handler
// himself, as Handler says, and gets what the server sends.
type Direct struct {
	Host    string
	Machine pki.Machine
	Boot    Boot
	Remote  string
	// Deliver takes what the server sends, in order. It must not block.
	Deliver func(*agentv1.FromServer)
	// Dropped is told when the server ends the link. It must not block.
	Dropped func(reason string)
}

// Link is the server's end. Hear is to be called for each pulse before the Handler is.
func (d Direct) Link() *Link {
	return &Link{
		direct: &d, peer: pki.Peer{Identity: pki.Identity{Role: pki.RoleAgent, Name: d.Host, Machine: d.Machine}, Serial: "direct"},
		host: d.Host, boot: d.Boot, bootID: d.Boot.String(), remote: d.Remote, dropped: make(chan struct{}), gone: make(chan struct{}),
	}
}

// Hear notes a pulse on a direct link: what the server sends from now on is younger than it.
func (l *Link) Hear(seq uint64) { l.heard.Store(max(l.heard.Load(), seq)) }

// Gone ends a direct link, as its agent's silence or end does; once. The Handler is to be told by Closed.
func (l *Link) Gone() { close(l.gone) }
