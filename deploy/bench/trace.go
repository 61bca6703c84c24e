package main

import (
	"context"
)

func compareTrace(ctx context.Context, o *options) error { return nil }
