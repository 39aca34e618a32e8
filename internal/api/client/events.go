package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/api"
)

// Events calls f for each message after the one with this ID, until ctx ends, f fails or the stream breaks; then it
// returns why. To go on after a break, call it again with the last event's ID: what was missed meanwhile comes first, or
// an event with Reset. after "" begins with what comes.
func (c *Client) Events(ctx context.Context, after string, f func(api.Event) error) error {
	q := url.Values{}
	if after != "" {
		q.Set("after", after)
	}
	resp, err := c.send(ctx, http.MethodGet, "/v1/events", q, nil, http.Header{"Accept": {"text/event-stream"}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ") // comments keep the line alive; id and event are in the data too
		if !ok {
			continue
		}
		var e api.Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("cannot understand an event: %w", err)
		}
		if err := f(e); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the event stream of %s broke: %w", c.base, err)
	}
	return fmt.Errorf("the event stream of %s ended: %w", c.base, ErrUnreachable)
}
