package client

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/ninelives-ha/ninelives/internal/api"
)

// Members lists the servers.
func (c *Client) Members(ctx context.Context) (api.Membership, error) {
	return call[api.Membership](ctx, c, http.MethodGet, "/v1/cluster", nil, nil)
}

// RemoveServer takes a server out for good.
func (c *Client) RemoveServer(ctx context.Context, name, reason string) (api.Reply, error) {
	return call[api.Reply](ctx, c, http.MethodPost, "/v1/cluster/servers/"+esc(name)+"/remove", nil, api.ReasonRequest{Reason: reason})
}

// Backup writes all records to w, their checksum at the end, and gives the number of bytes.
func (c *Client) Backup(ctx context.Context, w io.Writer) (int64, error) {
	resp, err := c.send(ctx, http.MethodGet, "/v1/cluster/backup", nil, nil, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(w, resp.Body)
	if err != nil {
		return n, fmt.Errorf("the backup broke off after %d bytes: %w", n, err)
	}
	return n, nil
}
