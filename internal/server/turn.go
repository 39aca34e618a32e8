package server

// turn is a lock that may be held while the store is asked. Who waits for it stands still for a simulation's virtual
// time too, which who waits for a sync.Mutex does not.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) Lock() { t <- struct{}{} }

func (t turn) Unlock() { <-t }
