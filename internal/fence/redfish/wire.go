package redfish

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

// maxBody bounds a reply: a system resource has some 10 KiB.
const maxBody = 1 << 20

// link is a Redfish reference to another resource.
type link struct {
	ID string `json:"@odata.id"`
}

// collection is a Redfish list.
type collection struct {
	Members []link `json:"Members"`
}

// system is what we read of a ComputerSystem (DSP2046).
type system struct {
	PowerState   string `json:"PowerState"`
	UUID         string `json:"UUID"`
	SerialNumber string `json:"SerialNumber"`
	Actions      struct {
		Reset struct {
			Target  string   `json:"target"`
			Allowed []string `json:"ResetType@Redfish.AllowableValues"`
		} `json:"#ComputerSystem.Reset"`
	} `json:"Actions"`
}

// power reads DSP2046's PowerState: all but On and Off is a machine on its way.
func (s system) power() fence.State {
	switch s.PowerState {
	case "On":
		return fence.StateOn
	case "Off":
		return fence.StateOff
	}
	return fence.StateUnknown
}

// decode reads one JSON document of a reply.
func decode(data []byte, into any) error {
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("the reply makes no sense: %w", err)
	}
	return nil
}

// refusal is a reply that isn't a success.
type refusal struct {
	status int
	words  string
}

func (r *refusal) Error() string {
	text := fmt.Sprintf("HTTP %d %s", r.status, http.StatusText(r.status))
	if r.words != "" {
		text += ": " + r.words
	}
	return text
}

// Unwrap puts the two refusals that callers tell apart into fence's words.
func (r *refusal) Unwrap() error {
	switch r.status {
	case http.StatusUnauthorized:
		return fence.ErrLogin
	case http.StatusForbidden:
		return fence.ErrPrivilege
	}
	return nil
}

// errorWords takes the most telling message out of a Redfish error body
// (DSP0266, 8.6), as one short printable line.
func errorWords(body []byte) string {
	var e struct {
		Error struct {
			Message string `json:"message"`
			Info    []struct {
				Message string `json:"Message"`
			} `json:"@Message.ExtendedInfo"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	text := e.Error.Message
	for _, info := range e.Error.Info {
		if info.Message != "" {
			text = info.Message
			break
		}
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	const most = 200
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + "…"
	}
	return strings.TrimSpace(text)
}

// do sends one request and returns the body of a 2xx reply.
func (d *device) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	password, err := d.spec.Password()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, d.base.String()+path, strings.NewReader(string(body)))
	if err != nil {
		return nil, fmt.Errorf("cannot ask for %s: %w", path, err)
	}
	if body == nil {
		req.Body, req.ContentLength = http.NoBody, 0
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	// Basic authentication leaves no session behind on a BMC that has eight.
	req.SetBasicAuth(d.spec.Username, password.Reveal())
	req.Header.Set("Accept", "application/json")
	req.Header.Set("OData-Version", "4.0")
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, d.silence(err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up: nothing to lose
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, d.silence(err)
	}
	if len(data) > maxBody {
		return nil, fmt.Errorf("the reply to %s is longer than %d bytes", path, maxBody)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, &refusal{status: resp.StatusCode, words: errorWords(data)}
	}
	return data, nil
}

// silence puts a failed connection into fence's words.
func (d *device) silence(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return fmt.Errorf("the certificate of %s is not trusted (give ca_file, or insecure: true): %w", d.Via(), cert.Err)
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("%w from the BMC", fence.ErrUnreachable)
	}
	return fmt.Errorf("%w from the BMC: %w", fence.ErrUnreachable, err)
}

// sameOrigin lets reads follow a redirect within the service, and nothing else:
// a redirected POST would be a second power command, elsewhere.
func sameOrigin(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	if len(via) > 3 || req.Method != http.MethodGet || req.URL.Host != first.Host || req.URL.Scheme != first.Scheme {
		return http.ErrUseLastResponse
	}
	return nil
}
