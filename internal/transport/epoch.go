package transport

import (
	"fmt"
	"sync"
)

// EpochFence refuses orders of deposed leaders: it remembers the highest epoch seen and admits none below it.
// The zero EpochFence has seen nothing. Safe for concurrent use.
type EpochFence struct {
	mu      sync.Mutex
	highest uint64
}

// StaleEpochError says that an order came from a leader that has a successor.
type StaleEpochError struct {
	Epoch, Highest uint64
}

// Error says both epochs.
func (e *StaleEpochError) Error() string {
	if e.Epoch == 0 {
		return "the order carries no epoch"
	}
	return fmt.Sprintf("the order is of epoch %d, but epoch %d has begun", e.Epoch, e.Highest)
}

// Admit takes note of an order's epoch. It returns a *StaleEpochError for an epoch below one seen before, and for epoch
// 0: an order without a leader is no order.
func (f *EpochFence) Admit(epoch uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if epoch == 0 || epoch < f.highest {
		return &StaleEpochError{Epoch: epoch, Highest: f.highest}
	}
	f.highest = epoch
	return nil
}

// See takes note of an epoch that a server mentions (Welcome, Ack). An older one is no error: that server has not yet
// heard of its new leader.
func (f *EpochFence) See(epoch uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.highest = max(f.highest, epoch)
}

// Highest is the highest epoch seen, 0 for none.
func (f *EpochFence) Highest() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.highest
}
