package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// Options are what New needs. Backend, Token and Listener must be given.
type Options struct {
	Backend Backend
	Token   string // the admin token
	// Trusts reports whether this is the SHA-256, in hex, of another server's admin token; nil: none is.
	Trusts   func(hash string) bool
	Listener net.Listener
	// Certificate makes it TLS (1.2 and later). It is asked at every handshake, so that a renewed one counts at once.
	Certificate func() (*tls.Certificate, error)
	Gatherer    prometheus.Gatherer // of /metrics; nil: none
	Logger      *slog.Logger        // nil: silent
	Now         func() time.Time    // nil: time.Now
	KeepAlive   time.Duration       // between two comments on a silent event stream; 0: 15 s
}

// The limits of a request. An answer may take long (a device check takes 30 s) and be large; events never end.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 2 * time.Minute
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	smallBody     = 64 << 10
	largeBody     = 8 << 20 // a devices.yaml of 10,000 hosts is about 3 MB
	// maxConnections bounds what those without a token can hold open, of the 65,536 files that the unit allows: the database needs some too.
	maxConnections = 8192
)

// Server answers HTTP on one listener.
type Server struct {
	o       Options
	log     *slog.Logger
	http    *http.Server
	openapi huma.API
	ctx     context.Context // ends with Stop: event streams never end by themselves
	cancel  context.CancelFunc
	once    sync.Once
	served  chan struct{}
	stopErr error
}

// New prepares the routes; Start begins to answer.
func New(o Options) (*Server, error) {
	if o.Backend == nil || o.Listener == nil {
		return nil, errors.New("the API needs a backend and a listener")
	}
	if len(o.Token) < 16 {
		return nil, errors.New("the API needs an admin token of at least 16 characters")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = 15 * time.Second
	}
	if o.Gatherer == nil {
		o.Gatherer = prometheus.NewRegistry()
	}
	o.Listener = netutil.LimitListener(o.Listener, maxConnections)
	s := &Server{o: o, log: o.Logger, served: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	mux := http.NewServeMux()
	s.openapi = routes(mux, o, s.ctx)
	if err := documents(mux, s.openapi); err != nil {
		return nil, err
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{}))
	s.http = &http.Server{
		Handler: s.recovered(withToken(o, health(o.Backend), known(mux))), ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	if o.Certificate != nil {
		s.http.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return o.Certificate() }}
	}
	return s, nil
}

// Addr is where it answers.
func (s *Server) Addr() net.Addr { return s.o.Listener.Addr() }

// Start answers in the background.
func (s *Server) Start() {
	go func() {
		defer close(s.served)
		err := s.serve()
		if !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the API has stopped answering", "error", err)
		}
	}()
}

func (s *Server) serve() error {
	if s.http.TLSConfig != nil {
		return s.http.ServeTLS(s.o.Listener, "", "")
	}
	return s.http.Serve(s.o.Listener)
}

// Stop ends event streams at once and other requests within ctx; it may be called more than once, also before Start.
func (s *Server) Stop(ctx context.Context) error {
	s.once.Do(func() {
		s.cancel()
		if err := s.http.Shutdown(ctx); err != nil {
			s.stopErr = errors.Join(fmt.Errorf("cannot end the API's requests in order: %w", err), s.http.Close())
		}
		_ = s.o.Listener.Close() // never served, or closed already
	})
	return s.stopErr
}

// recovered answers a handler's panic, so that one bad request doesn't end a recovery.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { //nolint:errorlint // a sentinel that net/http compares in the same way
				panic(v)
			}
			s.log.Error("a request panicked", "method", r.Method, "path", r.URL.Path, "panic", v)
			write(w, problem(http.StatusInternalServerError, "this is a bug of ours; the server's log has more", "the request failed: %v", v))
		}()
		next.ServeHTTP(w, r)
	})
}
