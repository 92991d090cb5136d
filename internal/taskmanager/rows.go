package taskmanager

import (
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Rows derives what one journal row did to the readable tables; st is the state after the row and out what applying it asked for. It is what the
// loop itself projects, for whoever compares the tables with the journal. Workers' names are those of the directory now. A Manager that was never
// started will do; it reads its Store's directory, nothing else.
func (m *Manager) Rows(st *lifecycle.State, row store.Row, out *lifecycle.Out) store.Projected {
	return rowsOf(m, st, row.Seq, row.At, out)
}
