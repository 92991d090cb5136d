// Package pagesum gives every page of a SQLite database a checksum, which SQLite itself has not: a file system for SQLite (a VFS) between it and the
// one of the operating system. A page whose bytes the disk changed is never given to SQLite; whatever needs it fails with the code Mismatch.
//
// SQLite leaves Reserve bytes at the end of every page alone. There, in the database file, lies the CRC-32C of the page before them and of its number, so
// that a page in another one's place does not pass either. It is computed when a page is written, and compared whenever one is read. Frames
// of the WAL have checksums of SQLite's own, which it compares only when it opens a WAL that was left; for the time in which this process has the WAL
// open, pagesum remembers the sums of the pages it wrote there.
//
// A database must be made with Seed, and from then on every program that writes it must use this VFS: another one's pages would have no sums. SQLite's
// own cksumvfs does the same for C programs; it is not part of the driver, its sums do not know a page's number, and it computes those of the WAL too late for
// SQLite's sums of the frames.
package pagesum

import (
	"encoding/binary"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// PageSize is that of a database made with Seed, in bytes.
	PageSize = 4096
	// Reserve is how many bytes at the end of a page hold its sum; the last two are zero. The header of a database says it in byte ReserveAt. It differs
	// from none by more than one bit, so that no flipped bit makes a database with sums one without, and from the 8 bytes of cksumvfs.
	Reserve = 6
	// ReserveAt is where in the file it says Reserve.
	ReserveAt = 20
	// Mismatch is the extended result code of SQLite for a page that does not match its sum. Its primary code is SQLITE_CORRUPT.
	Mismatch = sqlite3.SQLITE_CORRUPT | 0x53<<8
	// Magic is how the file of a SQLite database begins.
	Magic = "SQLite format 3\x00"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is the CRC-32C of a page without what is reserved, and its number, which counts from 1.
func sum(page []byte, number int64) uint32 {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(number))
	return crc32.Update(crc32.Checksum(page[:len(page)-Reserve], castagnoli), castagnoli, b[:])
}

// seal writes the sum of a page into it.
func seal(page []byte, number int64) {
	end := page[len(page)-Reserve:]
	binary.BigEndian.PutUint32(end, sum(page, number))
	end[4], end[5] = 0, 0
}

// Seed is the file of an empty database with sums: its first page, with nothing in it.
func Seed() []byte {
	page := make([]byte, PageSize)
	copy(page, Magic)
	binary.BigEndian.PutUint16(page[16:], PageSize)
	page[18], page[19] = 1, 1 // versions: with a rollback journal; "PRAGMA journal_mode=WAL" makes it 2
	page[ReserveAt] = Reserve
	page[21], page[22], page[23] = 64, 32, 32 // constants of the form
	page[100] = 13                            // a leaf of a table, the schema, with no rows
	binary.BigEndian.PutUint16(page[105:], PageSize-Reserve)
	seal(page, 1)
	return page
}

// file is an open database or WAL.
type file struct {
	path string
	wal  *frames // nil for a database
}

// frames are the sums of the pages in a WAL, by where they lie in it, as far as this process wrote them. All connections share them.
type frames struct {
	mu   sync.Mutex
	open int // files
	sums map[int64]uint32
}

var (
	opening sync.RWMutex
	open    = map[uintptr]*file{} // by the address of SQLite's object; guarded by opening

	mu      sync.Mutex
	wals    = map[string]*frames{}            // by path
	damaged = map[string]map[int64]struct{}{} // numbers of pages by the path of the database, as far as they were found
	tables  = map[uintptr]*methods{}          // by the address of the original's

	base *sqlite3.Tsqlite3_vfs // the operating system's
	once = sync.OnceValue(register)
)

// methods is what SQLite calls for an open file: the table it looks into, with four of its functions replaced.
type methods struct {
	sqlite3.Tsqlite3_io_methods
	close, read, write, device uintptr // the replaced ones
}

