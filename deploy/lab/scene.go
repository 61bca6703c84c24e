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
	{"fill", "fill a link past its threshold; new clients get the other one", sceneFill},
	{"lapse", "fill both links; with nowhere better to go, clients get what they would get without busy protection", sceneLapse},
	{"pull", "pull the cable of a link; everybody is sent by the other one", scenePull},
	{"near", "a first query, the warm-up, and the answer by measured distance", sceneNear},
	{"cost", "change the cost of a link; what was measured is cleared, and the answers follow", sceneCost},
	{"latency", "move a link far away; the answers follow as networks are measured again", sceneLatency},
	{"passive", "a network that nothing is sent to; its distance shows when it asks over TCP", scenePassive},
	{"outbound", "an office shares three links; pull the cable of one, and put it back", sceneOut},
	{"sticky", "clients keep their link; those of a dead one move, and stay", sceneSticky},
	{"dns", "queries of the office are answered by the resolver of a well-chosen link", sceneDNS},
	{"farm", "connections to a farm, by weight; kill a server, and start it again", sceneFarm},
	{"farm-dns", "kill servers until too few are left; the name leads elsewhere", sceneFarmDNS},
	{"flood", "forge the sources of queries; nobody is measured beyond the budget, and clients are served", sceneFlood},
}

// stage is a lab with somebody watching.
type stage struct {
	*lab
	out io.Writer
}

func (s *stage) say(format string, args ...any) {
	fmt.Fprintf(s.out, "  "+format+"\n", args...)
}

// chosen gives the scenes of that name, or all.
func chosen(name string) ([]scene, error) {
	if name == "all" {
		return scenes, nil
	}
	for _, c := range scenes {
		if c.name == name {
			return []scene{c}, nil
		}
	}
	return nil, fmt.Errorf("there is no scene %s; there are %s and all", name, sceneNames())
}

// perform plays the scenes of that name, or all.
func (s *stage) perform(ctx context.Context, name string) error {
	all, err := chosen(name)
	if err != nil {
		return err
	}
	for _, c := range all {
		began := time.Now()
		fmt.Fprintf(s.out, "\n%s: %s\n", c.name, c.tell)
		if err := c.play(ctx, s); err != nil {
			return fmt.Errorf("scene %s: %w", c.name, err)
		}
		s.say("as it should be; %.1f s", time.Since(began).Seconds())
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
func until(ctx context.Context, bound time.Duration, is func() error) (time.Duration, error) {
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
			return took, fmt.Errorf("not within %s: %w", bound, err)
		}
		select {
		case <-ctx.Done():
			return took, ctx.Err()
		case <-tick.C:
		}
	}
}

// viewer is a client network that asks the gateway by a link.
type viewer struct{ from, by string }

func (v viewer) String() string {
	if v.by == clientOf(v.from).isp {
		return v.from
	}
	return v.from + " by " + v.by
}

// viewers ask by the link of their own ISP.
var (
	atHome   = viewer{home, telecom}
	atSchool = viewer{school, telecom}
	atShop   = viewer{shop, unicom}
	atClinic = viewer{clinic, unicom}
)

// answers asks for a name some times and gives the virtual servers that the
// client was sent to, sorted and once each.
func (s *stage) answers(ctx context.Context, v viewer, name string) ([]string, error) {
	const times = 8
	var seen []string
	for range times {
		answer, _, err := s.ask(ctx, v.from, v.by, name)
		if err != nil {
			return nil, fmt.Errorf("%s asks for %s: %w", v, name, err)
		}
		if server := s.behind(answer); !slices.Contains(seen, server) {
			seen = append(seen, server)
		}
	}
	slices.Sort(seen)
	return seen, nil
}

// choice is what answers are wanted.
type choice struct {
	what string
	ok   func(server string) bool
}

// by wants servers as they are reached by a link, and without one of them.
func by(link string) choice {
	return choice{"servers by " + link, func(server string) bool { return strings.HasSuffix(server, "-"+link) }}
}

func (c choice) without(victim string) choice {
	return choice{c.what + " but " + victim, func(server string) bool { return server != victim && c.ok(server) }}
}

// all says whether every answer is wanted.
func (c choice) all(v viewer, name string, answers []string) error {
	for _, a := range answers {
		if !c.ok(a) {
			return fmt.Errorf("%s asks for %s and gets %s, want %s", v, name, strings.Join(answers, ", "), c.what)
		}
	}
	return nil
}

// becomes waits until every answer is a wanted one, and says how long it took
// until the first was.
func (s *stage) becomes(ctx context.Context, bound time.Duration, v viewer, name string, want choice) (first time.Duration, err error) {
	began := time.Now()
	first, err = until(ctx, bound, func() error {
		answer, _, err := s.ask(ctx, v.from, v.by, name)
		if err != nil {
			return fmt.Errorf("%s asks for %s: %w", v, name, err)
		}
		return want.all(v, name, []string{s.behind(answer)})
	})
	if err != nil {
		return first, err
	}
	var last []string
	if _, err = until(ctx, bound-time.Since(began), func() (err error) {
		if last, err = s.answers(ctx, v, name); err != nil {
			return err
		}
		return want.all(v, name, last)
	}); err != nil {
		return first, err
	}
	s.say("%s asks for %s: %s", v, name, strings.Join(last, ", "))
	return first, nil
}

// stays fails as soon as an answer is not a wanted one, for a while.
func (s *stage) stays(ctx context.Context, while time.Duration, v viewer, name string, want choice) error {
	for began := time.Now(); time.Since(began) < while; {
		last, err := s.answers(ctx, v, name)
		if err == nil {
			err = want.all(v, name, last)
		}
		if err != nil {
			return err
		}
	}
	s.say("%s asks for %s: still %s", v, name, want.what)
	return nil
}

// shows runs dig as a person would, and prints what it says.
func (s *stage) shows(ctx context.Context, v viewer, name string) error {
	out, err := s.dig(ctx, v, "+short", name+".lab.example")
	if err != nil {
		return err
	}
	s.say("%s$ dig @%s +short %s.lab.example: %s", v.from, s.resolver(v.by).Addr(), name, strings.Join(strings.Fields(out), " "))
	return nil
}

// prints runs a command of portolan and prints what it says.
func (s *stage) prints(ctx context.Context, args ...string) error {
	out, err := s.gate.command(ctx, args...)
	if err != nil {
		return err
	}
	s.say("$ portolan %s", strings.Join(args, " "))
	for line := range strings.Lines(out) {
		s.say("  %s", strings.TrimRight(line, "\n"))
	}
	return nil
}
