package wire

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// redfishTLS is the certificate that all Redfish BMCs show.
type redfishTLS struct {
	cert tls.Certificate
	pem  []byte
}

func newRedfishTLS() (redfishTLS, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return redfishTLS{}, fmt.Errorf("cannot make the BMCs' key: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "simulated BMC"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return redfishTLS{}, fmt.Errorf("cannot make the BMCs' certificate: %w", err)
	}
	return redfishTLS{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

// RedfishCA is the certificate, in PEM, to check Redfish BMCs with.
func (c *Cloud) RedfishCA() []byte { return c.tls.pem }

type redfish struct {
	hardware
	mu       sync.Mutex
	sessions map[string]string // token to session id
}

func (c *Cloud) startRedfish(ctx context.Context, host string) (*bmc, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &redfish{hardware: hardware{c, host}, sessions: map[string]string{}}
	srv := &http.Server{Handler: r.routes(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug)}
	c.wg.Go(func() {
		if err := srv.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{c.tls.cert}, MinVersion: tls.VersionTLS12})); !errors.Is(err, http.ErrServerClosed) {
			c.log.Error("a simulated Redfish BMC ended", "host", host, "error", err)
		}
	})
	return &bmc{driver: "redfish", address: "https://" + l.Addr().String(), web: srv}, nil
}

func (r *redfish) routes() http.Handler {
	const root = "/redfish/v1"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /redfish", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, obj{"v1": root + "/"}) })
	for _, p := range []string{"GET " + root, "GET " + root + "/{$}"} {
		mux.HandleFunc(p, func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, 200, obj{
				"@odata.id": root + "/", "@odata.type": "#ServiceRoot.v1_5_0.ServiceRoot", "Id": "RootService", "Name": "Root Service", "RedfishVersion": "1.6.0",
				"Systems": obj{"@odata.id": root + "/Systems"}, "SessionService": obj{"@odata.id": root + "/SessionService"},
				"Links": obj{"Sessions": obj{"@odata.id": root + "/SessionService/Sessions"}},
			})
		})
	}
	mux.HandleFunc("GET "+root+"/SessionService", r.authed(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, 200, obj{"@odata.id": root + "/SessionService", "Sessions": obj{"@odata.id": root + "/SessionService/Sessions"}})
	}))
	mux.HandleFunc("POST "+root+"/SessionService/Sessions", r.login)
	mux.HandleFunc("DELETE "+root+"/SessionService/Sessions/{id}", r.authed(r.logout))
	mux.HandleFunc("GET "+root+"/Systems", r.authed(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, 200, obj{"@odata.id": root + "/Systems", "@odata.type": "#ComputerSystemCollection.ComputerSystemCollection", "Name": "Systems",
			"Members@odata.count": 1, "Members": []obj{{"@odata.id": root + "/Systems/1"}}})
	}))
	mux.HandleFunc("GET "+root+"/Systems/1", r.authed(r.system))
	mux.HandleFunc("POST "+root+"/Systems/1/Actions/ComputerSystem.Reset", r.authed(r.power))
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !r.answers() { // a dead BMC: the caller waits until its own patience ends
			select {
			case <-q.Context().Done():
			case <-r.c.ctx.Done():
			}
			panic(http.ErrAbortHandler)
		}
		r.slow()
		w.Header().Set("OData-Version", "4.0")
		mux.ServeHTTP(w, q)
	})
}

func (r *redfish) secret() (user, password string) {
	r.c.World(func(w *world.World) { b := w.Host(r.host).BMC; user, password = b.User, b.Password })
	return user, password
}

func (r *redfish) authed(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		_, known := r.sessions[q.Header.Get("X-Auth-Token")]
		r.mu.Unlock()
		user, password := r.secret()
		u, p, basic := q.BasicAuth()
		if !known && (!basic || u != user || p != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="BMC"`)
			redfishError(w, http.StatusUnauthorized, "Base.1.8.NoValidSession", "There is no valid session established with the implementation.")
			return
		}
		h(w, q)
	}
}

func (r *redfish) login(w http.ResponseWriter, q *http.Request) {
	var in struct{ UserName, Password string }
	if err := json.NewDecoder(http.MaxBytesReader(w, q.Body, 4<<10)).Decode(&in); err != nil {
		redfishError(w, http.StatusBadRequest, "Base.1.8.MalformedJSON", "The request body was malformed JSON.")
		return
	}
	if user, password := r.secret(); in.UserName != user || in.Password != password {
		redfishError(w, http.StatusUnauthorized, "Base.1.8.ResourceAtUriUnauthorized", "The login was refused.")
		return
	}
	token, id := r.c.ids.uuid(), r.c.ids.uuid()
	r.mu.Lock()
	r.sessions[token] = id
	r.mu.Unlock()
	self := "/redfish/v1/SessionService/Sessions/" + id
	w.Header().Set("X-Auth-Token", token)
	w.Header().Set("Location", self)
	writeJSON(w, http.StatusCreated, obj{"@odata.id": self, "@odata.type": "#Session.v1_3_0.Session", "Id": id, "Name": "Session", "UserName": in.UserName})
}

func (r *redfish) logout(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	for token, id := range r.sessions {
		if id == q.PathValue("id") {
			delete(r.sessions, token)
		}
	}
	r.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (r *redfish) system(w http.ResponseWriter, _ *http.Request) {
	var uuid, serial string
	var on bool
	var err error
	r.c.World(func(w *world.World) {
		uuid, serial = w.BMCIdentity(r.host)
		on, err = w.BMCPower(r.host)
	})
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	const self = "/redfish/v1/Systems/1"
	writeJSON(w, 200, obj{
		"@odata.id": self, "@odata.type": "#ComputerSystem.v1_10_0.ComputerSystem", "Id": "1", "Name": "System", "SystemType": "Physical",
		"UUID": uuid, "SerialNumber": serial, "PowerState": map[bool]string{true: "On", false: "Off"}[on], "Status": obj{"State": "Enabled", "Health": "OK"},
		"Actions": obj{"#ComputerSystem.Reset": obj{"target": self + "/Actions/ComputerSystem.Reset",
			"ResetType@Redfish.AllowableValues": []string{"On", "ForceOff", "ForceRestart", "PowerCycle"}}},
	})
}

func (r *redfish) power(w http.ResponseWriter, q *http.Request) {
	var in struct{ ResetType string }
	err := json.NewDecoder(http.MaxBytesReader(w, q.Body, 4<<10)).Decode(&in)
	if err != nil {
		redfishError(w, http.StatusBadRequest, "Base.1.8.MalformedJSON", "The request body was malformed JSON.")
		return
	}
	r.c.World(func(w *world.World) {
		switch in.ResetType {
		case "On", "ForceOff":
			err = w.BMCSet(r.host, in.ResetType == "On")
		case "ForceRestart", "PowerCycle":
			err = w.BMCCycle(r.host)
		default:
			err = errors.New("unknown reset type")
		}
	})
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, world.ErrBMCSilent):
		panic(http.ErrAbortHandler)
	case errors.Is(err, world.ErrBMCAlready), errors.Is(err, world.ErrBMCTooEarly):
		redfishError(w, http.StatusConflict, "Base.1.8.ResourceInUse", "The change to the requested resource failed: "+err.Error()+".")
	default:
		redfishError(w, http.StatusBadRequest, "Base.1.8.ActionParameterNotSupported", err.Error())
	}
}

func redfishError(w http.ResponseWriter, code int, id, msg string) {
	writeJSON(w, code, obj{"error": obj{"code": id, "message": msg, "@Message.ExtendedInfo": []obj{{"MessageId": id, "Message": msg}}}})
}
