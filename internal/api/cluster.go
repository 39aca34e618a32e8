package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Membership is who the servers are.
type Membership struct {
	Servers []ClusterServer `json:"servers"`
	Quorum  bool            `json:"quorum"`
	Reason  string          `json:"reason,omitempty" doc:"Why there is no quorum"`
	// Electing as in the status.
	Electing bool   `json:"electing,omitempty" doc:"A majority answers, but none of it leads yet: they elect one"`
	Leader   string `json:"leader,omitempty"`
	Epoch    int64  `json:"epoch,omitempty"`
	Format   int    `json:"format" doc:"Format of the records that all servers write"`
	// External: the database is an etcd of the operator's own, whose members aren't shown here.
	External bool `json:"external,omitempty" doc:"The database is an etcd of your own"`
}

// ClusterServer is one server, with what it says of itself.
type ClusterServer struct {
	Member
	Agents  []string  `json:"agents,omitempty" doc:"Its port for agents, as others reach it"`
	API     string    `json:"api,omitempty" doc:"URL of its API"`
	Version string    `json:"version,omitempty"`
	Reads   int       `json:"reads,omitempty" doc:"The newest format of records that it can read"`
	Since   time.Time `json:"since,omitzero" doc:"When it started"`
}

type onServer[T any] struct {
	Caller
	Server string `path:"server" maxLength:"255" doc:"Its name"`
	Body   T
}

func (r router) cluster() {
	get(r, "/v1/cluster", "The servers", func(ctx context.Context, _ *none) (Membership, error) {
		m, err := r.b.Members(ctx)
		m.Servers = list(m.Servers)
		return m, err
	})
	post(r, "/v1/cluster/servers/{server}/remove", "Take a server out for good", func(ctx context.Context, in *onServer[ReasonRequest]) (Reply, error) {
		return r.b.RemoveServer(ctx, in.By, in.Server, in.Body.Reason)
	})
	const path = "/v1/cluster/backup"
	huma.Register(r.api, huma.Operation{
		OperationID: operationID(http.MethodGet, path), Method: http.MethodGet, Path: path, Tags: []string{"cluster"},
		Summary: "All records as of now; the last 32 bytes are the SHA-256 of what comes before. The CA's key is not in it",
		Responses: map[string]*huma.Response{
			"200":     {Description: "The database", Content: map[string]*huma.MediaType{"application/octet-stream": {}}},
			"default": r.problems(),
		},
	}, func(ctx context.Context, in *Caller) (*huma.StreamResponse, error) {
		if err := r.b.Ready(ctx); err != nil {
			return nil, problemOf(r, path, Unavailable("see the servers (`ninelives status`)", "not now: %v", err))
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			hc.SetHeader("Content-Type", "application/octet-stream")
			if err := r.b.Backup(hc.Context(), in.By, hc.BodyWriter()); err != nil {
				r.log("a backup was not written to its end", path, err) // the client sees that the checksum is missing
			}
		}}, nil
	})
}
