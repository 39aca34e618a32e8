package engine

import (
	"fmt"
	"maps"
	"slices"
)

// sameCount holds what the storm interlock counted earlier against what it would count now. The scenarios and the model ask
// it after each step.
func sameCount(t interface{ Fatalf(string, ...any) }, e *Engine) {
	had := e.countStorm()
	e.recount = true
	is := e.countStorm()
	if !maps.EqualFunc(had, is, func(a, b *stormCount) bool {
		return a.seen == b.seen && a.allowed == b.allowed && slices.Equal(a.troubled, b.troubled) && slices.Equal(a.exempt, b.exempt)
	}) {
		t.Fatalf("the storm's count is out of date: in the whole cloud it was %+v, it is %+v", had[""], is[""])
	}
}

// panics fails where there is no test at hand.
type panics struct{}

func (panics) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
