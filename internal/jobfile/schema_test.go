package jobfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("job.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("job.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate checks YAML by the schema.
func validate(s *jsonschema.Schema, data []byte) error {
	var v any
	if err := yaml.Load(data, &v); err != nil {
		return err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(doc)
}

// The published schema accepts what the parser accepts: all examples, the specs of the tests, the description in docs/jobs.md.
func TestSchemaAcceptsWhatIsRight(t *testing.T) {
	t.Parallel()
	s := compileSchema(t)
	right := map[string][]byte{}
	for _, name := range examples(t) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		right[name] = data
	}
	archive, err := txtar.ParseFile("testdata/specs.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(archive.Files); i += 2 {
		right[archive.Files[i].Name] = archive.Files[i].Data
	}
	docs, err := os.ReadFile("../../docs/jobs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(docs), "```yaml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/jobs.md has no example")
	}
	right["docs/jobs.md"] = []byte(example)
	for name, data := range right {
		if err := validate(s, data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Of the mistakes that are a matter of shape, the schema finds every one; what it finds, the parser refuses too.
func TestSchemaRefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := compileSchema(t)
	archive, err := txtar.ParseFile("testdata/mistakes.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(archive.Files); i += 2 {
		input, answer := archive.Files[i], string(archive.Files[i+1].Data)
		err := validate(s, input.Data)
		if _, ok := errors.AsType[*jsonschema.ValidationError](err); err != nil && !ok {
			continue // not even YAML
		}
		for _, shape := range []string{"unknown key", "is missing", "neither", "expected keys", "expected text", "must be 1 or more", "is not a size", "exactly one splitter"} {
			if strings.Contains(answer, shape) && err == nil {
				t.Errorf("%s: the schema accepts it; the parser says %s", input.Name, answer)
			}
		}
	}
}
