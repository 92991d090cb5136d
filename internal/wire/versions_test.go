package wire

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire/pb"
)

// recorded are the frames that ends of protocol version N sent when it was the newest: testdata/recorded-N.json. They are never written anew. As long as
// a version is spoken, its frames must mean what they meant.
func recorded(t testing.TB) []vector {
	t.Helper()
	var all []vector
	for version := Oldest; version <= Version; version++ {
		b, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("recorded-%d.json", version)))
		if err != nil {
			t.Fatalf("version %d is spoken, and nothing of it is recorded: %v", version, err)
		}
		var vs []vector
		if err := json.Unmarshal(b, &vs); err != nil {
			t.Fatal(err)
		}
		all = append(all, vs...)
	}
	return all
}

// Frames of every older end that is still spoken with are understood as they were when they were recorded: nothing they say is lost or read otherwise. What
// was added to messages since may be there beside it.
func TestOlderFrames(t *testing.T) {
	t.Parallel()
	for _, v := range recorded(t) {
		b, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeAny(v.Direction, b)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		text, _ := json.Marshal(got)
		var have, want any
		if err := json.Unmarshal(text, &have); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(v.Message, &want); err != nil {
			t.Fatal(err)
		}
		if at := missing("", want, have); at != "" {
			t.Errorf("%s: %s is not what it was\ngot  %s\nwant %s", v.Name, at, text, v.Message)
		}
	}
}

// missing names the first value of want that have lacks or has otherwise.
func missing(at string, want, have any) string {
	switch want := want.(type) {
	case map[string]any:
		have, _ := have.(map[string]any)
		for name, w := range want {
			h, ok := have[name]
			if !ok && w != nil {
				return at + "." + name
			}
			if m := missing(at+"."+name, w, h); m != "" {
				return m
			}
		}
		return ""
	case []any:
		have, _ := have.([]any)
		if len(have) != len(want) {
			return at
		}
		for i := range want {
			if m := missing(fmt.Sprintf("%s[%d]", at, i), want[i], have[i]); m != "" {
				return m
			}
		}
		return ""
	}
	if !reflect.DeepEqual(want, have) {
		return at
	}
	return ""
}

// A newer end adds fields to every message it sends. An end of this version skips them and reads the rest as if they were not there.
func TestNewerFrames(t *testing.T) {
	t.Parallel()
	for _, v := range recorded(t) {
		b, err := hex.DecodeString(v.Hex)
		if err != nil {
			t.Fatal(err)
		}
		want, err := decodeAny(v.Direction, b)
		if err != nil {
			t.Fatal(err)
		}
		var m proto.Message = &pb.Up{}
		if v.Direction == "down" {
			m = &pb.Down{}
		}
		if err := unpack(b, m); err != nil {
			t.Fatal(err)
		}
		n := grow(m.ProtoReflect())
		newer, err := pack(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeAny(v.Direction, newer)
		if err != nil {
			t.Errorf("%s with %d unknown fields: %v", v.Name, n, err)
			continue
		}
		a, _ := json.Marshal(want)
		c, _ := json.Marshal(got)
		if string(a) != string(c) {
			t.Errorf("%s with %d unknown fields:\ngot  %s\nwant %s", v.Name, n, c, a)
		}
	}
}

// grow adds fields of every wire type, which this version does not know, to a message and all messages in it, and returns to how many.
func grow(m protoreflect.Message) int {
	var b []byte
	b = protowire.AppendVarint(protowire.AppendTag(b, 500, protowire.VarintType), 7)
	b = protowire.AppendFixed32(protowire.AppendTag(b, 501, protowire.Fixed32Type), 7)
	b = protowire.AppendFixed64(protowire.AppendTag(b, 502, protowire.Fixed64Type), 7)
	b = protowire.AppendString(protowire.AppendTag(b, 503, protowire.BytesType), "something new")
	m.SetUnknown(b)
	n := 1
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Kind() != protoreflect.MessageKind {
			return true
		}
		if f.IsList() {
			for i := range v.List().Len() {
				n += grow(v.List().Get(i).Message())
			}
		} else {
			n += grow(v.Message())
		}
		return true
	})
	return n
}

// A worker of the next version, which still speaks this one, is welcome, and both settle on this one; one that has given this version up is told which versions
// both ends speak.
func TestNextVersion(t *testing.T) {
	t.Parallel()
	hello := func(newest, oldest uint32) error {
		frame, err := pack(&pb.Up{Hello: &pb.Hello{Protocol: newest, Oldest: oldest, Session: "s", Info: &pb.Info{}}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = DecodeUp(frame)
		return err
	}
	if err := hello(Version+1, Version); err != nil {
		t.Errorf("a worker that speaks this version and the next: %v", err)
	}
	if err := hello(Version, Oldest); err != nil {
		t.Errorf("a worker of this version: %v", err)
	}
	for what, err := range map[string]error{"too new": hello(Version+2, Version+1), "too old": hello(Oldest-1, Oldest-1)} {
		if e, ok := err.(*cloudcrowd.Error); !ok || e.Field != "hello.protocol" || e.Hint == "" {
			t.Errorf("a worker that is %s: %v", what, err)
		}
	}
	frame, err := EncodeDown(&cloudcrowd.Down{Welcome: &cloudcrowd.Welcome{HeartbeatSeconds: 3, LeaseSeconds: 30}})
	if err != nil {
		t.Fatal(err)
	}
	var m pb.Down
	if err := unpack(frame, &m); err != nil {
		t.Fatal(err)
	}
	if m.Welcome.Protocol < Oldest || m.Welcome.Protocol > Version {
		t.Errorf("the server settles on version %d", m.Welcome.Protocol)
	}
}
