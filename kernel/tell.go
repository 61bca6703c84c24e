package kernel

import "fmt"

// Tell writes a verdict as nft does.
func Tell(s Step) string { return endText(s) }

// tellOctets writes the octets of a value as nft does.
func tellOctets(v Value, b []byte) string {
	if text := showOf(v, nil)(b); text != "" {
		return text
	}
	return "empty"
}

// String tells the limit in words.
func (l Limit) String() string {
	if el := l.Element; el != nil {
		return el.bound()
	}
	switch s := l.Step.(type) {
	case CountOver:
		return fmt.Sprintf("at most %d connections at once", s.Connections)
	case RateOver:
		return fmt.Sprintf("at most %d new connections a second", s.PerSecond)
	case Change:
		return fmt.Sprintf("at most %d connections at once for %s", s.Over, tellOctets(s.Key, l.Key))
	}
	return "a limit"
}

// bound tells the limit of an element in words.
func (el *Element) bound() string {
	switch {
	case el.Rate == nil:
		return fmt.Sprintf("at most %d connections at once", el.Over)
	case el.Rate.Octets:
		return fmt.Sprintf("at most %d octets a second", el.Rate.PerSecond)
	}
	return fmt.Sprintf("at most %d new connections a second", el.Rate.PerSecond)
}

// String tells the look in words.
func (l Look) String() string {
	switch {
	case l.Found == nil:
		return l.Set + " has nothing for " + l.Text
	case l.Found.Verdict != nil:
		return fmt.Sprintf("%s has for %s: %s", l.Set, l.Text, Tell(l.Found.Verdict))
	case len(l.Found.Data) > 0:
		return fmt.Sprintf("%s has for %s: %s", l.Set, l.Text, showNumber(l.Found.Data))
	}
	return l.Set + " has " + l.Text
}
