package nettest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Contender is one of several that are measured beside each other. The machine
// has other work, so they take turns, one round each, forwards and backwards:
// the least of the rounds tells most, and the median of the ratios of rounds
// that stood side by side.
type Contender struct {
	Name string
	Run  func() float64 // one round
	Got  []float64      // of the rounds so far
}

// Contest has all run in turn, and tells how busy the machine was.
func Contest(rounds int, all ...*Contender) {
	for round := range rounds {
		order := slices.Clone(all)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, c := range order {
			c.Got = append(c.Got, c.Run())
		}
	}
	fmt.Println("load average", LoadAverage())
}

// LoadAverage is how many processes wanted a processor: over the last minute,
// and the last five.
func LoadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	words := strings.Fields(string(text))
	if err != nil || len(words) < 2 {
		return "unknown"
	}
	return words[0] + ", " + words[1]
}

// Median of numbers, of which there is at least one.
func Median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Percentile gives the value that so many of a hundred numbers do not exceed.
func Percentile(list []float64, percent int) float64 {
	s := slices.Sorted(slices.Values(list))
	return s[(len(s)*percent+99)/100-1]
}

// Tell reports a contender, and against another if there is one. less says
// whether less is better.
func (c *Contender) Tell(b *testing.B, unit string, against *Contender, less bool) {
	b.Helper()
	best := slices.Max[[]float64]
	if less {
		best = slices.Min[[]float64]
	}
	line := fmt.Sprintf("%-38s best %9.2f, median %9.2f %s", c.Name, best(c.Got), Median(c.Got), unit)
	if against != nil {
		ratios := make([]float64, len(c.Got))
		for i := range ratios {
			ratios[i] = c.Got[i] / against.Got[i]
		}
		line += fmt.Sprintf("; of %s: best %.3f, median of rounds %.3f", against.Name, best(c.Got)/best(against.Got), Median(ratios))
	}
	fmt.Println(line)
}

// TellPackets reports what packets cost beside a plain gateway: as measured,
// and without what one costs that is dropped as it arrives (floor).
func TellPackets(b *testing.B, floor, plain *Contender, all []*Contender) {
	b.Helper()
	for _, c := range all {
		c.Tell(b, "ns", plain, true)
	}
	fmt.Println("the same without what sending and receiving costs")
	net := func(c *Contender) *Contender {
		n := &Contender{Name: c.Name}
		for i := range c.Got {
			n.Got = append(n.Got, c.Got[i]-floor.Got[i])
		}
		return n
	}
	for _, c := range all {
		if c != floor {
			net(c).Tell(b, "ns", net(plain), true)
		}
	}
}

// Used is the CPU time of this process: in the kernel, and in all.
func Used() (kernel, all time.Duration) {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // fails only for bad arguments
	kernel = time.Duration(u.Stime.Nano())
	return kernel, kernel + time.Duration(u.Utime.Nano())
}

// Worked is the CPU time that a process has had, in all its threads that are
// there.
func Worked(t testing.TB, pid int) (sum time.Duration) {
	t.Helper()
	return schedule(t, pid, 0)
}

// schedule sums one of the times of /proc/PID/schedstat of all threads of a process.
func schedule(t testing.TB, pid, which int) (sum time.Duration) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("process %d: no CPU times in /proc: %v", pid, err)
	}
	for _, name := range tasks {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		times := strings.Fields(string(text))
		if len(times) <= which {
			t.Fatalf("process %d: %q in schedstat", pid, text)
		}
		n, err := strconv.ParseInt(times[which], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(n)
	}
	return sum
}

// Waited is how long the threads of a process, those that are there, have been ready
// to run and had to wait for a processor: what the machine, and not the program, took.
func Waited(t testing.TB, pid int) (sum time.Duration) {
	t.Helper()
	return schedule(t, pid, 1)
}
