package server

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// FuzzConfig reads server.yaml: whatever is in it, it ends in a configuration whose times can be derived, or in mistakes
// with their lines.
func FuzzConfig(f *testing.F) {
	sample, err := os.ReadFile("../../deploy/server.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	for _, s := range []string{
		"", "name: a\nlisten: {api: ':7400'}\n", "times: {pulse: 1ms}\n", "times: {dead_after: -1s, request_ttl: 9999999h}\n",
		"name: b\ncluster: {initial: {a: 'x:1', b: ''}}\n", "listen: {api: '0.0.0.0:1', agents: '[::]:2', cluster: x}\ntls: {cert: c}\n", "cloud: [1\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := DefaultConfig()
		file, err := yamlfile.Parse("server.yaml", data, &c)
		if err != nil {
			return // the business of yamlfile
		}
		list := c.mistakes(file)
		for _, m := range list {
			if m.Message == "" || m.Line < 0 || m.Line > strings.Count(string(data), "\n")+1 {
				t.Errorf("line %d: %q", m.Line, m.Message)
			}
		}
		if len(list) > 0 {
			return
		}
		times, err := c.times()
		if err != nil || times.Pulse <= 0 || times.Permit <= 0 || times.RequestTTL <= 0 {
			t.Errorf("taken, with the times %+v: %v", times, err)
		}
	})
}

// All wrong times are told at once, each where it stands.
func TestAllWrongTimesAreTold(t *testing.T) {
	c := DefaultConfig()
	file, err := yamlfile.Parse("server.yaml", []byte("name: a\ntimes:\n  pulse: 1ms\n  dead_after: 3s\n  leaving: 1h\n  request_ttl: 1s\n"), &c)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range c.mistakes(file) {
		got = append(got, fmt.Sprintf("%d:%d %s", m.Line, m.Column, strings.SplitN(m.Message, " ", 2)[0]))
	}
	if want := "3:10 pulse:, 4:15 dead_after:, 6:16 request_ttl:"; strings.Join(got, ", ") != want {
		t.Errorf("got %s, want %s", strings.Join(got, ", "), want)
	}
}
