package e2e

import "testing"

func (p *process) pause(t testing.TB) {
	t.Helper()
	lack(t, "Windows cannot freeze a process")
}

func (p *process) wake(testing.TB) {}

func (p *process) interrupt(t testing.TB) {
	t.Helper()
	lack(t, "Windows cannot ask a process of another console to stop")
}

func (p *process) terminate(t testing.TB) { lack(t, "processes cannot be asked to stop on Windows") }
