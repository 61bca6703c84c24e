package traffic

import (
	"context"
	"encoding/binary"
	"log/slog"
	"time"

	"github.com/portolan-lb/portolan/kernel"
)

// Room is how many connections those may have who pass on what they have no room
// for: real servers, links. The kernel cannot be asked without counting (ct count
// adds the connection, then compares). Where who is over is dropped that does no
// harm, for what never came to be is soon forgotten. But a connection that goes on to
// another lives, and would count for as long at one who never had it (ADR 24). So
// nobody is asked who is known to be full:
//
//	shut     he is full: passed over, and not counted there    ← asked first
//	full     the limit itself, exact: over it the packet is dropped
//	last     the same connections, bound one lower: who takes it is full by it → shut
//
// Over full without being shut comes only who is in the same microsecond as another
// one, on another processor. His packet is dropped as it would be on a line that is
// too full; he sends it again, and finds the mark.
//
// A connection whom all pass over is to be dropped, so it may be counted: the last
// one is asked in earnest ([Room.Again]). So where all are full what is free again
// is taken at once, as it is without marks.
//
// The mark goes, too, as it is asked whether there is room again, which [Room.Run] does,
// by a packet of our own ([kernel.Kernel.Ask]) that is counted and dropped. What it
// counted is forgotten after two ticks of the kernel's clock (20 ms at most), and
// only then the mark goes, or the next connection might find one too many. Without a
// daemon a mark goes by itself after shutFor. So lists never have anything but what
// lives, whoever dies when, and there is nothing to put right.
//
// Each has a number, below 1 << 24. Of those who are full at once 65,535 can be
// marked.
type Room struct {
	Name       string           // its sets are NAME_full, NAME_last and NAME_shut
	Kind       string           // what they are for, see [flow.Role]
	Tag        byte             // below 128: whose questions they are, other than those of other owners
	Full, Last *kernel.Elements // see [RoomFor]
}

const (
	shutFor  = 10 * time.Second // how long one is taken as full whom nobody asks
	shutSoon = 30 * time.Millisecond

	numberMask = 1<<24 - 1

	// askPriority is before connections are tracked, and before anybody's rules for
	// packets of this machine's own.
	askPriority = -405
)

// RoomFor gives the elements that bound one of a number, of the sets full and last.
func RoomFor(number uint32, most int) (full, last kernel.Element) {
	full = kernel.Element{Key: kernel.Number(number), Over: uint32(most)}
	return full, kernel.Element{Key: kernel.Number(number), Over: uint32(most - 1)} // 0 is no bound: any fills it
}

func (r *Room) set(b *Builder, name string, elements *kernel.Elements) string {
	return b.SetFor(r.Kind, "", kernel.Set{Name: r.Name + "_" + name, Key: []kernel.Type{kernel.TypeNumber}, Elements: elements})
}

func (r *Room) shut(b *Builder) string {
	return b.SetFor(r.Kind, "", kernel.Set{Name: r.shutSet(), Key: []kernel.Type{kernel.TypeNumber}, Dynamic: true, Timeout: shutFor})
}

func (r *Room) shutSet() string { return r.Name + "_shut" }

// Told gives the limit that is to be told for one that a packet came to: of the sets
// full and last the same.
func (r *Room) Told(l kernel.Limit) kernel.Limit {
	if l.Set == r.Name+"_last" && l.Element != nil {
		el := *l.Element
		el.Over++
		l.Element = &el
	}
	return l
}

// IsShut says whether a key in a set is of who is shut.
func (r *Room) IsShut(l kernel.Limit) bool { return l.Set == r.shutSet() }

// Shut goes on if who has a number is known to be full.
func (r *Room) Shut(b *Builder, number kernel.Value) kernel.Step {
	return kernel.In{Key: number, Set: r.shut(b)}
}

// NotShut goes on if he is not.
func (r *Room) NotShut(b *Builder, number kernel.Value) kernel.Step {
	return kernel.In{Key: number, Set: r.shut(b), Not: true}
}

// Enter has a connection enter who is not shut, when nothing else can refuse it any
// more. It writes the chain CHAIN_lost.
func (r *Room) Enter(b *Builder, chain, tell string, number kernel.Value) []kernel.Rule {
	lost := kernel.Goto{Chain: b.Chain(chain+"_lost", func() []kernel.Rule {
		return []kernel.Rule{r.close(b, "", number, 0), Rule("another was quicker: it comes again", b.Count(r.Name+"_lost"), kernel.Drop{})}
	})}
	return []kernel.Rule{Rule(tell, kernel.In{Key: number, Set: r.set(b, "full", r.Full)}, lost), r.last(b, number)}
}

