// Package transport is the link between agents and servers: one gRPC stream from every agent to every server, mutual
// TLS from a built-in CA (package pki), joining by one-time tokens.
//
// The server's side is Listen, Handler and Link; the agent's side is Join, Dial, AgentHandler and Uplinks. The messages
// are those of proto/agent.proto. Nothing here judges what a pulse or its absence means: that is detection's work.
package transport
