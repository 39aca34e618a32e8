package server

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"

	"github.com/ninelives-ha/ninelives/internal/api"
)

// openAPI binds the API's port; it answers from Start on. A server whose Config has no address for it has no API.
func (s *Server) openAPI() error {
	addr := s.cfg.Listen.API
	if addr == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen.api: %q is no address: it should be HOST:PORT", addr)
	}
	o := api.Options{Backend: &backend{s: s}, Token: s.admin, Trusts: s.cards.trusts, Gatherer: s.o.Registry, Logger: s.log}
	switch {
	case s.cfg.TLS.Cert != "":
		if o.Certificate, err = s.certificate(); err != nil {
			return err
		}
	case !loopback(host):
		return fmt.Errorf("listen.api: the admin token would travel in clear text on %s; give tls.cert and tls.key, or listen on loopback", addr)
	}
	if o.Listener, err = net.Listen("tcp", addr); err != nil {
		return fmt.Errorf("cannot listen for the API (listen.api in server.yaml): %w", err)
	}
	if s.api, err = api.New(o); err != nil {
		_ = o.Listener.Close() // the first error counts
		return err
	}
	s.stops = append(s.stops, s.api.Stop)
	return nil
}

// certificate reads the API's certificate at every handshake, so that a renewed one needs no restart. One that can't be
// read any more doesn't lock operators out: the last good one stays.
func (s *Server) certificate() (func() (*tls.Certificate, error), error) {
	read := func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(s.cfg.TLS.Cert, s.cfg.TLS.Key)
		if err != nil {
			return nil, fmt.Errorf("cannot use the API's certificate (tls.cert, tls.key in server.yaml): %w", err)
		}
		return &c, nil
	}
	last, err := read()
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	return func() (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		c, err := read()
		if err != nil {
			s.log.Warn("the API keeps its last good certificate", "error", err)
			return last, nil
		}
		last = c
		return c, nil
	}, nil
}

// APIAddr is where the API answers, nil if it doesn't.
func (s *Server) APIAddr() net.Addr {
	if s.api == nil {
		return nil
	}
	return s.api.Addr()
}
