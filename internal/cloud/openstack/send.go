package openstack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

// write is one dangerous request to Nova.
type write struct {
	what   string // "evacuate server b4c1…", for messages
	method string
	path   string // below the compute endpoint
	mv     cloud.Microversion
	body   any
}

// send carries out a write: at most once, with the permit asked last. See cloud.Writer for what its errors promise.
func (c *Client) send(ctx context.Context, in cloud.Intent, w write) (cloud.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.WriteTimeout)
	defer cancel()
	rec := cloud.Receipt{RequestID: or(in.RequestID, newRequestID())}
	if in.Permit == nil {
		return rec, notSent(w, errors.New("no permit was given"))
	}
	s, err := c.connected(ctx)
	if err != nil {
		return rec, notSent(w, err)
	}
	token, err := c.token(ctx, s)
	if err != nil {
		return rec, notSent(w, err)
	}
	req, err := w.request(ctx, s, token, rec.RequestID)
	if err != nil {
		return rec, notSent(w, err)
	}
	g := &gate{permit: in.Permit}
	client := &http.Client{Transport: c.writeTransport(g), CheckRedirect: noRedirects}
	resp, err := client.Do(req)
	sent, refused := g.close()
	rec.Sent = sent
	switch {
	case refused != nil:
		return rec, notSent(w, fmt.Errorf("no permit: %w", refused))
	case err != nil && !sent:
		return rec, notSent(w, err)
	case err != nil:
		return rec, fmt.Errorf("cannot %s: %w: %w", w.what, cloud.ErrUnanswered, err)
	}
	defer resp.Body.Close() //nolint:errcheck // the status has been read, nothing depends on this
	rec.NovaID = or(resp.Header.Get("X-Compute-Request-Id"), resp.Header.Get(headerRequestID))
	rec.Date = answered(resp.Header)
	if err := verdict(resp, rec.NovaID); err != nil {
		if errors.Is(err, cloud.ErrUnauthorized) {
			s.tokens.distrust(token)
		}
		return rec, fmt.Errorf("cannot %s: %w", w.what, err)
	}
	return rec, nil
}

func notSent(w write, err error) error {
	return fmt.Errorf("cannot %s: %w: %w", w.what, cloud.ErrNotSent, err)
}

func (w write) request(ctx context.Context, s *session, token, requestID string) (*http.Request, error) {
	body, err := json.Marshal(w.body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, w.method, s.caps.Endpoints["compute"]+w.path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.GetBody = nil // net/http can't send again what it can't rewind
	for k, v := range map[string]string{
		"X-Auth-Token": token, "Content-Type": "application/json", "Accept": "application/json",
		"OpenStack-API-Version": "compute " + w.mv.String(), "X-OpenStack-Nova-API-Version": w.mv.String(),
		headerRequestID: requestID, "User-Agent": s.provider.UserAgent.Join(),
	} {
		req.Header.Set(k, v)
	}
	return req, nil
}

// verdict classifies the answer to a write by its status, in doubt as unanswered:
//
//	2xx                          accepted, whatever its body (Nova's 200 to evacuate has none)
//	401 with WWW-Authenticate    the token check in front of Nova: no effect
//	401 without                  may come from within Nova, which asks Neutron and others: unknown
//	1xx, 408, 5xx                a proxy, or Nova after it began: unknown
//	429                          a rate limiter in front of Nova: no effect
//	3xx, other 4xx               a clear no
func verdict(resp *http.Response, novaID string) error {
	status := resp.StatusCode
	if status >= 200 && status <= 299 {
		return nil
	}
	msg := novaMessage(readSome(resp.Body))
	switch {
	case status == http.StatusUnauthorized && resp.Header.Get("Www-Authenticate") != "":
		return fmt.Errorf("%w: %w: Nova doesn't accept our token (401): %s", cloud.ErrNotSent, cloud.ErrUnauthorized, msg)
	case status == http.StatusTooManyRequests:
		return fmt.Errorf("%w: too many requests (429): %s", cloud.ErrNotSent, msg)
	case status < 200, status == http.StatusUnauthorized, status == http.StatusRequestTimeout, status >= 500:
		return fmt.Errorf("%w: answered %d: %s %s", cloud.ErrUnanswered, status, msg, novaID)
	case status >= 300 && status <= 399:
		msg = "redirected to " + resp.Header.Get("Location") + ": the compute endpoint in the catalogue is wrong"
	}
	return &cloud.Refused{Status: status, Message: msg, RequestID: novaID}
}

// answered is the Date of an answer, zero if it has none that can be read.
func answered(h http.Header) time.Time {
	t, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// novaMessage finds the sentence in an error's body: {"badRequest": {"message": …}} of Nova and Keystone,
// {"errors": [{"detail": …}]} of Placement, else the text as it is.
func novaMessage(body []byte) string {
	var named map[string]json.RawMessage
	if json.Unmarshal(body, &named) == nil {
		for _, v := range named {
			var one struct{ Message string }
			if json.Unmarshal(v, &one) == nil && one.Message != "" {
				return one.Message
			}
			var list []struct{ Detail, Title string }
			if json.Unmarshal(v, &list) == nil && len(list) > 0 {
				return or(list[0].Detail, list[0].Title)
			}
		}
	}
	text := bytes.TrimSpace(body)
	if len(text) > 300 {
		text = append(bytes.Clone(text[:300]), "…"...)
	}
	return string(text)
}
