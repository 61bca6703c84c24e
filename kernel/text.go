package kernel

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Text writes wishes for golden tests and for people: tables in the syntax of
// nft, which nft -c -f takes but for what nft 1.0.6 has no words for.
func (w *Wishes) Text() string {
	var b strings.Builder
	for i := range w.Tables {
		b.WriteString(w.Tables[i].Text())
	}
	return b.String()
}

// Text writes a table in the syntax of nft, with the matches that its rules
// take for granted written out. What makes no sense is told in comments.
func (t *Table) Text() string {
	w := wishOf(t)
	var b strings.Builder
	for _, p := range w.problems {
		fmt.Fprintf(&b, "# %s\n", p)
	}
	fmt.Fprintf(&b, "table %s {\n", longID(t.ID()))
	for _, o := range w.objects {
		fmt.Fprintf(&b, "\t%s\n", o.text())
	}
	for _, name := range w.setNames() {
		b.WriteString(w.setText(w.sets[name]))
	}
	for _, c := range w.chains {
		b.WriteString(w.chainText(c))
	}
	b.WriteString("}\n")
	return b.String()
}

func (o objectWish) text() string {
	if o.helper.Kind == "" {
		return "counter " + o.name + " { }"
	}
	return fmt.Sprintf("ct helper %s { type %q protocol %s; }", o.name, o.helper.Kind, showProtocol([]byte{o.helper.Protocol}))
}

func (s *Set) keyword() string {
	if len(s.Data) > 0 || s.Verdicts {
		return "map"
	}
	return "set"
}

// head tells a set in one line.
func (s *Set) head() string { return fmt.Sprintf("%s %s { %s }", s.keyword(), s.Name, s.typeText()) }

func typesText(list []Type) string {
	var names []string
	for _, t := range list {
		names = append(names, types[t].text)
	}
	return strings.Join(names, " . ")
}

func (s *Set) typeText() string {
	text := "type " + typesText(s.Key)
	switch {
	case s.Verdicts:
		text += " : verdict"
	case len(s.Data) > 0:
		text += " : " + typesText(s.Data)
	}
	return text
}

func (w *tableWish) setText(s *Set) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\t%s %s {\n\t\t%s\n", s.keyword(), s.Name, w.typeOrTypeof(s))
	switch {
	case s.Interval:
		b.WriteString("\t\tflags interval\n")
	case s.counts:
		b.WriteString("\t\tflags dynamic\n")
	case s.Dynamic:
		b.WriteString("\t\tflags dynamic,timeout\n")
	}
	if s.Counted {
		b.WriteString("\t\tcounter\n")
	}
	if s.Timeout > 0 {
		fmt.Fprintf(&b, "\t\ttimeout %s\n", showDuration(s.Timeout))
	}
	if s.Size > 0 {
		fmt.Fprintf(&b, "\t\tsize %d\n", s.Size)
	}
	if all := sorted(s.Elements); len(all) > 0 {
		b.WriteString("\t\telements = {\n")
		for _, el := range all {
			fmt.Fprintf(&b, "\t\t\t%s,\n", s.elementText(el))
		}
		b.WriteString("\t\t}\n")
	}
	b.WriteString("\t}\n")
	return b.String()
}

// typeOrTypeof writes the types of a set as nft wants them: a key that a rule
// looks up by a hash or a turn is for nft no mark.
func (w *tableWish) typeOrTypeof(s *Set) string {
	number := ""
	for _, c := range w.chains {
		for _, r := range c.rules {
			for _, step := range r.steps {
				if v := keyOf(step, s.Name); v != nil {
					number = numberText(v, number)
				}
			}
		}
	}
	if number == "" || len(s.Key) != 1 {
		return s.typeText()
	}
	text := "typeof " + number
	switch {
	case s.Verdicts:
		text += " : verdict"
	case len(s.Data) == 1 && typeofTexts[s.Data[0]] != "":
		text += " : " + typeofTexts[s.Data[0]]
	case len(s.Data) > 0:
		return s.typeText()
	}
	return text
}

// typeofTexts are data as nft tells their types by an example.
var typeofTexts = map[Type]string{TypeNumber: "meta mark", TypeAddr4: "ip daddr", TypeAddr6: "ip6 daddr"}

