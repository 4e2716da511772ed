package failpoint

// Listed is a point as the list has it.
type Listed struct {
	// Name is the whole name: of a point for ReachOf with the object's noun
	// before it, of a stage noun, kind and stage.
	Name string
	// Operations pass it when nothing goes wrong, or where they are undone.
	Operations []string
}

// All is the list of all points.
func All() []Listed { return nil }