// VFS registers the file system, once, and returns the name under which SQLite knows it.
func VFS() string { return once() }

func register() string {
	const name = "cloudcrowd"
	tls := libc.NewTLS()
	defer tls.Close()
	base = at[sqlite3.Tsqlite3_vfs](sqlite3.Xsqlite3_vfs_find(tls, 0))
	vfs := allocate[sqlite3.Tsqlite3_vfs](tls)
	*vfs = *base
	var err error
	if vfs.FzName, err = libc.CString(name); err != nil {
		panic("pagesum: " + err.Error()) // no memory
	}
	vfs.FpNext = 0
	vfs.FxOpen = function(xOpen)
	if rc := sqlite3.Xsqlite3_vfs_register(tls, uintptr(unsafe.Pointer(vfs)), 0); rc != sqlite3.SQLITE_OK {
		panic("pagesum: SQLite does not take a file system")
	}
	return name
}

// allocate returns memory of SQLite's, which is never freed: what SQLite keeps an address of must not be Go's to collect.
func allocate[T any](tls *libc.TLS) *T {
	var v T
	address := sqlite3.Xsqlite3_malloc(tls, int32(unsafe.Sizeof(v)))
	if address == 0 {
		panic("pagesum: out of memory")
	}
	*at[T](address) = v
	return at[T](address)
}

