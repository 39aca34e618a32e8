#!/bin/sh
# Writes agentv1/ from agent.proto and peerv1/ from peer.proto. Needs protoc (Debian: protobuf-compiler) and the two plugins in PATH, in these versions:
#   go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
#   go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.1
set -eu
cd "$(dirname "$0")"
for name in agent peer; do
  mkdir -p "${name}v1"
  protoc --go_out="${name}v1" --go_opt=paths=source_relative \
    --go-grpc_out="${name}v1" --go-grpc_opt=paths=source_relative "$name.proto"
done
