package config

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // zones mean the same on hosts that know none
)

// Schedule is a time of the week: on these days from one time of the day to
// another. One that ends before it begins goes on past midnight, into the day
// after the one that it names.
type Schedule struct {
	Days []Days    `yaml:"days" json:"days,omitempty"` // such as mon-fri or sat; a range may go round: fri-mon (default every day)
	From TimeOfDay `yaml:"from" json:"from"`           // begins, such as "08:00" (default 00:00)
	To   TimeOfDay `yaml:"to" json:"to"`               // ends: this minute is no part of it (default 24:00)
	Zone string    `yaml:"zone" json:"zone,omitempty"` // time zone of the IANA list, such as Europe/Madrid or UTC (default the zone of the host)
	Pos  Pos       `yaml:"-" json:"-"`

	Location *time.Location `yaml:"-" json:"-"` // that Zone names, filled in by Load
}

// Days is a day of the week, or several in a row: mon, or mon-fri.
type Days struct {
	From time.Weekday `json:"from"`
	To   time.Weekday `json:"to"` // may come before From: fri-mon
}

// TimeOfDay is a time of the day on the clock, in minutes since midnight: 0 to
// 1440, written "08:30"; "24:00" is the end of the day.
type TimeOfDay int

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} // in the order of [time.Weekday]

// Has says whether a day is one of them.
func (d Days) Has(day time.Weekday) bool { return (day-d.From+7)%7 <= (d.To-d.From+7)%7 }

// String writes mon or mon-fri.
func (d Days) String() string {
	if d.From == d.To {
		return weekdays[d.From]
	}
	return weekdays[d.From] + "-" + weekdays[d.To]
}

// MarshalText writes what String does.
func (d Days) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what String writes, and whole words: Monday.
func (d *Days) UnmarshalText(text []byte) error {
	low, high, isRange := strings.Cut(strings.ToLower(string(text)), "-")
	from, ok := weekday(low)
	to := from
	if ok && isRange {
		to, ok = weekday(high)
	}
	if !ok {
		return fmt.Errorf("%s is no day such as mon, nor a range such as mon-fri", quote(string(text)))
	}
	*d = Days{from, to}
	return nil
}

func weekday(word string) (time.Weekday, bool) {
	for day, name := range weekdays {
		if word == name || word == strings.ToLower(time.Weekday(day).String()) {
			return time.Weekday(day), true
		}
	}
	return 0, false
}

// String writes 08:30.
func (t TimeOfDay) String() string { return fmt.Sprintf("%02d:%02d", int(t)/60, int(t)%60) }

// MarshalText writes what String does.
func (t TimeOfDay) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads 08:30.
func (t *TimeOfDay) UnmarshalText(text []byte) error {
	var digits [4]int
	bad := len(text) != 5 || text[2] != ':'
	for i, at := range []int{0, 1, 3, 4} {
		if !bad {
			digits[i] = int(text[at]) - '0'
			bad = digits[i] < 0 || digits[i] > 9
		}
	}
	v, minutes := (digits[0]*10+digits[1])*60, digits[2]*10+digits[3]
	if bad || minutes > 59 || v+minutes > endOfDay {
		return fmt.Errorf("%s is no time of the day such as \"08:30\"; \"24:00\" is its end", quote(string(text)))
	}
	*t = TimeOfDay(v + minutes)
	return nil
}

// endOfDay is 24:00.
const endOfDay = 24 * 60

func (s *Schedule) defaults() { *s = Schedule{To: endOfDay, Location: time.Local} }

// Holds says whether a moment is in the schedule, by the clock on the wall of
// its zone.
func (s *Schedule) Holds(at time.Time) bool {
	at = at.In(s.Location)
	now := TimeOfDay(at.Hour()*60 + at.Minute())
	if s.From < s.To {
		return s.From <= now && now < s.To && s.on(at.Weekday())
	}
	return now >= s.From && s.on(at.Weekday()) || now < s.To && s.on((at.Weekday()+6)%7)
}

func (s *Schedule) on(day time.Weekday) bool {
	for _, d := range s.Days {
		if d.Has(day) {
			return true
		}
	}
	return len(s.Days) == 0
}

func (s *Schedule) check(c *checker) {
	c.empty(&s.Days, len(s.Days))
	distinct(c, s.Days)
	switch {
	case s.From == endOfDay:
		c.bad(&s.From, "24:00 is where a day ends; write 00:00")
	case s.From == s.To:
		c.bad(&s.To, "%v is where it begins as well: it would hold at no time; write 24:00 for the end of the day", s.To)
	}
	if !c.given(&s.Zone) {
		return
	}
	where, err := time.LoadLocation(s.Zone)
	if s.Zone == "" || s.Zone == "Local" || err != nil {
		c.bad(&s.Zone, "%s is no time zone of the IANA list such as Europe/Madrid or UTC", quote(s.Zone))
		return
	}
	s.Location = where
}
