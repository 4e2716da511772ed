package mounted

import (
	"strconv"
	"testing"
)

func TestSet(t *testing.T) {
	var s Set
	next, asked := 0, 0
	there := map[string]bool{}
	exists := func(id string) bool { asked++; return there[id] }
	add := func() bool {
		next++
		there[strconv.Itoa(next)] = true
		return s.Add(strconv.Itoa(next), exists)
	}
	for range 4 * Few {
		if add() {
			t.Fatal("some are gone, while all are there")
		}
	}
	if s.Len() != 4*Few || asked > 4*Few {
		t.Errorf("%d are kept in mind, and it was asked %d times", s.Len(), asked)
	}
	for i := range 4*Few - 1 {
		delete(there, strconv.Itoa(i+1))
	}
	stale := false
	for !stale && next < 100*Few {
		stale = add()
	}
	if !stale || s.Len() != len(there) {
		t.Errorf("some are gone: %v; %d are kept in mind, %d are there", stale, s.Len(), len(there))
	}
	if !add() {
		t.Error("that some are gone is forgotten before the driver was renewed")
	}
	s.Renewed()
	if add() {
		t.Error("some are gone after the driver was renewed")
	}
	last := strconv.Itoa(next)
	if !s.Drop(last) || s.Drop(last) {
		t.Error("what is dropped is not there once")
	}
}
