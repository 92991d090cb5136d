package sandbox

import (
	"encoding/hex"
	"os"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// Validate checks what every sandbox needs: digest, arguments, environment and directories. It returns a *cloudcrowd.Error naming the field.
func (s *Spec) Validate() error {
	if b, err := hex.DecodeString(s.ModuleDigest); err != nil || len(b) != 32 || strings.ToLower(s.ModuleDigest) != s.ModuleDigest {
		return cloudcrowd.Fieldf("module_digest", "%q is not a lower-case hexadecimal SHA-256", s.ModuleDigest)
	}
	for _, a := range s.Args {
		if strings.ContainsRune(a, 0) {
			return cloudcrowd.Fieldf("args", "%q holds a NUL byte", a)
		}
	}
	for _, e := range s.Env {
		if key, _, ok := strings.Cut(e, "="); !ok || key == "" || strings.ContainsRune(e, 0) {
			return cloudcrowd.Fieldf("env", "%q is not KEY=VALUE", e)
		}
	}
	if s.In != "" {
		if info, err := os.Lstat(s.In); err != nil || !info.IsDir() {
			return &cloudcrowd.Error{Code: cloudcrowd.Invalid, Field: "in", Msg: "the input folder of the attempt is missing or no folder", Err: err}
		}
	}
	info, err := os.Lstat(s.Out)
	if err != nil || !info.IsDir() {
		return &cloudcrowd.Error{Code: cloudcrowd.Invalid, Field: "out", Msg: "the output folder of the attempt is missing or no folder", Err: err}
	}
	if entries, err := os.ReadDir(s.Out); err != nil || len(entries) > 0 {
		return &cloudcrowd.Error{Code: cloudcrowd.Invalid, Field: "out", Msg: "the output folder of the attempt is not empty", Err: err}
	}
	return nil
}
