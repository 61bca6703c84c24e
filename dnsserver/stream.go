package dnsserver

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/portolan-lb/portolan/config"
)

const (
	streamBuffer = 2048             // octets of queries that are read at once
	laneReply    = 2048             // octets of the replies that a lane makes without allocating
	burst        = 16 << 10         // octets of replies that wait for the next query in the buffer
	slowAnswer   = time.Millisecond // an answer that takes longer must not hold up the next query
	parallel     = 4                // lanes that a burst of queries gets at most, however many cores there are
	lingerOctets = 64 << 10         // that a client may yet send after we said that we are done
	lingering    = time.Second      // for a client to take the last answers after we said that they are
)

// stream is one TCP connection with its queries and replies (RFC 7766).
//
// Its work is done by lanes, goroutines that take a query, answer it and give
// the reply away, again and again. One lane is all that a client needs who asks
// one thing at a time:
//
//	take ──> handle ──> give ──> take (waits for the client) ...
//
// More lanes are there for as long as they help: a few when whole queries wait
// in the buffer, so that one client can use several cores; and one whenever an
// answer takes longer than slowAnswer with nobody left to take the next query,
// up to the limit. Answers so overtake each other (RFC 7766 6.2.1.1). A lane
// that comes back and finds another one waiting for the client ends.
type stream struct {
	*connection
	l  *tcpListener
	wg *sync.WaitGroup // counts lanes, and the timer while it runs

	mu      sync.Mutex
	in      *bufio.Reader // belongs to the lane that is reading, else to who holds mu
	lanes   int
	reading bool // a lane waits for the client
	ended   bool // nothing more is read
	last    bool // we ended it, and the client does not know yet
	taken   int  // queries so far
	slow    *time.Timer

	out, spare []byte // replies with their lengths; the buffer that was written last
	writing    int    // octets that are being written; then out is added to by others
	failed     bool   // the client takes nothing more
	stuck      int    // lanes that wait for room in out
	room       sync.Cond
	writeBy    time.Time // the deadline that is set
	looked     bool      // at the round trip time; belongs to who writes
}

// lane is what one goroutine of a stream owns.
type lane struct{ msg, out []byte }

func newLane() any { return &lane{msg: make([]byte, 0, 512), out: make([]byte, laneReply)} }

// talk answers the queries of one connection until it ends, and closes it.
func (l *tcpListener) talk(c *connection, wg *sync.WaitGroup) {
	newStream(l, c, wg).run()
}

// newStream makes a stream with one lane, which is to be run.
func newStream(l *tcpListener, c *connection, wg *sync.WaitGroup) *stream {
	s := &stream{connection: c, l: l, wg: wg, in: bufio.NewReaderSize(c.conn, streamBuffer), lanes: 1}
	s.room.L = &s.mu
	return s
}

// run is one lane. The last one to leave closes the connection.
func (s *stream) run() {
	lane := s.l.lanes.Get().(*lane)
	for s.take(lane) {
		if reply := s.l.h.handle(lane.msg, s.source, lane.out); reply != nil {
			s.give(reply)
		}
		if cap(lane.msg) > streamBuffer {
			lane.msg = nil // a large query is no reason to keep its room
		}
	}
	s.l.lanes.Put(lane)
	s.mu.Lock()
	s.lanes--
	final := s.lanes == 0
	if final && s.slow != nil && s.slow.Stop() {
		s.wg.Done()
	}
	s.mu.Unlock()
	if final {
		s.finish()
	}
}

// take gets the next query for a lane. It is false when the lane is not needed
// any more: another one reads, or the connection has ended.
func (s *stream) take(lane *lane) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading || s.ended || s.failed {
		return false
	}
	limits := s.l.server.limits()
	if !s.whole() && !s.wait(limits) {
		return false
	}
	read := s.read
	if !s.whole() { // larger than the buffer, or only begun
		read = s.await
	}
	if err := read(lane); err != nil {
		s.end(err)
		return false
	}
	s.moved()
	s.count(limits)
	s.share(limits)
	return true
}

// whole says whether a whole message is in the buffer.
func (s *stream) whole() bool {
	if s.in.Buffered() < 2 {
		return false
	}
	length, _ := s.in.Peek(2)
	return s.in.Buffered() >= 2+int(binary.BigEndian.Uint16(length))
}

// wait sends what there is to send and waits for the first octets of a query,
// for the idle time, or as long as answers are being made. It is called, and
// returns, with mu held.
func (s *stream) wait(limits *config.Limits) bool {
	s.reading = true
	defer func() { s.reading = false }()
	if s.slow != nil && s.slow.Stop() {
		s.wg.Done()
	}
	s.flush()
	for !s.failed && !s.ended {
		until, why := s.l.server.conns.until(s.connection, limits)
		_ = s.conn.SetReadDeadline(until) // with mu held: fail's own comes after ours
		s.mu.Unlock()
		err := error(os.ErrDeadlineExceeded)
		if !s.l.server.conns.stopping.Load() { // asked after setting the deadline: stop's own comes after ours
			_, err = s.in.Peek(2)
		}
		s.mu.Lock()
		switch {
		case err == nil:
			return true
		case s.l.server.conns.stopping.Load() || s.failed || !isTimeout(err):
			s.end(err)
		case why == limitConnectionTime:
			s.l.server.reach(why)
			s.ended, s.last = true, true
		case s.lanes == 1 || s.in.Buffered() > 0: // else the client waits, not we
			s.end(err)
		}
	}
	return false
}

// end notes that nothing more is read.
func (s *stream) end(err error) {
	if isTimeout(err) && !s.ended && !s.failed && !s.l.server.conns.stopping.Load() {
		s.l.server.reach(limitIdleTimeout)
	}
	s.ended = true
}

