package pki

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTokenText(t *testing.T) {
	token, record, err := newTestCA(t).NewToken("h1", 0, now)
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseToken(" " + token.Text() + "\n")
	if err != nil || back != token {
		t.Fatalf("ParseToken(Text()) = %v, %v; want %v", back, err, token)
	}
	for _, text := range []string{fmt.Sprint(token), fmt.Sprintf("%#v", token), fmt.Sprintf("%+v", token), fmt.Sprintf("%+v", record)} {
		if strings.Contains(text, token.secret) {
			t.Errorf("the secret is printed: %s", text)
		}
	}
	for _, bad := range []string{"", "a.b", token.Wire(), token.Text() + ".x", strings.Repeat("g", 8) + ".x." + token.CA} {
		if _, err := ParseToken(bad); err == nil {
			t.Errorf("ParseToken(%q) took it", bad)
		}
	}
	if record.Expires.Sub(record.Created) != 24*time.Hour {
		t.Errorf("lives %s, want 24h", record.Expires.Sub(record.Created))
	}
	if _, _, err := newTestCA(t).NewToken("", 0, now); err == nil {
		t.Error("a token for no host was made")
	}
	if _, _, err := newTestCA(t).NewToken("h1", -1, now); err == nil {
		t.Error("a token with a negative life was made")
	}
}

func TestTokenUse(t *testing.T) {
	token, record, err := newTestCA(t).NewToken("h1", time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	m := Machine{UUID: "u1"}
	good := Redemption{Secret: token.secret, Host: "h1", Machine: m, Key: "k1", Now: now.Add(time.Minute)}
	used, err := record.Use(good)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(*Redemption)) Redemption { r := good; f(&r); return r }
	for name, c := range map[string]struct {
		record TokenRecord
		r      Redemption
		err    string
	}{
		"first":                   {record, good, ""},
		"wrong secret":            {record, change(func(r *Redemption) { r.Secret = "x" }), "no such token"},
		"expired":                 {record, change(func(r *Redemption) { r.Now = now.Add(time.Hour) }), "expired"},
		"another host":            {record, change(func(r *Redemption) { r.Host = "h2" }), "is for host h1, not for h2"},
		"no key":                  {record, change(func(r *Redemption) { r.Key = "" }), "without a key"},
		"lost answer, same key":   {used, good, ""},
		"reuse with another key":  {used, change(func(r *Redemption) { r.Key = "k2" }), "was used at"},
		"reuse by another":        {used, change(func(r *Redemption) { r.Machine.UUID = "u2" }), "was used at"},
		"lost answer, wrong word": {used, change(func(r *Redemption) { r.Secret = "x" }), "no such token"},
		"lost answer, too late":   {used, change(func(r *Redemption) { r.Now = now.Add(time.Hour) }), "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.record.Use(c.r)
			if c.err != "" {
				wantError(t, err, c.err)
				return
			}
			if err != nil || got != used {
				t.Fatalf("%+v, %v; want %+v", got, err, used)
			}
		})
	}
}
