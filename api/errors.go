package api

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/portolan-lb/portolan/config"
)

// Kind says what sort of error it is. Kinds become HTTP status and exit codes
// in one place: the table below.
type Kind string

// The kinds of errors.
const (
	Invalid     Kind = "invalid"     // the request makes no sense
	NotFound    Kind = "not-found"   // nothing has that name
	NotAllowed  Kind = "not-allowed" // the path is right, the method is not
	Refused     Kind = "refused"     // the configuration is wrong; nothing changed
	Partial     Kind = "partial"     // taken into use but for the zones that the details speak of
	Conflict    Kind = "conflict"    // cannot be done in the present state
	Overloaded  Kind = "overloaded"  // too much at once; try again
	Unavailable Kind = "unavailable" // cannot be done now, or the daemon cannot be reached
	Internal    Kind = "internal"    // our own fault
)

// kinds gives HTTP status and exit code: 1 means no, 2 could not tell.
var kinds = map[Kind]struct{ status, exit int }{
	Invalid:     {http.StatusBadRequest, 2},
	NotFound:    {http.StatusNotFound, 1},
	NotAllowed:  {http.StatusMethodNotAllowed, 2},
	Refused:     {http.StatusUnprocessableEntity, 1},
	Partial:     {http.StatusUnprocessableEntity, 1},
	Conflict:    {http.StatusConflict, 1},
	Overloaded:  {http.StatusServiceUnavailable, 2},
	Unavailable: {http.StatusServiceUnavailable, 2},
	Internal:    {http.StatusInternalServerError, 2},
}

// Error is an error as it travels.
type Error struct {
	Kind    Kind     `json:"kind"`
	Text    string   `json:"error"`
	Details []Detail `json:"details,omitempty"`

	allow string // the Allow header of NotAllowed
}

// Detail is one thing that is wrong with a configuration.
type Detail struct {
	Place   string `json:"place,omitempty"` // file:line:col
	Path    string `json:"path,omitempty"`  // path in the document
	Text    string `json:"text"`
	Hint    string `json:"hint,omitempty"`
	Snippet string `json:"snippet,omitempty"` // the source lines with a caret
	Warning bool   `json:"warning,omitempty"`
}

// Errorf makes an error of a kind.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// Error gives the text alone: one line, without the details.
func (e *Error) Error() string { return e.Text }

// ExitCode is 1 for a plain no and 2 for what could not be told.
func (e *Error) ExitCode() int {
	if k, ok := kinds[e.Kind]; ok {
		return k.exit
	}
	return 2
}

// Details turns a configuration's errors into what travels.
func Details(errs config.Errors) []Detail {
	details := make([]Detail, len(errs))
	for i, e := range errs {
		details[i] = Detail{Path: e.Path, Text: e.Text, Hint: e.Hint, Snippet: e.Snippet, Warning: e.Warning}
		if e.Pos.File != "" {
			details[i].Place = e.Pos.String()
		}
	}
	return details
}

// toError finds the kind of any error.
func toError(err error) *Error {
	var own *Error
	var bad config.Errors
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &bad):
		return &Error{Kind: Refused, Details: Details(bad),
			Text: fmt.Sprintf("the configuration has %s; nothing changed", count(failures(bad), "error"))}
	case errors.As(err, &tooLarge):
		return Errorf(Invalid, "the request has more than %d bytes", tooLarge.Limit)
	default:
		return Errorf(Internal, "%v", err)
	}
}

// failures counts the errors that are more than a warning.
func failures(errs config.Errors) (n int) {
	for _, e := range errs {
		if !e.Warning {
			n++
		}
	}
	return n
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
