package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	portEvery = 5 * time.Second
	// portAnswers is far longer than an overloaded server needs: what follows is the end of this one.
	portAnswers = 5 * time.Second
	// portMissed silent looks in a row, about a minute, mean that the port is dead.
	portMissed = 6
)

// watchPort ends this member when its own cluster port is dead. etcd's TLS listener stops accepting for good after one
// failure, such as too many open files; established connections go on, so that nobody notices before the next one is needed.
func (s *Embedded) watchPort() {
	probe, err := s.newProbe(portAnswers)
	if err != nil {
		s.o.Logger.Warn("the cluster port isn't watched", "error", err)
		return
	}
	own := s.o.scheme() + "://" + s.o.Initial[s.o.Name] // as another server asks it
	err = deaf(s.life, func(ctx context.Context) error {
		_, err := runsAt(ctx, probe, own)
		return err
	})
	if err != nil {
		s.fail(fmt.Errorf("this server's cluster port %s doesn't answer any more, which only a restart mends: %w", s.o.ListenCluster, err))
	}
}

// deaf looks until a port that has answered once is dead, and tells how; nil when ctx ends. Silence alone counts: a refusal
// is an answer, and our own end may have no files left, or no way to an address that others reach.
func deaf(ctx context.Context, look func(context.Context) error) error {
	tick := time.NewTicker(portEvery)
	defer tick.Stop()
	for answered, missed := false, 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := look(ctx)
		if err == nil {
			answered, missed = true, 0
		}
		if wait, ok := errors.AsType[net.Error](err); !ok || !wait.Timeout() || !answered {
			continue
		}
		if missed++; missed == portMissed && ctx.Err() == nil {
			return err
		}
	}
}
