package worker

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"

	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// measurement is what the worker found out about its own speed.
type measurement struct {
	Version int     `json:"version"` // of the kernel and its reference; another version is measured again
	Speed   float64 `json:"speed"`
}

const (
	measureVersion   = 1
	kernelIterations = 100_000_000
	// referenceSeconds is what ReferenceKernel takes on the reference core, a server's of the early 2020s (AMD EPYC) under wazero's compiler.
	referenceSeconds = 0.10
)

// ReferenceKernel is the WASM module by which speed is measured: 100 million steps of a linear congruential generator, each mixing one word of a 64 KiB
// table, so that multiplier, memory and branches all count. A slot that needs referenceSeconds for it has speed 1.0.
func ReferenceKernel() []byte {
	signed := func(b []byte, v int64) []byte { // LEB128
		for {
			c := byte(v & 0x7f)
			v >>= 7
			if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
				return append(b, c)
			}
			b = append(b, c|0x80)
		}
	}
	section := func(m []byte, id byte, content []byte) []byte {
		return append(binary.AppendUvarint(append(m, id), uint64(len(content))), content...)
	}
	body := []byte{2, 2, 0x7f, 1, 0x7e} // locals: two i32 (step 0, address 1), one i64 (value 2)
	body = append(body, 0x03, 0x40)     // loop
	body = signed(append(body, 0x20, 2, 0x42), 6364136223846793005)
	body = signed(append(body, 0x7e, 0x42), 1442695040888963407) // value·a
	body = append(body, 0x7c, 0x21, 2)                           // + c → value
	body = signed(append(body, 0x20, 2, 0x42), 33)
	body = signed(append(body, 0x88, 0xa7, 0x41), 0xfff8) // (value >> 33) as i32
	body = append(body, 0x71, 0x22, 1)                    // & 0xfff8 → address, kept for the store
	body = append(body, 0x20, 1, 0x29, 3, 0)              // load i64
	body = append(body, 0x20, 2, 0x85, 0x37, 3, 0)        // ^ value, store
	body = signed(append(body, 0x20, 0, 0x41), 1)
	body = signed(append(body, 0x6a, 0x22, 0, 0x41), kernelIterations) // step + 1 → step
	body = append(body, 0x49, 0x0d, 0, 0x0b, 0x0b)                     // < iterations: again; end; end

	m := []byte("\x00asm\x01\x00\x00\x00")
	m = section(m, 1, []byte{1, 0x60, 0, 0})                                                // type: no parameters, no results
	m = section(m, 3, []byte{1, 0})                                                         // one function of it
	m = section(m, 5, []byte{1, 0, 1})                                                      // one page of memory
	m = section(m, 7, append([]byte("\x02\x06memory\x02\x00\x06_start"), 0, 0))             // exports
	m = section(m, 10, append(binary.AppendUvarint([]byte{1}, uint64(len(body))), body...)) // code
	return m
}

// measure runs the kernel three times in the sandbox and takes the best: other work on the machine only ever makes it slower.
func measure(ctx context.Context, dir string, box sandbox.Sandbox) (float64, error) {
	folder, err := os.MkdirTemp(dir, "measure-*")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(folder)
	kernel := ReferenceKernel()
	sum := sha256.Sum256(kernel)
	module := filepath.Join(folder, "kernel.wasm")
	out := filepath.Join(folder, "out")
	if err := os.WriteFile(module, kernel, 0o600); err != nil {
		return 0, err
	}
	if err := os.Mkdir(out, 0o700); err != nil {
		return 0, err
	}
	best := 0.0
	for range 3 {
		o, err := box.Run(ctx, sandbox.Spec{ID: "measure", Module: module, ModuleDigest: hex.EncodeToString(sum[:]), Out: out, Limits: sandbox.Limits{Time: time.Minute}})
		if err != nil {
			return 0, err
		}
		if o.Status != sandbox.Succeeded {
			return 0, &probeError{o.Reason}
		}
		best = max(best, referenceSeconds/max(o.Usage.WallSeconds, 1e-4))
	}
	return best, nil
}

type probeError struct{ reason string }

func (e *probeError) Error() string { return "the sandbox cannot run a program here: " + e.reason }

// freeDisk is how many bytes this user may still write below dir; negative if unknown.
func freeDisk(dir string) int64 {
	if u, err := disk.Usage(dir); err == nil {
		return int64(u.Free)
	}
	return -1
}

func cpuName() string {
	if c, err := cpu.Info(); err == nil && len(c) > 0 && c[0].ModelName != "" {
		return printable(c[0].ModelName)
	}
	return runtime.GOARCH
}
