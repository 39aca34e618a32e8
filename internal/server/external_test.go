package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExternalEtcdInTheConfiguration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"name: a\netcd: {endpoints: [\"https://10.0.0.1:2379\"]}\n":                                             "",
		"name: a\netcd: {endpoints: [\"http://127.0.0.1:2379\"]}\n":                                             "",
		"name: a\netcd: {endpoints: [\"http://10.0.0.1:2379\"]}\n":                                              "should be https://",
		"name: a\netcd: {endpoints: [\"10.0.0.1:2379\"]}\n":                                                     "should be https://",
		"name: a\netcd: {endpoints: [\"https://10.0.0.1:2379\"]}\ncluster: {initial: {a: \"10.0.0.1:7402\"}}\n": "leave cluster.initial out",
	} {
		file := filepath.Join(t.TempDir(), "server.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadConfig(file)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, expected %q", text, err, want)
		}
	}
}