func numberText(v Value, other string) string {
	switch v := v.(type) {
	case Turn, Lot, Hash:
		return valueText(v)
	}
	return other
}

// keyOf gives the value by which a step looks into a set, if it does.
func keyOf(s Step, set string) Value {
	inside := func(v Value) Value {
		if l, ok := v.(Lookup); ok && l.Map == set {
			return l.Key
		}
		return nil
	}
	switch s := s.(type) {
	case In:
		if s.Set == set {
			return s.Key
		}
		return inside(s.Key)
	case Choose:
		if s.Map == set {
			return s.Key
		}
		return inside(s.Key)
	case CopyMark:
		return inside(s.From)
	case Dup:
		return inside(s.To)
	case Is:
		return inside(s.Of)
	}
	return nil
}

// sorted gives elements in the order of their keys.
func sorted(e *Elements) []Element {
	all := e.list()
	slices.SortFunc(all, func(a, b Element) int { return bytes.Compare(a.Key, b.Key) })
	return all
}

// elementsText tells which elements, if they are many the first few.
func (s *Set) elementsText(list []Element) string {
	const most = 3
	var texts []string
	for _, el := range list[:min(len(list), most)] {
		texts = append(texts, s.elementText(el))
	}
	if len(list) > most {
		texts = append(texts, fmt.Sprintf("... %d in all", len(list)))
	}
	return fmt.Sprintf("element %s { %s }", s.Name, strings.Join(texts, ", "))
}

func (s *Set) elementText(el Element) string {
	text := keyText(s.Key, el.Key)
	if el.End != nil {
		text = rangeText(s.Key, el.Key, el.End)
	}
	if el.Timeout > 0 {
		text += " timeout " + showDuration(el.Timeout)
	}
	if el.Over > 0 {
		text += fmt.Sprintf(" ct count over %d", el.Over)
	}
	if el.Rate != nil {
		text += " " + el.Rate.text()
	}
	switch {
	case el.Verdict != nil:
		text += " : " + stepText(el.Verdict, nil)
	case len(s.Data) > 0:
		text += " : " + keyText(s.Data, el.Data)
	}
	return text
}

func (r *Rate) text() string {
	unit, word := "", "packets"
	if r.Octets {
		unit, word = " bytes", "bytes"
	}
	text := fmt.Sprintf("limit rate over %d%s/second", r.PerSecond, unit)
	if r.Burst > 0 {
		text += fmt.Sprintf(" burst %d %s", r.Burst, word)
	}
	return text
}

// keyText writes the octets of a key or of data by their types.
func keyText(list []Type, b []byte) string {
	if len(b) != widthOf(list) {
		return fmt.Sprintf("%#x", b)
	}
	var parts []string
	for _, t := range list {
		n := types[t].width
		parts = append(parts, types[t].show(b[:n]))
		b = b[min(padded(n), len(b)):]
	}
	return strings.Join(parts, " . ")
}

func (c *chainWish) head() string {
	if c.hook == nil {
		return "chain " + c.name
	}
	return fmt.Sprintf("chain %s { %s }", c.name, c.hook.text())
}

func (h *Hook) text() string {
	return fmt.Sprintf("type %s hook %s priority %d; policy accept;", h.Type, h.Point, h.Priority)
}

func (w *tableWish) chainText(c *chainWish) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\tchain %s {\n", c.name)
	if c.hook != nil {
		fmt.Fprintf(&b, "\t\t%s\n", c.hook.text())
	}
	for _, r := range c.rules {
		fmt.Fprintf(&b, "\t\t%s\n", r.text(w))
	}
	b.WriteString("\t}\n")
	return b.String()
}

// text writes a rule.
func (r *ruleWish) text(w *tableWish) string {
	var parts []string
	for _, s := range r.steps {
		parts = append(parts, stepText(s, w.sets))
	}
	if r.tell != "" {
		parts = append(parts, "comment "+strconv.Quote(strings.ReplaceAll(cutText(r.tell, commentLength), `"`, "'")))
	}
	return strings.Join(parts, " ")
}
