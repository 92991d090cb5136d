package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
)

// secrets is what a data directory keeps for its own operator, readable by its owner alone.
type secrets struct {
	AdminToken string `json:"admin_token"`
	Invite     string `json:"invite"` // of house machines, reusable
}

// firstStart reads the operator's secrets, or makes them together with his account's first credits.
func (s *Server) firstStart(ctx context.Context) error {
	path := filepath.Join(s.cfg.DataDir, secretsFile)
	var kept secrets
	switch b, err := os.ReadFile(path); {
	case err == nil:
		if err := json.Unmarshal(b, &kept); err != nil {
			return fmt.Errorf("%s is damaged: %w; remove it to have new secrets made", path, err)
		}
	case !os.IsNotExist(err):
		return err
	}
	if kept.AdminToken != "" {
		if _, err := s.store.TokenByHash(ctx, authz.Hash(kept.AdminToken)); cloudcrowd.CodeOf(err) == cloudcrowd.NotFound {
			kept.AdminToken = "" // deleted on purpose, or the database is another one
		} else if err != nil {
			return err
		}
	}
	changed := false
	if kept.AdminToken == "" {
		_, secret, err := authz.NewToken(ctx, s.store, OperatorAccount, cloudcrowd.RoleOperator, "made at first start", 0, time.Now())
		if err != nil {
			return err
		}
		kept.AdminToken, changed = secret, true
	}
	if kept.Invite == "" || changed {
		_, secret, err := authz.NewInvite(ctx, s.store, OperatorAccount, 0, 0, time.Now())
		if err != nil {
			return err
		}
		kept.Invite, changed = secret, true
	}
	if changed {
		b, _ := json.MarshalIndent(kept, "", "  ") // plain strings: cannot fail
		if err := writeFile(path, append(b, '\n')); err != nil {
			return err
		}
	}
	s.token, s.invite = kept.AdminToken, kept.Invite
	// The key makes this happen once in a day; the account's history makes it happen once at all.
	if list, _, err := s.store.Transfers(ctx, transfersOf(OperatorAccount), onePage); err != nil {
		return err
	} else if len(list) == 0 {
		_, err := s.node.Backend().Issue(ctx, OperatorAccount, FirstCredits, OperatorAccount, "made at first start", "first-start")
		return err
	}
	return nil
}

// writeFile replaces a file by a synced one that its owner alone can read.
func writeFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
