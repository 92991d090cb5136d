package worker

import (
	"errors"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// The ways in which a worker can misbehave on purpose. They exist to show and to test that the platform refuses wrong results and survives bad workers;
// the command line has them behind a flag its usage text does not list. Everything is deterministic per attempt, so a test can be repeated.
const (
	misbehaveLie     = "lie"     // changes one byte of one output
	misbehaveGarbage = "garbage" // replaces every output by noise
	misbehaveNothing = "nothing" // reports success without outputs
	misbehaveHuge    = "huge"    // adds a file larger than the output limit
	misbehaveSwap    = "swap"    // reports the outputs of the attempt before
	misbehaveTwice   = "twice"   // sends every report twice
	misbehaveVanish  = "vanish"  // ends without a word when its first attempt is done
	misbehaveSlow    = "slow"    // takes ten times as long, and at least a second
)

var misbehaviours = []string{
	misbehaveLie, misbehaveGarbage, misbehaveNothing, misbehaveHuge, misbehaveSwap, misbehaveTwice, misbehaveVanish, misbehaveSlow,
}

// errVanished is what Run returns after misbehaveVanish.
var errVanished = errors.New("the worker vanished, as it was told to")

func checkMisbehave(how string) error {
	if how != "" && !slices.Contains(misbehaviours, how) {
		return cloudcrowd.Fieldf("misbehave", "%q is no way to misbehave; known are %s", how, strings.Join(misbehaviours, ", "))
	}
	return nil
}

// misbehaveBefore spoils what an attempt left in out. Failing to is no failure of the attempt.
func (a *Agent) misbehaveBefore(at *attempt, out string, r *cloudcrowd.Result) {
	if a.cfg.Misbehave == "" || r.Outcome != cloudcrowd.Succeeded {
		return
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, at.lease.Attempt.String()) // never fails
	random := rand.New(rand.NewPCG(h.Sum64(), 1))
	var err error
	switch a.cfg.Misbehave {
	case misbehaveLie:
		err = spoil(out, random, false)
	case misbehaveGarbage:
		err = spoil(out, random, true)
	case misbehaveNothing:
		err = empty(out)
	case misbehaveHuge:
		limit := at.lease.Payload.Resources.OutputBytes
		if limit <= 0 {
			limit = cloudcrowd.DefaultOutputBytes
		}
		var f *os.File
		if f, err = os.Create(filepath.Join(out, "huge")); err == nil {
			err = errors.Join(f.Truncate(min(limit+1, 1<<30)), f.Close())
		}
	case misbehaveSwap:
		err = a.swap(out)
	case misbehaveSlow:
		pause(at.ctx, max(time.Second, time.Duration(9*r.Usage.WallSeconds*float64(time.Second))))
	}
	if err != nil {
		a.cfg.Log.Warn("worker: could not misbehave", "error", err)
	}
}

// misbehaveAfter is called when an attempt's result is complete.
func (a *Agent) misbehaveAfter(*attempt, *cloudcrowd.Result) {
	if a.cfg.Misbehave == misbehaveVanish {
		a.vanishOnce.Do(func() { close(a.vanished) })
	}
}

// spoil changes a byte of one file in out, or every byte of all. Where there is nothing to change it adds a file.
func spoil(out string, random *rand.Rand, all bool) error {
	var files []string
	err := filepath.WalkDir(out, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if info, e := entry.Info(); e == nil && info.Size() > 0 {
				files = append(files, path)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return os.WriteFile(filepath.Join(out, "stdout"), []byte("a lie\n"), 0o600)
	}
	if !all {
		i := random.IntN(len(files))
		files = files[i : i+1]
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if all {
			for i := range b {
				b[i] = byte(random.Uint32())
			}
		} else {
			b[random.IntN(len(b))] ^= byte(1 + random.IntN(255))
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func empty(out string) error {
	return errors.Join(os.RemoveAll(out), os.Mkdir(out, 0o700))
}

// swap puts the outputs of the attempt before in the place of this one's, and keeps this one's for the next.
func (a *Agent) swap(out string) error {
	a.swapping.Lock()
	defer a.swapping.Unlock()
	kept := filepath.Join(a.cfg.DataDir, "slots", "swap")
	now := kept + "-now"
	if err := errors.Join(os.RemoveAll(now), os.CopyFS(now, os.DirFS(out))); err != nil {
		return err
	}
	var err error
	if _, e := os.Stat(kept); e == nil {
		err = errors.Join(os.RemoveAll(out), os.Rename(kept, out))
	}
	return errors.Join(err, os.RemoveAll(kept), os.Rename(now, kept))
}
