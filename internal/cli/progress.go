package cli

import (
	"fmt"
	"sync"
	"time"
)

// patience is how long a command may be silent before it says what it waits for.
const patience = 2 * time.Second

// waiting shows on a terminal, from the third second on, what is waited for. The returned function ends and wipes it.
func (a *app) waiting(what string) func() {
	if !a.env.ErrTerminal {
		return func() {}
	}
	stop := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() {
		began := time.Now()
		timer := time.NewTimer(patience)
		defer timer.Stop()
		wipe := ""
		for {
			select {
			case <-stop:
				fmt.Fprint(a.env.Stderr, wipe)
				return
			case <-timer.C:
				fmt.Fprintf(a.env.Stderr, "%swaiting for %s, %s", wipe, what, span(time.Since(began)))
				wipe = "\r\x1b[K"
				timer.Reset(time.Second)
			}
		}
	})
	return sync.OnceFunc(func() {
		close(stop)
		shown.Wait()
	})
}
