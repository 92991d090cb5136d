package jobfile

import (
	_ "embed"
	"slices"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (2020-12) of the form people write, for editors. It knows shapes; what only makes sense together (references, templates,
// bounds that depend on each other) is Parse's to check.
func Schema() []byte { return slices.Clone(schema) }
