package lifecycle

import (
	"iter"
	"math/bits"
)

// numbers is a set of tasks of a stage by number: a bit each, and a bit for every 64 of them that are not all absent. Adding and removing touches two words, whatever
// it holds, and a stage of ten million tasks takes a megabyte and a quarter.
type numbers struct {
	words []uint64
	some  []uint64 // which words are not 0
	n     int
}

func (s *numbers) add(i int32) {
	w := int(i >> 6)
	for len(s.words) <= w {
		s.words = append(s.words, 0)
	}
	for len(s.some) <= w>>6 {
		s.some = append(s.some, 0)
	}
	if bit := uint64(1) << (i & 63); s.words[w]&bit == 0 {
		s.words[w] |= bit
		s.some[w>>6] |= 1 << (w & 63)
		s.n++
	}
}

func (s *numbers) remove(i int32) {
	w, bit := int(i>>6), uint64(1)<<(i&63)
	if w < len(s.words) && s.words[w]&bit != 0 {
		if s.words[w] &^= bit; s.words[w] == 0 {
			s.some[w>>6] &^= 1 << (w & 63)
		}
		s.n--
	}
}

func (s *numbers) has(i int32) bool {
	w := int(i >> 6)
	return w < len(s.words) && s.words[w]&(1<<(i&63)) != 0
}

// all goes through the numbers in order.
func (s *numbers) all() iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for k, some := range s.some {
			for ; some != 0; some &= some - 1 {
				w := k<<6 + bits.TrailingZeros64(some)
				for word := s.words[w]; word != 0; word &= word - 1 {
					if !yield(int32(w<<6 + bits.TrailingZeros64(word))) {
						return
					}
				}
			}
		}
	}
}

// list is the numbers in order, for whoever changes the set meanwhile.
func (s *numbers) list() []int32 {
	list := make([]int32, 0, s.n)
	for i := range s.all() {
		list = append(list, i)
	}
	return list
}
