package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
)

// mesh is a set of triangles with a normal at each corner.
type mesh struct {
	points    []vector
	normals   []vector
	triangles []corners

	point, normal highest
}

// highest is the highest index that a face uses, from 0. Faces may come before the points they use.
type highest struct{ index, line int }

func (h *highest) see(index, line int) {
	if index >= h.index {
		h.index, h.line = index, line
	}
}

// check reports an index that names nothing.
func (h *highest) check(kind string, length int) error {
	if h.line > 0 && h.index >= length {
		return fmt.Errorf("line %d: index %d: there are %d lines that begin with %s", h.line, h.index+1, length, kind)
	}
	return nil
}

// corners are the three points of a triangle and the normals there, as indices.
type corners struct{ point, normal [3]int }

// maxTriangles bounds the memory that a mesh takes.
const maxTriangles = 2_000_000

// readMesh reads a Wavefront OBJ file, plain or gzip: v, vn and f lines. Faces of more than three corners become fans,
// negative indices count backwards, a backslash at the end of a line continues it, and corners without a normal get a
// smooth one. Everything else is passed over.
func readMesh(path string) (*mesh, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reader := bufio.NewReaderSize(file, 1<<16)
	head, _ := reader.Peek(4)
	if bytes.HasPrefix(head, []byte("\x1f\x8b")) {
		unzipped, err := gzip.NewReader(reader)
		if err != nil {
			return nil, err
		}
		return parseMesh(unzipped)
	}
	if string(head) == "\x28\xb5\x2f\xfd" {
		return nil, errors.New("this is zstd; give it uncompressed or as gzip")
	}
	return parseMesh(reader)
}

func parseMesh(r io.Reader) (*mesh, error) {
	m := &mesh{}
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	begun := "" // the lines before that end with a backslash
	for number := 1; scanner.Scan(); number++ {
		text, _, _ := strings.Cut(strings.TrimPrefix(scanner.Text(), "\ufeff"), "#")
		if before, ok := strings.CutSuffix(text, "\\"); ok {
			if begun += before + " "; len(begun) > 1<<20 {
				return nil, fmt.Errorf("line %d: continues lines of more than 1 MiB", number)
			}
			continue
		}
		fields := strings.Fields(begun + text)
		begun = ""
		if len(fields) == 0 {
			continue
		}
		var err error
		switch fields[0] {
		case "v":
			m.points, err = appendVector(m.points, fields)
		case "vn":
			m.normals, err = appendVector(m.normals, fields)
		case "f":
			err = m.face(fields[1:], number)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, err
	}
	if begun != "" {
		return nil, errors.New("the last line ends with a backslash: the file is cut short")
	}
	if len(m.triangles) == 0 {
		return nil, errors.New("not an OBJ file with faces: it has no line that begins with f")
	}
	if err := m.point.check("v", len(m.points)); err != nil {
		return nil, err
	}
	if err := m.normal.check("vn", len(m.normals)); err != nil {
		return nil, err
	}
	m.smooth()
	return m, nil
}

func appendVector(list []vector, fields []string) ([]vector, error) {
	if len(fields) < 4 {
		return nil, fmt.Errorf("%s needs three numbers", fields[0])
	}
	var n [3]float64
	for i := range n {
		v, err := strconv.ParseFloat(fields[i+1], 64)
		if err != nil || math.IsNaN(v) || math.Abs(v) > 1e12 {
			return nil, fmt.Errorf("%q is no coordinate", fields[i+1])
		}
		n[i] = v
	}
	return append(list, vector{n[0], n[1], n[2]}), nil
}

// face adds a polygon given as corners of the form 7, 7/1, 7//3 or 7/1/3.
func (m *mesh) face(fields []string, line int) error {
	if len(fields) < 3 {
		return fmt.Errorf("a face needs three corners, this one has %d", len(fields))
	}
	points, normals := make([]int, len(fields)), make([]int, len(fields))
	for i, field := range fields {
		parts := strings.Split(field, "/")
		var err error
		if points[i], err = index(parts[0], len(m.points)); err != nil {
			return err
		}
		m.point.see(points[i], line)
		normals[i] = -1
		if len(parts) > 2 && parts[2] != "" {
			if normals[i], err = index(parts[2], len(m.normals)); err != nil {
				return err
			}
			m.normal.see(normals[i], line)
		}
	}
	for i := 2; i < len(fields); i++ {
		if len(m.triangles) == maxTriangles {
			return fmt.Errorf("more than %d triangles", maxTriangles)
		}
		m.triangles = append(m.triangles, corners{[3]int{points[0], points[i-1], points[i]}, [3]int{normals[0], normals[i-1], normals[i]}})
	}
	return nil
}

// index turns a number of an OBJ file, from 1 or backwards from -1, to one of a slice that has length entries so far.
func index(text string, length int) (int, error) {
	n, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no index", text)
	case n < 0 && n >= -length:
		return length + n, nil
	case n > 0:
		return n - 1, nil
	}
	return 0, fmt.Errorf("index %d: there are %d so far", n, length)
}

// smooth gives every corner without a normal the mean normal of the faces around its point, weighted by their area.
func (m *mesh) smooth() {
	sums := make([]vector, len(m.points))
	for _, t := range m.triangles {
		a, b, c := m.points[t.point[0]], m.points[t.point[1]], m.points[t.point[2]]
		normal := b.minus(a).cross(c.minus(a))
		for _, p := range t.point {
			sums[p] = sums[p].plus(normal)
		}
	}
	first := len(m.normals)
	m.normals = append(m.normals, sums...)
	for i := range m.triangles {
		t := &m.triangles[i]
		for corner, normal := range t.normal {
			if normal < 0 {
				t.normal[corner] = first + t.point[corner]
			}
		}
	}
	for i := range m.normals {
		m.normals[i] = m.normals[i].unit()
	}
}

// bounds are the lowest and highest coordinates of all points that faces use.
func (m *mesh) bounds() (low, high vector) {
	low, high = vector{1e300, 1e300, 1e300}, vector{-1e300, -1e300, -1e300}
	for _, t := range m.triangles {
		for _, p := range t.point {
			low, high = lower(low, m.points[p]), upper(high, m.points[p])
		}
	}
	return low, high
}