func isTimeout(err error) bool {
	late, ok := err.(net.Error)
	return ok && late.Timeout()
}

// read reads one message behind its length (RFC 1035 4.2.2). One that is
// shorter than a header ends the connection: whatever comes next, it is not
// where a length is to be found.
func (s *stream) read(lane *lane) error {
	var length [2]byte
	if _, err := io.ReadFull(s.in, length[:]); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n < headerSize {
		s.l.h.count.drop(dropMalformed)
		return io.ErrUnexpectedEOF
	}
	if cap(lane.msg) < n {
		lane.msg = make([]byte, n)
	}
	lane.msg = lane.msg[:n]
	_, err := io.ReadFull(s.in, lane.msg)
	return err
}

// await is read for a message that is not here yet. It is called, and returns,
// with mu held; the deadline is that of wait, for a query that comes octet by
// octet is no query.
func (s *stream) await(lane *lane) error {
	s.reading = true
	s.mu.Unlock()
	err := s.read(lane)
	s.mu.Lock()
	s.reading = false
	return err
}

// count ends a connection that has had all that one may have.
func (s *stream) count(limits *config.Limits) {
	s.taken++
	switch {
	case limits.ConnectionQueries > 0 && s.taken >= limits.ConnectionQueries:
		s.l.server.reach(limitConnectionQueries)
	case limits.ConnectionTime > 0 && time.Since(s.opened) >= time.Duration(limits.ConnectionTime):
		s.l.server.reach(limitConnectionTime)
	default:
		return
	}
	s.ended, s.last = true, true
}

// share sees to it that the queries behind the one that was taken are answered
// too: by another lane at once if they are here already, else by one that comes
// if this answer is slow.
func (s *stream) share(limits *config.Limits) {
	if s.ended {
		return
	}
	if s.lanes < min(limits.QueriesPerConnection, s.l.parallel) && s.whole() {
		s.open()
	}
	switch {
	case s.slow == nil:
		s.wg.Add(1)
		s.slow = time.AfterFunc(slowAnswer, s.hasten)
	case !s.slow.Reset(slowAnswer):
		s.wg.Add(1)
	}
}

// open adds a lane.
func (s *stream) open() {
	s.lanes++
	s.wg.Go(s.run)
}

// hasten is called when all lanes have been answering for a while. Without a
// lane to spare, what is ready is sent at least.
func (s *stream) hasten() {
	defer s.wg.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.reading || s.ended || s.failed || s.lanes == 0 || s.stuck > 0:
	case s.lanes < s.l.server.limits().QueriesPerConnection:
		s.open()
		return // it sends before it waits
	default:
		s.l.server.reach(limitQueriesPerConnection)
	}
	s.flush()
}

// give hands a reply over to be sent: at once, or together with those to the
// queries that are in the buffer already. It waits while the client has too
// much to take.
func (s *stream) give(reply []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := int(s.l.server.limits().ConnectionBuffer)
	for s.writing+len(s.out) >= most && !s.failed {
		if s.writing == 0 {
			s.flush()
			continue
		}
		s.l.server.reach(limitConnectionBuffer)
		s.stuck++
		s.room.Wait()
		s.stuck--
	}
	s.out = binary.BigEndian.AppendUint16(s.out, uint16(len(reply)))
	s.out = append(s.out, reply...)
	if len(s.out) >= min(burst, most) || s.reading || s.ended || !s.whole() {
		s.flush()
	}
}

// flush writes the replies that wait, length and message in one go (RFC 7766
// section 8), unless another lane is at it: that one goes on until there is
// nothing left. It is called, and returns, with mu held.
func (s *stream) flush() {
	for len(s.out) > 0 && s.writing == 0 && !s.failed {
		batch := s.out
		s.out, s.spare = s.spare[:0], nil
		s.writing = len(batch)
		s.mu.Unlock()
		err := s.write(batch)
		s.mu.Lock()
		s.writing = 0
		if cap(batch) <= burst {
			s.spare = batch[:0]
		}
		if err != nil {
			s.fail(err)
		}
		s.room.Broadcast()
	}
}

// fail gives a client up that does not take its answers.
func (s *stream) fail(err error) {
	if isTimeout(err) {
		s.l.server.reach(limitWriteTimeout)
	}
	s.failed, s.out = true, nil
	_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // for the lane that waits for it
}

// write writes, with the write time to do it in. A deadline costs time to set,
// so one that is a quarter too late will do for a while.
func (s *stream) write(batch []byte) error {
	now, allowed := time.Now(), time.Duration(s.l.server.limits().WriteTimeout)
	if by := now.Add(allowed); s.writeBy.Before(by) || s.writeBy.After(by.Add(allowed)) {
		s.writeBy = by.Add(allowed / 4)
		_ = s.conn.SetWriteDeadline(s.writeBy)
	}
	if !s.looked {
		s.looked = true
		s.look()
	}
	_, err := s.conn.Write(batch)
	if err == nil {
		s.moved()
	}
	return err
}

// finish closes the connection when its last lane has ended. If it was we who
// ended it, the client may be sending: closing now could take the answers from
// it that are on their way, so it is told first and has a moment to read them.
func (s *stream) finish() {
	s.mu.Lock()
	for s.flush(); s.writing > 0; { // hasten is at it
		s.room.Wait()
	}
	last := s.last && !s.failed
	s.mu.Unlock()
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok && last && half.CloseWrite() == nil {
		_ = s.conn.SetReadDeadline(time.Now().Add(lingering))
		if !s.l.server.conns.stopping.Load() {
			_, _ = io.CopyN(io.Discard, s.conn, lingerOctets)
		}
	}
	s.l.server.conns.close(s.connection)
}
