package worker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/fxamacker/cbor/v2"

	"cloudcrowd.dev/cloudcrowd"
)

// spool keeps results on disk until the server has acknowledged them. Results are appended to one log, many at a time; output files, where there are
// any, wait in a folder of the attempt beside it. So a task without outputs costs a hundred bytes of a shared write.
//
// The log is a sequence of records: length (4 bytes, big-endian), CRC-32C of the rest (4 bytes), a CBOR value. A damaged record is left out, a damaged
// end, as a power failure leaves it, is cut off; damage says which. The spool is used by one goroutine at a time.
type spool struct {
	dir    string
	damage []string // what openSpool found damaged, for people
	log    *os.File
	size   int64
	live   map[cloudcrowd.AttemptID]int // bytes of the record that holds it
	held   int64                        // sum of live
}

// spooled is one record: a result, or (Gone) the note that one is not needed any more.
type spooled struct {
	Report cloudcrowd.Report `cbor:"1,keyasint"`
	Upload string            `cbor:"2,keyasint,omitempty"` // token for the outputs
	Folder bool              `cbor:"3,keyasint,omitempty"` // outputs or log wait in the attempt's folder
	Gone   bool              `cbor:"4,keyasint,omitempty"`
}

const (
	recordHead   = 8
	largestEntry = 16 << 20
	emptyAt      = 256 << 10 // an idle log is emptied from this size
	rewriteAt    = 8 << 20   // a busy one is written anew from this size, if half of it is useless
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openSpool reads what an earlier process left.
func openSpool(dir string) (*spool, []spooled, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	s := &spool{dir: dir, live: make(map[cloudcrowd.AttemptID]int)}
	var err error
	if s.log, err = os.OpenFile(filepath.Join(dir, "log"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, nil, err
	}
	waiting, err := s.read()
	if err == nil {
		err = s.clean()
	}
	if err != nil {
		return nil, nil, errors.Join(err, s.log.Close())
	}
	return s, waiting, nil
}

func (s *spool) read() ([]spooled, error) {
	b, err := io.ReadAll(s.log)
	if err != nil {
		return nil, err
	}
	latest := make(map[cloudcrowd.AttemptID]spooled)
	var order []cloudcrowd.AttemptID
	at, whole := 0, 0 // where the next record begins; where the last one that is whole ends
	for len(b)-at >= recordHead {
		n := int(binary.BigEndian.Uint32(b[at:]))
		if n > largestEntry || n > len(b)-at-recordHead {
			break
		}
		start, body := at, b[at+recordHead:][:n]
		at += recordHead + n
		var r spooled
		if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[start+4:]) || cbor.Unmarshal(body, &r) != nil {
			continue // those after it may be whole
		}
		if start > whole {
			s.damage = append(s.damage, fmt.Sprintf("bytes %d to %d of the log of results are damaged", whole, start))
		}
		whole = at
		id := r.Report.Attempt
		s.count(id, recordHead+n, r.Gone)
		if r.Gone {
			delete(latest, id)
			continue
		}
		if _, ok := latest[id]; !ok {
			order = append(order, id)
		}
		latest[id] = r
	}
	s.size = int64(whole)
	if whole < len(b) {
		s.damage = append(s.damage, fmt.Sprintf("the last %d bytes of the log of results are not whole", len(b)-whole))
		if err := s.log.Truncate(s.size); err != nil {
			return nil, err
		}
	}
	if _, err := s.log.Seek(s.size, io.SeekStart); err != nil {
		return nil, err
	}
	var waiting []spooled
	for _, id := range order {
		if r, ok := latest[id]; ok {
			waiting = append(waiting, r)
			delete(latest, id)
		}
	}
	return waiting, nil
}

// clean removes folders of attempts that nobody waits for.
func (s *spool) clean() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "log" {
			continue
		}
		if id, err := cloudcrowd.ParseAttemptID(e.Name()); err == nil && s.live[id] > 0 {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// folder is where an attempt's outputs and log wait.
func (s *spool) folder(id cloudcrowd.AttemptID) string { return filepath.Join(s.dir, id.String()) }

func (s *spool) count(id cloudcrowd.AttemptID, n int, gone bool) {
	s.held -= int64(s.live[id])
	delete(s.live, id)
	if !gone {
		s.live[id] = n
		s.held += int64(n)
	}
}

// append writes records, and syncs them if asked to. After an error the log is as before.
func (s *spool) append(records []spooled, sync bool) error {
	if len(records) == 0 {
		return nil
	}
	var b []byte
	sizes := make([]int, len(records))
	for i := range records {
		body, err := cbor.Marshal(&records[i])
		if err != nil {
			return err
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
		b = binary.BigEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
		b = append(b, body...)
		sizes[i] = recordHead + len(body)
	}
	_, err := s.log.Write(b)
	if err == nil && sync {
		err = s.log.Sync()
	}
	if err != nil {
		_, seek := s.log.Seek(s.size, io.SeekStart)
		return errors.Join(err, s.log.Truncate(s.size), seek)
	}
	s.size += int64(len(b))
	for i := range records {
		s.count(records[i].Report.Attempt, sizes[i], records[i].Gone)
	}
	return nil
}

// compact shortens the log when most of it is useless. keep lists what still waits.
func (s *spool) compact(keep func() []spooled) error {
	switch {
	case len(s.live) == 0 && s.size > emptyAt:
		if err := s.log.Truncate(0); err != nil {
			return err
		}
		s.size = 0
		_, err := s.log.Seek(0, io.SeekStart)
		return err
	case s.size > rewriteAt && s.held < s.size/2:
		return s.rewrite(keep())
	}
	return nil
}

// rewrite makes a new log of what still waits, and takes it into use once it is on disk.
func (s *spool) rewrite(records []spooled) error {
	path := filepath.Join(s.dir, "log.new")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	next := &spool{dir: s.dir, log: f, live: make(map[cloudcrowd.AttemptID]int)}
	if err := next.append(records, true); err != nil {
		return errors.Join(err, f.Close(), os.Remove(path))
	}
	// Windows renames no open file, so both are closed first.
	err = errors.Join(f.Close(), s.log.Close())
	if err == nil {
		err = os.Rename(path, filepath.Join(s.dir, "log"))
	}
	f, open := os.OpenFile(filepath.Join(s.dir, "log"), os.O_RDWR|os.O_CREATE, 0o600)
	if err = errors.Join(err, open); err != nil {
		return err
	}
	next.log = f
	*s = *next
	_, err = f.Seek(s.size, io.SeekStart)
	return err
}

func (s *spool) close() error { return errors.Join(s.log.Sync(), s.log.Close()) }