// at is what lies at an address that SQLite gave.
func at[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

// function is the address under which SQLite calls f, a function of the package; call is its inverse.
func function[F any](f F) uintptr { return *(*uintptr)(unsafe.Pointer(&f)) }

func call[F any](address uintptr) F { return *(*F)(unsafe.Pointer(&address)) }

type (
	opener = func(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32
	closer = func(tls *libc.TLS, file uintptr) int32 // and device
	mover  = func(tls *libc.TLS, file, buffer uintptr, amount int32, offset int64) int32
)

func xOpen(tls *libc.TLS, v, name, f uintptr, flags int32, outFlags uintptr) int32 {
	rc := call[opener](base.FxOpen)(tls, v, name, f, flags, outFlags)
	if rc != sqlite3.SQLITE_OK || name == 0 || flags&(sqlite3.SQLITE_OPEN_MAIN_DB|sqlite3.SQLITE_OPEN_WAL) == 0 {
		return rc
	}
	path := strings.Clone(libc.GoString(name))
	o := &file{path: path}
	mu.Lock()
	defer mu.Unlock()
	if flags&sqlite3.SQLITE_OPEN_WAL != 0 {
		if wals[path] == nil {
			wals[path] = &frames{sums: map[int64]uint32{}}
		}
		o.wal = wals[path]
		o.wal.open++
	}
	opening.Lock()
	open[f] = o
	opening.Unlock()
	original := at[sqlite3.Tsqlite3_file](f).FpMethods
	m := tables[original]
	if m == nil {
		m = allocate[methods](tls)
		m.Tsqlite3_io_methods = *at[sqlite3.Tsqlite3_io_methods](original)
		m.close, m.read, m.write, m.device = m.FxClose, m.FxRead, m.FxWrite, m.FxDeviceCharacteristics
		m.FxClose, m.FxRead, m.FxWrite, m.FxDeviceCharacteristics = function(xClose), function(xRead), function(xWrite), function(xDeviceCharacteristics)
		m.FiVersion = min(m.FiVersion, 2) // without pages that SQLite reads from mapped memory
		tables[original] = m
	}
	at[sqlite3.Tsqlite3_file](f).FpMethods = uintptr(unsafe.Pointer(m))
	return rc
}

// opened returns a file with its methods.
func opened(f uintptr) (*file, *methods) {
	opening.RLock()
	defer opening.RUnlock()
	return open[f], at[methods](at[sqlite3.Tsqlite3_file](f).FpMethods)
}

func xClose(tls *libc.TLS, f uintptr) int32 {
	o, m := opened(f)
	opening.Lock()
	delete(open, f)
	opening.Unlock()
	if o.wal != nil {
		mu.Lock()
		if o.wal.open--; o.wal.open == 0 {
			delete(wals, o.path)
		}
		mu.Unlock()
	}
	return call[closer](m.close)(tls, f)
}

// xDeviceCharacteristics says what the original says, but that parts of pages cannot be read: SQLite would read long values without what is reserved.
func xDeviceCharacteristics(tls *libc.TLS, f uintptr) int32 {
	_, m := opened(f)
	return call[closer](m.device)(tls, f) &^ sqlite3.SQLITE_IOCAP_SUBPAGE_READ
}

// headerSize is how many bytes at the beginning of a database SQLite reads by themselves. It reads them again with the page before it answers anything.
const headerSize = 100

// whole reports whether so many bytes are a page. Nothing else that SQLite reads or writes is as long.
func whole(amount int32) bool { return amount >= 512 && amount&(amount-1) == 0 }

// pageHeader is how many bytes of a WAL lie before each page.
const pageHeader = 24

func xRead(tls *libc.TLS, f, buffer uintptr, amount int32, offset int64) int32 {
	o, m := opened(f)
	if o.wal == nil && !whole(amount) && offset+int64(amount) > headerSize {
		return sqlite3.SQLITE_IOERR_READ // nothing of a page is read but all of it, see xDeviceCharacteristics
	}
	rc := call[mover](m.read)(tls, f, buffer, amount, offset)
	if !whole(amount) || rc != sqlite3.SQLITE_OK && rc != sqlite3.SQLITE_IOERR_SHORT_READ {
		return rc
	}
	page := unsafe.Slice(at[byte](buffer), amount)
	if o.wal != nil {
		if o.wal.differs(page, offset) {
			return Mismatch
		}
		return rc
	}
	number := offset/int64(amount) + 1
	if rc == sqlite3.SQLITE_OK && binary.BigEndian.Uint32(page[len(page)-Reserve:]) == sum(page, number) {
		return rc
	}
	mu.Lock()
	defer mu.Unlock()
	if damaged[o.path] == nil {
		damaged[o.path] = map[int64]struct{}{}
	}
	damaged[o.path][number] = struct{}{}
	return Mismatch
}

func xWrite(tls *libc.TLS, f, buffer uintptr, amount int32, offset int64) int32 {
	o, m := opened(f)
	write := call[mover](m.write)
	if o.wal != nil {
		o.wal.wrote(unsafe.Slice(at[byte](buffer), amount), offset)
		return write(tls, f, buffer, amount, offset)
	}
	if whole(amount) { // what is reserved is nobody's but ours, so it may be written in SQLite's own memory
		number := offset/int64(amount) + 1
		seal(unsafe.Slice(at[byte](buffer), amount), number)
		mu.Lock()
		delete(damaged[o.path], number)
		mu.Unlock()
	}
	return write(tls, f, buffer, amount, offset)
}

// wrote remembers what was written.
func (w *frames) wrote(b []byte, offset int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case whole(int32(len(b))):
		w.sums[offset] = crc32.Checksum(b, castagnoli)
	case offset == 0: // the WAL begins anew
		clear(w.sums)
	case len(b) != pageHeader: // a part of a page
		delete(w.sums, offset)
		maps.DeleteFunc(w.sums, func(at int64, _ uint32) bool { return at < offset && offset < at+PageSize })
	}
}

// differs reports whether a page that was read is not the one that was written.
func (w *frames) differs(page []byte, offset int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	is, known := w.sums[offset]
	return known && is != crc32.Checksum(page, castagnoli)
}

// Damaged returns the pages of a database at an absolute path that were found not to match their sums, ascending, and have not been written since.
func Damaged(path string) []int64 {
	mu.Lock()
	defer mu.Unlock()
	return slices.Sorted(maps.Keys(damaged[path]))
}
