package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"cloudcrowd.dev/cloudcrowd/internal/sandbox/wasm"
	"github.com/spf13/cobra"
)

func main() {
	if wasm.IsChild() {
		wasm.ChildMain()
		return
	}
	ctx, stop := interruptible()
	code := realApp().main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// sameInterrupt is how close together two signals count as one: some senders signal a process and its group.
const sameInterrupt = 250 * time.Millisecond

// interruptible returns a context that the first Ctrl-C (or SIGTERM) ends; the second one ends the process at once.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with the process
		<-signals
		cancel()
		for since := time.Now(); ; {
			if <-signals; time.Since(since) > sameInterrupt {
				os.Exit(exitInterrupted)
			}
		}
	}()
	return ctx, cancel
}

// commands are all commands in the order of the manual.
func (a *app) commands() []*cobra.Command {
	return append([]*cobra.Command{
		a.demoCommand(), a.serverCommand(), a.workerCommand(),
		a.runCommand(), a.submitCommand(), a.jobsCommand(), a.jobCommand(), a.validateCommand(), a.planCommand(), a.schemaCommand(), a.importCommand(),
		a.workersCommand(), a.accountCommand(), a.ledgerCommand(), a.tokensCommand(), a.blobsCommand(),
		a.loginCommand(), a.consoleCommand(),
		a.configPages(), a.readyCommand(), a.drainCommand(), a.backupCommand(), a.restoreCommand(), a.fsckCommand(), a.repairCommand(), a.benchCommand(), a.simCommand(),
		a.versionCommand(), a.completionCommand(),
	}, topics()...)
}
