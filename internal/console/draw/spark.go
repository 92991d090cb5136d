package draw

import (
	"fmt"
	"html/template"
	"strings"
)

// Sparkline draws values, oldest first, as a small line from zero. Fewer than two values draw a base line.
func Sparkline(title, desc string, values []float64) template.HTML {
	const w, h = 160.0, 32.0
	c := open("", "spark", w, h, title, desc)
	c.line("axis", 0, h-0.5, w, h-0.5)
	if len(values) > 1 {
		top := 0.0
		for _, v := range values {
			top = max(top, v)
		}
		if top == 0 {
			top = 1
		}
		var d strings.Builder
		var x, y float64
		for i, v := range values {
			x, y = float64(i)/float64(len(values)-1)*(w-4)+1, h-2-v/top*(h-6)
			verb := "L"
			if i == 0 {
				verb = "M"
			}
			fmt.Fprintf(&d, "%s%s %s", verb, num(x), num(y))
		}
		c.path("area", d.String()+fmt.Sprintf("L%s %sL1 %sZ", num(x), num(h-1), num(h-1)))
		c.path("line", d.String())
		fmt.Fprintf(c, `<circle class="dot" cx="%s" cy="%s" r="2"/>`, num(x), num(y))
	}
	return c.done()
}

// Segment is one stage of a strip or meter: shares of its work from 0 to 1.
type Segment struct {
	Name                  string
	Weight                float64 // relative width; 0 counts as 1
	Done, Running, Failed float64
}

// Strip draws a job's stages side by side, each filled as far as it is done, then hatched for what is running. label says the same in words.
func Strip(label string, segments []Segment) template.HTML {
	const w, h, gap = 160.0, 12.0, 3.0
	c := open("", "strip", w, h, label, "")
	total := 0.0
	for _, s := range segments {
		total += weight(s)
	}
	room := w - gap*float64(max(len(segments)-1, 0))
	x := 0.0
	for _, s := range segments {
		sw := room * weight(s) / total
		bar(c, x, 0, sw, h, s)
		x += sw + gap
	}
	if len(segments) == 0 {
		c.rect("track", 0, 0, w, h, "")
	}
	return c.done()
}

func weight(s Segment) float64 {
	if s.Weight <= 0 {
		return 1
	}
	return s.Weight
}

// bar draws one filled track: done solid, failed beside it, running as an outlined part with a mark at its front.
func bar(c *canvas, x, y, w, h float64, s Segment) {
	c.rect("track", x, y, w, h, "")
	done := share(s.Done) * w
	failed := min(share(s.Failed)*w, w-done)
	if s.Failed > 0 {
		failed = min(max(failed, 2), w-done)
	}
	running := min(share(s.Running)*w, w-done-failed)
	if s.Running > 0 {
		running = min(max(running, 2), w-done-failed)
	}
	if done > 0 {
		c.rect("fill done", x, y, done, h, "")
	}
	if running > 0 {
		c.rect("fill running", x+done, y+h*0.3, running, h*0.4, "")
	}
	if failed > 0 {
		c.rect("fill failed", x+w-failed, y, failed, h, "")
	}
}

// Meter draws one bar of 0..1, wide as its container.
func Meter(label string, s Segment) template.HTML {
	const w, h = 400.0, 8.0
	c := &canvas{}
	fmt.Fprintf(c, `<svg class="meter" viewBox="0 0 %s %s" preserveAspectRatio="none" role="img" aria-label="%s">`, num(w), num(h), template.HTMLEscapeString(label))
	bar(c, 0, 0, w, h, s)
	return c.done()
}

// Slots draws a worker's slots as cells: busy filled, idle outlined, offline dashed. More than 64 slots are drawn as one proportional cell.
func Slots(label string, slots, busy int, online bool) template.HTML {
	const size, gap, columns = 12, 3, 8
	if slots < 1 {
		slots = 1
	}
	if slots > 64 {
		c := open("", "slots", columns*(size+gap)-gap, size*2, label, "")
		c.rect(slotClass(online, false), 0.5, 0.5, columns*(size+gap)-gap-1, size*2-1, "")
		c.rect("slot busy", 1, 1, (columns*(size+gap)-gap-2)*share(float64(busy)/float64(slots)), size*2-2, "")
		return c.done()
	}
	wide, rows := min(slots, columns), (slots+columns-1)/columns
	c := open("", "slots", float64(wide*(size+gap)-gap), float64(rows*(size+gap)-gap), label, "")
	var cells [2]strings.Builder // one path for the busy and one for the others: a crowd has thousands of slots
	for i := range slots {
		k := 0
		if i < busy && online {
			k = 1
		}
		fmt.Fprintf(&cells[k], "M%d.5 %d.5h%dv%dh-%dz", i%columns*(size+gap), i/columns*(size+gap), size-1, size-1, size-1)
	}
	c.path(slotClass(online, false), cells[0].String())
	c.path(slotClass(online, true), cells[1].String())
	return c.done()
}

func slotClass(online, busy bool) string {
	switch {
	case !online:
		return "slot gone"
	case busy:
		return "slot busy"
	}
	return "slot idle"
}
