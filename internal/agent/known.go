package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/transport"
)

// knownFile is what this host knows of its cluster: how the servers are reached, and the highest epoch. An agent that
// forgot the epoch at its start would obey a leader that has a successor, if that one reached it first.
const knownFile = "cluster.json"

const knownFormat = 1

// knownRecord is the file's content.
type knownRecord struct {
	Format   int                 `json:"format"`
	Epoch    uint64              `json:"epoch"`
	Revision uint64              `json:"revision"` // of servers
	Servers  map[string][]string `json:"servers"`  // agents' ports by the server's name
}

// loadKnown reads what an earlier run has saved; nothing, and nothing in the file, if it can't be read: the servers of
// agent.yaml are a beginning, and the epoch is heard from the first server that leads.
func loadKnown(dir string, log *slog.Logger) transport.Known {
	k, err := readKnown(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Error("what was known of the servers is lost; it begins with those of agent.yaml", "error", err)
		if err := os.Rename(dataFile(dir, knownFile), dataFile(dir, knownFile+".damaged")); err != nil {
			log.Warn("the damaged file stays where it is", "error", err)
		}
	}
	return k
}

func readKnown(dir string) (transport.Known, error) {
	text, err := os.ReadFile(dataFile(dir, knownFile))
	if err != nil {
		return transport.Known{}, err
	}
	var r knownRecord
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return transport.Known{}, fmt.Errorf("%s is damaged: %w", knownFile, err)
	}
	if r.Format != knownFormat {
		return transport.Known{}, fmt.Errorf("%s has format %d, this version of ninelives reads %d", knownFile, r.Format, knownFormat)
	}
	return transport.Known{Epoch: r.Epoch, Revision: r.Revision, Servers: r.Servers}, nil
}

// saveKnown replaces the file at once.
func saveKnown(dir string, k transport.Known) error {
	text, err := json.MarshalIndent(knownRecord{Format: knownFormat, Epoch: k.Epoch, Revision: k.Revision, Servers: k.Servers}, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(dataFile(dir, knownFile), append(text, '\n'))
}
