package wire

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"cloudcrowd.dev/cloudcrowd"
)

// scanFrom is the size of a message from which scan runs. A smaller one may hold two-byte sub-messages only, and is harmless: it becomes a few megabytes.
const scanFrom = 64 << 10

// scan counts the elements of repeated and nested fields before memory is given to them, and fails when there are more than budget: two bytes on the
// wire can become a hundred in memory.
func scan(md protoreflect.MessageDescriptor, b []byte, budget *int) error {
	fields := md.Fields()
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed(n)
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(number, kind, b)
		if size < 0 {
			return malformed(size)
		}
		if field := fields.ByNumber(number); field != nil && kind == protowire.BytesType && (field.IsList() || field.Message() != nil) && !field.IsPacked() {
			if *budget--; *budget < 0 {
				return cloudcrowd.Errorf(cloudcrowd.TooLarge, "the frame holds more than %d parts", maxNested)
			}
			if nested := field.Message(); nested != nil {
				value, _ := protowire.ConsumeBytes(b)
				if err := scan(nested, value, budget); err != nil {
					return err
				}
			}
		}
		b = b[size:]
	}
	return nil
}

func malformed(n int) error {
	return &cloudcrowd.Error{Code: cloudcrowd.Invalid, Msg: "the frame is not a message of this protocol", Err: protowire.ParseError(n)}
}
