package probe

import (
	"context"
	"time"
)

// probeTCP connects. Payload and expected text count only if they are set
// (semantics B.9); text may be expected without a payload, as a banner is.
func probeTCP(ctx context.Context, t *Task) Result {
	start := time.Now()
	conn, hangUp, err := t.dial(ctx, "tcp")
	if err != nil {
		return t.failed(err)
	}
	defer hangUp()
	return t.talk(conn, "connected in "+took(time.Since(start)))
}
