package transport

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// As many as there are places; the others in turn; who waits too long is sent away; who stays too long keeps nobody out.
func TestDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := make(door, 1)
		first, err := d.enter()
		if err != nil {
			t.Fatal(err)
		}
		came := make(chan func(), 1)
		go func() {
			leave, err := d.enter()
			if err != nil {
				t.Error(err)
			}
			came <- leave
		}()
		synctest.Wait()
		if len(came) != 0 {
			t.Fatal("two are in where one has room")
		}
		first()
		second := <-came

		began := time.Now()
		third, err := d.enter() // the second one takes too long
		if err != nil || time.Since(began) != maxStay {
			t.Fatalf("after %s: %v", time.Since(began), err)
		}
		second() // late, and once only: the third one's place is not his to give
		if len(d) != 1 {
			t.Fatal("somebody else's place was given back")
		}
		third()
		if len(d) != 0 {
			t.Fatal("the place was not given back")
		}
	})
}

func TestDoorSendsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := make(door) // nobody gets in
		began := time.Now()
		if _, err := d.enter(); !errors.Is(err, errBusy) || time.Since(began) != maxWait {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}
