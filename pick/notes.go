package pick

// Note is what the owner is to remember of a choice once it is served, in terms
// of the owner's algorithm.
type Note struct {
	Circle uint16 // among whom
	Choice int    // which
}

// Notes collects the notes of one question, those of nested groups too. A nil
// Notes takes none: choices that nobody is served (explain, comparisons) leave
// no trace.
type Notes struct{ list []Note }

// List gives what was noted.
func (n *Notes) List() []Note {
	if n == nil {
		return nil
	}
	return n.list
}

// Note adds a note.
func (in *Input) Note(n Note) {
	if in.Notes != nil {
		in.Notes.list = append(in.Notes.list, n)
	}
}

// Untraced is the input for an algorithm that another one asks, such as its tie:
// what that one sees in members is not told.
func (in Input) Untraced() Input {
	in.trace = nil
	return in
}
