package decompose

import "cloudcrowd.dev/cloudcrowd"

// marker chooses which of the places offered to it become marks: with a fixed size every size-th unit; otherwise places at least spacing bytes
// apart, closer where the most units of a task demand it. When there are too many, spacing doubles and marks between are
// forgotten, so that memory stays bounded whatever the input is. Of marks that are nothing but places, at every size-th unit, there may be far more: of those it keeps
// the offsets alone.
type marker struct {
	marks   []Mark
	offsets []int64 // in place of marks, once there are too many
	size    int64   // fixed units a task; 0: adaptive
	max     int64   // most units a task; 0: no bound
	spacing int64
	most    int  // marks kept
	places  int  // offsets kept; 0: none
	last    Mark // last mark kept
	prev    Mark // last place offered
	over    bool // more marks are needed than may be kept
}

// limits are the bounds of an index; tests use smaller ones.
type limits struct {
	spacing int64 // fewest bytes between two marks
	marks   int   // most marks
	places  int   // most places where sizes are fixed, if that is more
}

func newMarker(split *cloudcrowd.Split, l limits) *marker {
	m := &marker{size: split.Size, max: split.Max, spacing: l.spacing, most: l.marks}
	if split.Size > 0 && split.Overlap == 0 && l.places > l.marks {
		m.places = l.places
	}
	return m
}

// offer is called for every place where a cut is possible, in order.
func (m *marker) offer(at Mark) {
	switch {
	case len(m.marks) == 0 && m.offsets == nil:
		m.keep(at)
	case at.Unit == m.last.Unit: // an empty record: it belongs to what follows
	case m.size > 0:
		if at.Unit%m.size == 0 {
			m.keep(at)
		}
	default:
		if m.max > 0 && at.Unit-m.last.Unit > m.max && m.prev.Unit > m.last.Unit {
			m.keep(m.prev)
		}
		if at.Offset-m.last.Offset >= m.spacing && at.Unit > m.last.Unit {
			m.keep(at)
		}
	}
	m.prev = at
}

// keep makes at a mark.
func (m *marker) keep(at Mark) {
	m.last = at
	if m.over {
		return
	}
	if len(m.marks) == m.most {
		m.thin()
	}
	switch {
	case m.over:
	case m.offsets == nil:
		m.marks = append(m.marks, at)
	case len(m.offsets) == m.places:
		m.over = true
	default:
		m.offsets = append(m.offsets, at.Offset)
	}
}

// thin doubles the spacing until at most half of the marks are left, or goes over to offsets, or finds that the bounds do not allow it.
func (m *marker) thin() {
	switch {
	case m.places > 0:
		m.offsets = make([]int64, 0, 2*len(m.marks))
		for _, mark := range m.marks {
			m.offsets = append(m.offsets, mark.Offset)
		}
		m.marks = nil
		return
	case m.size > 0:
		m.over = true
		return
	}
	for {
		m.spacing *= 2
		kept := m.marks[:1]
		for i := 1; i < len(m.marks); i++ {
			last, next := kept[len(kept)-1], m.last.Unit
			if i+1 < len(m.marks) {
				next = m.marks[i+1].Unit
			}
			if m.marks[i].Offset-last.Offset >= m.spacing || m.max > 0 && next-last.Unit > m.max {
				kept = append(kept, m.marks[i])
			}
		}
		m.marks = kept
		switch {
		case len(kept) <= m.most/2:
			return
		case m.spacing > m.last.Offset:
			m.over = true
			return
		}
	}
}

// finish gives ix its marks and units, or reports the bound that needs too many cuts.
func (m *marker) finish(ix *Index, units int64, input, unitName string) error {
	most := max(m.most, m.places)
	least := (units + int64(most) - 1) / int64(most)
	if m.size == 0 && m.max > 0 && units-m.last.Unit > m.max && m.prev.Unit > m.last.Unit {
		m.keep(m.prev)
	}
	if ix.Units, ix.Marks = units, m.marks; !m.over {
		if m.offsets != nil {
			ix.pack(m.size, m.offsets)
		}
		return nil
	}
	field, value := "size", m.size
	if m.size == 0 {
		field, value, least = "max", m.max, 2*least
	}
	return &cloudcrowd.Error{Code: cloudcrowd.Invalid, Field: "split." + field,
		Msg:  cloudcrowd.Errorf(cloudcrowd.Invalid, "%d %s a task cut input %q, which has %d, in more than %d places", value, unitName, input, units, most).Msg,
		Hint: cloudcrowd.Errorf(cloudcrowd.Invalid, "choose %s: %d or more", field, max(least, value+1)).Msg}
}
