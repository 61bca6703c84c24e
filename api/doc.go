// Package api is the door for operators and machines: a small HTTP API on a
// Unix socket, JSON in and out, and the metrics.
//
// It looks at what the other packages know and passes on what operators want
// changed. What it needs from above (apply, reload, explain) it declares as
// small interfaces, which daemon fills. It decides nothing about answers and
// keeps no state of its own. api/client is the other end, for the commands and
// for tests.
//
// Who may open the socket may do everything; it is made with mode 0660. The
// name of the user at the other end is taken from the kernel, not from the
// request.
//
// Start reading at [Options], then routes.go.
package api
