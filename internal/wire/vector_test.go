package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire/pb"
)

// vector is one line of testdata/vectors.json, which an implementation in any language can run: decoding Hex as a frame of Direction ("up" or "down")
// gives Message, or fails where Refused names the field at fault (or is "frame"). An encoder need not produce the same bytes.
type vector struct {
	Name      string          `json:"name"`
	Direction string          `json:"direction"`
	Hex       string          `json:"hex"`
	Message   json.RawMessage `json:"message,omitempty"`
	Refused   string          `json:"refused,omitempty"`
}

func (v vector) bytes(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString(v.Hex)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const vectorFile = "testdata/vectors.json"

func readVectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(b, &vs); err != nil {
		t.Fatal(err)
	}
	return vs
}

var update = flag.Bool("update", false, "write "+vectorFile+" anew")

// The vectors hold, in both directions.
func TestVectors(t *testing.T) {
	t.Parallel()
	if *update {
		writeVectors(t)
	}
	for _, v := range readVectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			got, err := decodeAny(v.Direction, v.bytes(t))
			if v.Refused != "" {
				if err == nil {
					t.Fatalf("accepted; want a refusal of %s", v.Refused)
				}
				if f := fieldOf(err); f != v.Refused {
					t.Fatalf("refused %s (%v), want %s", f, err, v.Refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			have, _ := json.Marshal(got)
			var want bytes.Buffer
			if err := json.Compact(&want, v.Message); err != nil || want.String() != string(have) {
				t.Fatalf("got  %s\nwant %s", have, want.String())
			}
		})
	}
}

func decodeAny(direction string, frame []byte) (any, error) {
	if direction == "up" {
		return DecodeUp(frame)
	}
	return DecodeDown(frame)
}

func fieldOf(err error) string {
	if e, ok := err.(*cloudcrowd.Error); ok && e.Field != "" {
		return e.Field
	}
	return "frame"
}

func writeVectors(t *testing.T) {
	var vs []vector
	add := func(name, direction string, frame []byte) {
		v := vector{Name: name, Direction: direction, Hex: hex.EncodeToString(frame)}
		if m, err := decodeAny(direction, frame); err != nil {
			v.Refused = fieldOf(err)
		} else {
			v.Message, _ = json.Marshal(m)
		}
		vs = append(vs, v)
	}
	up, down := exampleUp(), exampleDown()
	u, err := EncodeUp(&up)
	if err != nil {
		t.Fatal(err)
	}
	d, err := EncodeDown(&down)
	if err != nil {
		t.Fatal(err)
	}
	message := func(m proto.Message) []byte {
		b, err := pack(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	add("every field, up", "up", u)
	add("every field, down", "down", d)
	add("nothing, up", "up", []byte{0})
	add("nothing, down", "down", []byte{0})
	add("compressed", "up", packer().EncodeAll(u[1:], []byte{zstdFrame}))
	add("an unknown field is ignored", "up", protowire.AppendVarint(protowire.AppendTag([]byte{0, 0x30, 1}, 1000, protowire.VarintType), 7))
	add("empty frame", "up", nil)
	add("unknown packing", "up", append([]byte{2}, u[1:]...))
	add("cut short", "up", u[:len(u)-1])
	add("cut short, down", "down", d[:len(d)-1])
	add("compressed and cut short", "up", packer().EncodeAll(u[1:], []byte{zstdFrame})[:40])
	add("three numbers are no attempt", "up", message(&pb.Up{Jobs: []string{string(jobA)}, Returned: []uint32{0, 1, 2}}))
	add("a job that is not in the table", "up", message(&pb.Up{Jobs: []string{string(jobA)}, Returned: []uint32{1, 0, 0, 1}}))
	add("a job id of the wrong form", "up", message(&pb.Up{Jobs: []string{"job"}, Returned: []uint32{0, 0, 0, 1}}))
	add("attempt number 0", "up", message(&pb.Up{Jobs: []string{string(jobA)}, Returned: []uint32{0, 0, 0, 0}}))
	add("a stage beyond 31 bits", "up", message(&pb.Up{Jobs: []string{string(jobA)}, Returned: []uint32{0, 1 << 31, 0, 1}}))
	add("no outcome", "up", message(&pb.Up{Jobs: []string{string(jobA)}, Reports: []*pb.Report{{Number: 1}}}))
	add("a protocol from the future", "up", message(&pb.Up{Hello: &pb.Hello{Protocol: 9, Oldest: 2, Session: "s", Info: &pb.Info{}}}))
	output := func(files ...*pb.OutputFile) []byte {
		return message(&pb.Up{Jobs: []string{string(jobA)}, Reports: []*pb.Report{{Number: 1, Outcome: pb.Outcome_OUTCOME_SUCCEEDED, Outputs: files}}})
	}
	sum := bytes.Repeat([]byte{7}, 32)
	add("an output path that climbs", "up", output(&pb.OutputFile{Path: "../x", Digest: sum}))
	add("an absolute output path", "up", output(&pb.OutputFile{Path: "/x", Digest: sum}))
	add("an output path with a backslash", "up", output(&pb.OutputFile{Path: `a\x`, Digest: sum}))
	add("outputs out of order", "up", output(&pb.OutputFile{Path: "b", Digest: sum}, &pb.OutputFile{Path: "a", Digest: sum}))
	add("an output twice", "up", output(&pb.OutputFile{Path: "a", Digest: sum}, &pb.OutputFile{Path: "a", Digest: sum}))
	add("a digest of 31 bytes", "up", output(&pb.OutputFile{Path: "a", Digest: sum[:31]}))
	add("a size beyond 63 bits", "up", output(&pb.OutputFile{Path: "a", Digest: sum, SizeBytes: 1 << 63}))
	welcome := func(servers ...string) []byte {
		return message(&pb.Down{Welcome: &pb.Welcome{Protocol: 1, HeartbeatSeconds: 3, LeaseSeconds: 30, Ahead: 2, Servers: servers}})
	}
	add("a welcome that names no servers", "down", welcome())
	add("a welcome that names servers", "down", welcome("https://a.example.org:8443", "https://b.example.org:8443"))
	add("a server's address of two lines", "down", welcome("https://a.example.org:8443\nHost: b"))
	add("a server's address that is too long", "down", welcome("https://"+strings.Repeat("a", MaxServer)))
	add("too many servers", "down", welcome(make([]string, MaxServers+1)...))
	b, err := json.MarshalIndent(vs, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorFile, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
