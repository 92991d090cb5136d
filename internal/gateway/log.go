package gateway

import (
	"fmt"
	"log/slog"
)

// busLog takes what the embedded bus has to say. Its notices are of no interest to an operator of CloudCrowd, so they come at debug level; its errors and
// warnings mostly speak of single connections and come at debug level too, but for fatal ones.
type busLog struct{ log *slog.Logger }

func (l busLog) Noticef(format string, v ...any) { l.debug(format, v) }
func (l busLog) Warnf(format string, v ...any)   { l.debug(format, v) }
func (l busLog) Errorf(format string, v ...any)  { l.debug(format, v) }
func (l busLog) Debugf(format string, v ...any)  { l.debug(format, v) }
func (l busLog) Tracef(format string, v ...any)  { l.debug(format, v) }

func (l busLog) Fatalf(format string, v ...any) {
	l.log.Error("worker gateway: bus: " + fmt.Sprintf(format, v...))
}

func (l busLog) debug(format string, v []any) {
	l.log.Debug("worker gateway: bus: " + fmt.Sprintf(format, v...))
}
