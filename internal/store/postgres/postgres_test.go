package postgres

import (
	"os"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/postgres/postgrestest"
	"cloudcrowd.dev/cloudcrowd/internal/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Main(m)) }

// openAt opens a store at an address.
func openAt(t testing.TB, address string) *Store {
	t.Helper()
	s, err := Open(t.Context(), address, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	server := postgrestest.Shared(t)
	storetest.Run(t, func(t *testing.T) store.Store { return openAt(t, server.Address(t)) })
}

// transfersOf lists an account's transfers.
func (s *Store) transfersOf(t *testing.T, id cloudcrowd.AccountID) ([]cloudcrowd.Transfer, error) {
	list, _, err := s.Transfers(t.Context(), store.TransferFilter{Account: id}, store.Page{})
	return list, err
}