// Again has a connection enter that all others have refused, if who is shut has room
// again and nobody has asked yet; else it goes where it is dropped.
func (r *Room) Again(b *Builder, number kernel.Value, refused kernel.Step) []kernel.Rule {
	return []kernel.Rule{
		Rule("the last one has no room yet", kernel.In{Key: number, Set: r.set(b, "full", r.Full)}, refused),
		Rule("it has room again", kernel.Change{How: kernel.Remove, Set: r.shut(b), Key: number}),
		r.last(b, number),
	}
}

// Force counts a connection at who has it whatever his limit.
func (r *Room) Force(b *Builder, number kernel.Value) []kernel.Rule {
	return []kernel.Rule{Rule("it counts all the same", kernel.In{Key: number, Set: r.set(b, "full", r.Full)}), r.last(b, number)}
}

func (r *Room) last(b *Builder, number kernel.Value) kernel.Rule {
	is := r.close(b, "it is the last one that there was room for", number, 0)
	is.Do = append([]kernel.Step{kernel.In{Key: number, Set: r.set(b, "last", r.Last)}}, is.Do...)
	return is
}

func (r *Room) close(b *Builder, tell string, number kernel.Value, life time.Duration) kernel.Rule {
	return Rule(tell, kernel.Change{How: kernel.Put, Set: r.shut(b), Key: number, Timeout: life})
}

// Ask writes the chain that answers the questions of [Room.Run].
func (r *Room) Ask(b *Builder) {
	const udp = 17
	at := kernel.AskedAt()
	number := kernel.Value(kernel.Priority)
	asked := func() []kernel.Rule {
		full := kernel.Goto{Chain: b.Chain(r.Name+"_asked_full", func() []kernel.Rule {
			return []kernel.Rule{r.close(b, "it stays shut", number, 0), Rule("", kernel.Drop{})}
		})}
		return []kernel.Rule{
			Rule("", kernel.SetPriority{From: kernel.Masked{Of: kernel.Priority, Mask: kernel.Number(numberMask)}}),
			Rule("there is no room yet", kernel.In{Key: number, Set: r.set(b, "full", r.Full)}, full),
			r.close(b, "there is: it opens when the question is forgotten", number, shutSoon),
			Rule("", kernel.Drop{}),
		}
	}
	b.Base(r.Name+"_ask", kernel.Hook{Type: "filter", Point: "output", Priority: askPriority}, func() []kernel.Rule {
		return []kernel.Rule{Rule("the daemon asks whether there is room again",
			kernel.Is{Of: kernel.Masked{Of: kernel.Priority, Mask: kernel.Number(^uint32(numberMask))}, To: kernel.Number(r.question(0))},
			OfProtocol(udp), kernel.Is{Of: kernel.Dest4, To: kernel.Addr(at.Addr())}, kernel.Is{Of: kernel.DestPort, To: kernel.Port(at.Port())},
			kernel.Goto{Chain: b.Chain(r.Name+"_asked", asked)})}
	})
}

func (r *Room) question(number uint32) uint32 { return uint32(r.Tag)<<24 | number }

// RoomKernel is what [Room.Run] asks; a [kernel.Kernel] is one.
type RoomKernel interface {
	Elements(table, set string) ([]kernel.Element, error)
	Ask(numbers ...uint32) error
}

// How often it is looked whether somebody is full, and asked whether he still is.
// Of thousands the kernel's lists are long and questions many: then so seldom that
// it takes no more than one part in askShare of the time, but often enough that marks
// of those who are full do not go by themselves.
const (
	askIdle    = time.Second // nobody has a bound
	askLook    = 200 * time.Millisecond
	askAgain   = 20 * time.Millisecond
	askSeldom  = shutFor / 2
	askShare   = 20
	askAtATime = 512
)

// Run asks until ctx ends. wanted says whether rules of the table have such a
// bound.
func (r *Room) Run(ctx context.Context, k RoomKernel, table string, wanted func() bool, log *slog.Logger) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait := askIdle
		if wanted() {
			began := time.Now()
			shut, err := r.ask(ctx, k, table)
			switch {
			case err != nil: // the table may not be there yet
				log.Debug("it cannot be asked who has room again", "err", err)
			case shut > 0:
				wait = min(max(askAgain, askShare*time.Since(began)), askSeldom)
			default:
				wait = askLook
			}
		}
		timer.Reset(wait)
	}
}

// ask asks for all who are shut and not about to open, and says how many are shut.
func (r *Room) ask(ctx context.Context, k RoomKernel, table string) (shut int, err error) {
	list, err := k.Elements(table, r.shutSet())
	if err != nil {
		return 0, err
	}
	questions := make([]uint32, 0, len(list))
	for i := range list {
		if el := &list[i]; len(el.Key) == 4 && el.Expires > shutSoon {
			questions = append(questions, r.question(binary.NativeEndian.Uint32(el.Key)&numberMask))
		}
	}
	for len(questions) > 0 && ctx.Err() == nil {
		n := min(len(questions), askAtATime)
		if err := k.Ask(questions[:n]...); err != nil {
			return len(list), err
		}
		questions = questions[n:]
	}
	return len(list), nil
}
