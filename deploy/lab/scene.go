package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// scene is something that happens to a network, and what clients see of it. It
// fails where they see something else, and leaves the lab as it was.
type scene struct {
	name string
	tell string
	play func(context.Context, *stage) error
}

// scenes in the order in which all of them are played.
var scenes = []scene{
	{"server", "kill a server; its address leaves the answers, and comes back with it", sceneServer},
}

// stage is a lab with somebody watching.
type stage struct {
	*lab
	out io.Writer
}

func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(s.out, "  "+format+"\n", args...)
}

// perform plays the scenes of that name, or all.
func (s *stage) perform(ctx context.Context, name string) error {
	found := false
	for _, c := range scenes {
		if name != "all" && name != c.name {
			continue
		}
		found = true
		began := time.Now()
		fmt.Fprintf(s.out, "\n%s: %s\n", c.name, c.tell)
		if err := c.play(ctx, s); err != nil {
			return fmt.Errorf("scene %s: %w", c.name, err)
		}
		s.say("as it should be; %.1f s", time.Since(began).Seconds())
	}
	if !found {
		return fmt.Errorf("there is no scene %s; there are %s and all", name, sceneNames())
	}
	return nil
}

func sceneNames() string {
	var names []string
	for _, c := range scenes {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

// until polls until a condition holds, and says how long that took. The bound
// is generous: machines are busy. What is true of a fast one is told, not
// asserted.
func until(ctx context.Context, bound time.Duration, what string, is func() error) (time.Duration, error) {
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := is()
		took := time.Since(began)
		switch {
		case err == nil:
			return took, nil
		case took > bound:
			return took, fmt.Errorf("%s: not within %s: %w", what, bound, err)
		}
		select {
		case <-ctx.Done():
			return took, ctx.Err()
		case <-tick.C:
		}
	}
}

// answers asks for a name some times over the client's own ISP, and gives the
// virtual servers that it was sent to, in order and once each.
func (s *stage) answers(ctx context.Context, from, name string) ([]string, error) {
	const times = 8
	var seen []string
	for range times {
		answer, _, err := s.ask(ctx, from, clientOf(from).isp, name)
		if err != nil {
			return nil, fmt.Errorf("%s asks for %s: %w", from, name, err)
		}
		if v := s.behind(answer); !slices.Contains(seen, v) {
			seen = append(seen, v)
		}
	}
	slices.Sort(seen)
	return seen, nil
}

// becomes waits until the answers to a client are of the wanted virtual
// servers only, and says how long that took.
func (s *stage) becomes(ctx context.Context, bound time.Duration, from, name string, want func(virtual string) bool) (time.Duration, error) {
	var last []string
	took, err := until(ctx, bound, from+" asks for "+name, func() (err error) {
		if last, err = s.answers(ctx, from, name); err != nil {
			return err
		}
		if slices.ContainsFunc(last, func(v string) bool { return !want(v) }) {
			return fmt.Errorf("it gets %s", strings.Join(last, ", "))
		}
		return nil
	})
	if err == nil {
		s.say("%-6s asks for %s: %s", from, name, strings.Join(last, ", "))
	}
	return took, err
}

// is, isNot and by choose virtual servers.
func is(name string) func(string) bool { return func(v string) bool { return v == name } }
func isNot(name string) func(string) bool {
	return func(v string) bool { return v != name && strings.Contains(v, "-") }
}
func by(link string) func(string) bool {
	return func(v string) bool { return strings.HasSuffix(v, "-"+link) }
}

// shows runs dig as a person would, and prints what it says.
func (s *stage) shows(ctx context.Context, from, name string) error {
	out, err := s.dig(ctx, from, "+short", name+".lab.example")
	if err != nil {
		return err
	}
	s.say("%s$ dig +short %s.lab.example: %s", from, name, strings.Join(strings.Fields(out), " "))
	return nil
}
