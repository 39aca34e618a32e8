package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// sendTimeout is how long a client may take to accept one event.
const sendTimeout = 10 * time.Second

func (r router) telling() {
	type since struct {
		Since time.Time `query:"since" doc:"Only entries from then on"`
	}
	get(r, "/v1/audit", "What operators did, oldest first", func(ctx context.Context, in *since) (auditList, error) {
		entries, err := r.b.Audit(ctx, in.Since)
		return auditList{list(entries)}, err
	})
	type following struct {
		After string `query:"after" maxLength:"100" doc:"ID of the last event seen"`
		Last  string `header:"Last-Event-ID" maxLength:"100" doc:"The same, as browsers send it; it wins"`
	}
	schema := r.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Event](), true, "Event")
	huma.Register(r.api, huma.Operation{
		OperationID: "get-events", Method: http.MethodGet, Path: "/v1/events", Summary: "The story as it unfolds, as server-sent events",
		Description: "Each event's data is an Event. An event named `reset` says that messages were missed.", Tags: []string{"events"}, RejectUnknownQueryParameters: true,
		Responses: map[string]*huma.Response{"default": r.problems(), "200": {Description: "A stream that doesn't end", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: schema}}}},
	}, func(_ context.Context, in *following) (*huma.StreamResponse, error) {
		after := in.After
		if in.Last != "" {
			after = in.Last
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			req, w := humago.Unwrap(ctx)
			r.stream(req, w, after)
		}}, nil
	})
}

// stream writes events until the client goes or the server stops. The server's own timeouts are for answers that end.
func (r router) stream(req *http.Request, w http.ResponseWriter, after string) {
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	s := &stream{w: w, control: http.NewResponseController(w)}
	_ = s.control.SetReadDeadline(time.Time{}) // an HTTP/2 stream has none
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	var alive sync.WaitGroup
	defer alive.Wait()
	if s.write(": ninelives\nretry: 2000\n\n") != nil {
		return
	}
	alive.Go(func() {
		tick := time.NewTicker(r.o.KeepAlive)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if s.write(": still here\n\n") != nil {
					cancel()
					return
				}
			}
		}
	})
	err := r.b.Events(ctx, after, s.send)
	cancel()
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errGone) {
		r.log("an event stream ended", "/v1/events", err)
	}
}

// errGone says that the client no longer takes events.
var errGone = errors.New("the client has gone")

// stream is one client; keep-alives and events come from two goroutines.
type stream struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
}

func (s *stream) send(e Event) error {
	data, err := json.Marshal(e) // one line: JSON has no line breaks of its own
	if err != nil {
		return err
	}
	name := ""
	if e.Reset {
		name = "event: reset\n"
	}
	return s.write(fmt.Sprintf("id: %s\n%sdata: %s\n\n", e.ID, name, data))
}

func (s *stream) write(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.control.SetWriteDeadline(time.Now().Add(sendTimeout)) // without one, a stuck client would only hold itself up
	if _, err := s.w.Write([]byte(text)); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	if err := s.control.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}
