package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// verb is a word that a person types into a lab that runs.
type verb struct {
	usage string
	tell  string
	do    func(ctx context.Context, s *stage, args []string) error
}

var verbs = []verb{
	{"stop SERVER", "kill a server: east-telecom, east-unicom, west-telecom, west-unicom, rack-1 to rack-3", func(_ context.Context, s *stage, args []string) error {
		return s.onServer(args[0], (*server).stop)
	}},
	{"start SERVER", "start it again", func(_ context.Context, s *stage, args []string) error {
		return s.onServer(args[0], (*server).start)
	}},
	{"fill LINK RATE TIME", "real traffic out by a link: fill telecom 18Mbps 20s", func(_ context.Context, s *stage, args []string) error {
		var rate config.Bandwidth
		if err := rate.UnmarshalText([]byte(args[1])); err != nil {
			return err
		}
		longest, err := time.ParseDuration(args[2])
		if err != nil {
			return err
		}
		f, err := s.fill(args[0], rate, longest)
		if err != nil {
			return err
		}
		s.loads.Go(func() {
			if err := f.wait(); err != nil {
				s.say("%v", err)
			}
			s.say("the load out by %s is over: %s", args[0], f)
		})
		return nil
	}},
	{"delay WIRE TIME", "each way from now on: telecom, unicom, mobile or peering", func(_ context.Context, s *stage, args []string) error {
		d, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		return s.setDelay(args[0], d)
	}},
	{"cost LINK N", "by portolan apply", func(ctx context.Context, s *stage, args []string) error {
		var n int
		if _, err := fmt.Sscan(args[1], &n); err != nil {
			return fmt.Errorf("%q is not a cost", args[1])
		}
		return s.gate.setCost(ctx, args[0], n)
	}},
	{"pull LINK", "take the cable out of the gateway", func(_ context.Context, s *stage, args []string) error { return s.pull(args[0], true) }},
	{"plug LINK", "put it back", func(_ context.Context, s *stage, args []string) error { return s.pull(args[0], false) }},
	{"scene NAME", "play a scene, or all; scenes: " + sceneNames(), func(ctx context.Context, s *stage, args []string) error { return s.perform(ctx, args[0]) }},
}

func (s *stage) onServer(name string, f func(*server) error) error {
	if v := s.servers[name]; v != nil {
		return f(v)
	}
	return fmt.Errorf("there is no server %s", name)
}

// open shows the lab to a person and does what they type, until ctx ends or
// they say quit. Without somebody who types it waits for ctx.
func (l *lab) open(ctx context.Context, in *bufio.Scanner, out io.Writer) error {
	s := &stage{l, out}
	s.guide()
	typed := make(chan string)
	go func() { // ends with the process: a read from a terminal cannot be called off
		defer close(typed)
		for in.Scan() {
			select {
			case typed <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case line, ok := <-typed:
			switch {
			case !ok:
				typed = nil
			case strings.TrimSpace(line) == "quit":
				return nil
			default:
				if err := s.obey(ctx, strings.Fields(line)); err != nil {
					s.say("%v", err)
				} else {
					s.say("done")
				}
			}
		}
	}
}

// obey does what a line says.
func (s *stage) obey(ctx context.Context, words []string) error {
	if len(words) == 0 {
		return nil
	}
	for _, v := range verbs {
		if want := strings.Fields(v.usage); want[0] == words[0] {
			if len(want) != len(words) {
				return fmt.Errorf("usage: %s", v.usage)
			}
			return v.do(ctx, s, words[1:])
		}
	}
	if words[0] == "help" {
		s.guide()
		return nil
	}
	return fmt.Errorf("there is no word %s here; help prints all of them", words[0])
}

// guide prints what there is and what to type.
func (s *stage) guide() {
	fmt.Fprintf(s.out, "\nThe lab runs; its files are in %s. The namespaces:\n", s.dir)
	for _, p := range places {
		fmt.Fprintf(s.out, "  %-20s %s\n", s.prefix+p.name, p.tell)
	}
	at := s.resolver(telecom).Addr()
	fmt.Fprintf(s.out, "\nAsk, from another terminal, as root (by unicom: @%s):\n", s.resolver(unicom).Addr())
	for _, c := range clients {
		fmt.Fprintf(s.out, "  ip netns exec %s%s dig @%s -p %d www.lab.example +short\n", s.prefix, c.name, at, s.dns)
	}
	fmt.Fprintf(s.out, "\nAsk why:\n  export PORTOLAN_SOCKET=%s\n", s.file("portolan.sock"))
	for _, line := range []string{"get links", "watch links", "get virtualservers", "get realservers", "get events", "proximity list", fmt.Sprintf("explain www.lab.example A --client %s", s.addr4(netHome, hostClient))} {
		fmt.Fprintf(s.out, "  %s %s\n", s.gate.program, line)
	}
	fmt.Fprintf(s.out, "\nChange something, here:\n")
	for _, v := range verbs {
		fmt.Fprintf(s.out, "  %-20s %s\n", v.usage, v.tell)
	}
	fmt.Fprintf(s.out, "  %-20s what is written above\n  %-20s or Ctrl-C: remove everything\n", "help", "quit")
}
