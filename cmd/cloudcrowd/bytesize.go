package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// byteSize is an option that holds a number of bytes: "512MiB", "8GB", "1000000".
type byteSize int64

var byteUnits = map[string]float64{"": 1, "b": 1,
	"k": 1 << 10, "kib": 1 << 10, "kb": 1e3, "m": 1 << 20, "mib": 1 << 20, "mb": 1e6, "g": 1 << 30, "gib": 1 << 30, "gb": 1e9, "t": 1 << 40, "tib": 1 << 40, "tb": 1e12}

// Set reads the text form.
func (s *byteSize) Set(text string) error {
	number := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit, ok := byteUnits[strings.ToLower(strings.TrimSpace(text[len(number):]))]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !ok || n < 0 || math.IsNaN(n) || n*unit >= math.MaxInt64 {
		return fmt.Errorf("%q is not a size; write for example 512MiB or 8GiB", text)
	}
	*s = byteSize(n * unit)
	return nil
}

// String writes the size in the largest unit that divides it; "" for zero.
func (s *byteSize) String() string {
	if s == nil || *s == 0 {
		return ""
	}
	for _, u := range []struct {
		name string
		size byteSize
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if *s%u.size == 0 {
			return fmt.Sprintf("%d%s", *s/u.size, u.name)
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Type is the word for the value in help texts.
func (s *byteSize) Type() string { return "size" }
