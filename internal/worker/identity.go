package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/nats-io/nkeys"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// Files of DataDir.
const (
	keyFile   = "device.nk"   // the device's private key; whoever has it is this device
	stateFile = "worker.json" // state
)

// state is what the agent remembers between starts.
type state struct {
	Joined      map[string]string `json:"joined,omitempty"` // server → account that is paid
	Measurement measurement       `json:"measurement"`
}

// loadKey reads the device's key, or makes one.
func loadKey(dir string) (nkeys.KeyPair, error) {
	path := filepath.Join(dir, keyFile)
	seed, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := nkeys.CreateUser()
		if err != nil {
			return nil, err
		}
		if seed, err = key.Seed(); err != nil {
			return nil, err
		}
		return key, writeFile(path, append(seed, '\n'))
	}
	if err != nil {
		return nil, err
	}
	key, err := nkeys.FromSeed(bytes.TrimSpace(seed))
	if err == nil {
		var public string
		if public, err = key.PublicKey(); err == nil && !nkeys.IsValidPublicUserKey(public) {
			err = errors.New("not a user key")
		}
	}
	if err != nil {
		return nil, (&cloudcrowd.Error{Code: cloudcrowd.Invalid, Field: "data", Msg: "the device key in " + path + " is damaged", Err: err}).
			WithHint("delete the file and join again; the worker starts a new record then")
	}
	return key, nil
}

func loadState(dir string) (state, error) {
	s := state{Joined: map[string]string{}}
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return state{Joined: map[string]string{}}, nil // joining and measuring again is all it costs
	}
	if s.Joined == nil {
		s.Joined = map[string]string{}
	}
	return s, nil
}

func (s state) save(dir string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, stateFile), append(b, '\n'))
}

// writeFile writes beside, syncs and renames, readable by this user alone.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error that matters is err
	}
	return err
}

// printable makes s fit for the protocol's one-line texts.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return clipText(strings.TrimSpace(s), wire.MaxName)
}

// clipText cuts s to at most n bytes of valid UTF-8.
func clipText(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}
