package jobfile

import (
	"math/big"

	"go.yaml.in/yaml/v4"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

// split reads how a stage is cut: exactly one key, the splitter's name.
func (p *parser) split(n *yaml.Node, path, stage string) *cloudcrowd.Split {
	s := &cloudcrowd.Split{}
	kinds := 0
	kind := func(k cloudcrowd.SplitKind, read func(n *yaml.Node, path string)) func(*yaml.Node, string) {
		return func(n *yaml.Node, path string) {
			kinds++
			s.Kind = k
			read(n, path)
		}
	}
	long := func(to *int64) func(*yaml.Node, string) {
		return func(n *yaml.Node, path string) { *to = p.integer(n, path) }
	}
	atLeast1 := func(to *int64) func(*yaml.Node, string) {
		return func(n *yaml.Node, path string) {
			before := len(p.problems.list)
			if *to = p.integer(n, path); *to < 1 && len(p.problems.list) == before {
				p.add(path, "must be 1 or more")
			}
		}
	}
	required := func(path string, f fields, n *yaml.Node, keys ...string) {
		have := map[string]bool{}
		for key, read := range f {
			f[key] = func(n *yaml.Node, path string) { have[key] = true; read(n, path) }
		}
		before := len(p.problems.list)
		p.object(n, path, f)
		for _, key := range keys {
			if !have[key] && len(p.problems.list) == before {
				p.add(path, "%s is missing", key)
			}
		}
	}
	// reads is a splitter over an input: a name alone, or keys.
	reads := func(k cloudcrowd.SplitKind, sized bool, more fields) func(*yaml.Node, string) {
		return kind(k, func(n *yaml.Node, path string) {
			if f := p.follow(n); f.Kind == yaml.ScalarNode {
				s.Input = p.text(n, path)
				return
			}
			f := fields{"input": func(n *yaml.Node, path string) { s.Input = p.text(n, path) }}
			if sized {
				f["size"], f["min"], f["max"] = atLeast1(&s.Size), atLeast1(&s.Min), atLeast1(&s.Max)
			}
			for key, read := range more {
				f[key] = read
			}
			required(path, f, n, "input")
		})
	}
	header := fields{"header": func(n *yaml.Node, path string) { s.NoHeader = !p.boolean(n, path) }}
	p.object(n, path, fields{
		"range": kind(cloudcrowd.SplitRange, func(n *yaml.Node, path string) {
			required(path, fields{"from": long(&s.From), "to": long(&s.To), "size": atLeast1(&s.Size), "min": atLeast1(&s.Min), "max": atLeast1(&s.Max)}, n, "to")
		}),
		"lines":  reads(cloudcrowd.SplitLines, true, nil),
		"csv":    reads(cloudcrowd.SplitCSV, true, header),
		"tsv":    reads(cloudcrowd.SplitTSV, true, header),
		"ndjson": reads(cloudcrowd.SplitNDJSON, true, nil),
		"fasta": reads(cloudcrowd.SplitFASTA, true, fields{"overlap": func(n *yaml.Node, path string) {
			if s.Overlap = p.integer(n, path); s.Overlap < 0 {
				p.add(path, "must be 0 or more")
			}
		}}),
		"fastq": reads(cloudcrowd.SplitFASTQ, true, nil),
		"files": reads(cloudcrowd.SplitFiles, false, nil),
		"grid":  kind(cloudcrowd.SplitGrid, func(n *yaml.Node, path string) { s.Grid = p.grid(n, path) }),
		"tiles": kind(cloudcrowd.SplitTiles, func(n *yaml.Node, path string) {
			required(path, fields{"width": atLeast1(&s.Width), "height": atLeast1(&s.Height), "tile": func(n *yaml.Node, path string) {
				if f := p.follow(n); f.Kind == yaml.ScalarNode {
					atLeast1(&s.TileW)(n, path)
					s.TileH = s.TileW
					return
				}
				var sides []int64
				p.list(n, path, func(n *yaml.Node, path string) {
					var v int64
					atLeast1(&v)(n, path)
					sides = append(sides, v)
				})
				if len(sides) != 2 {
					p.add(path, "expected one number or [width, height]")
					return
				}
				s.TileW, s.TileH = sides[0], sides[1]
			}}, n, "width", "height", "tile")
		}),
		"frames": kind(cloudcrowd.SplitFrames, func(n *yaml.Node, path string) {
			s.Size = 1
			required(path, fields{"from": long(&s.From), "to": long(&s.To), "size": atLeast1(&s.Size)}, n, "to")
		}),
		"each": kind(cloudcrowd.SplitEach, func(n *yaml.Node, path string) { s.Stage = p.text(n, path) }),
		"program": kind(cloudcrowd.SplitProgram, func(n *yaml.Node, path string) {
			s.Program = p.program(n, path, stage, splitProgram, nil)
		}),
	})
	if kinds != 1 && len(p.problems.list) == 0 {
		p.add(path, "expected exactly one splitter, found %d", kinds)
	}
	return s
}

// grid reads the axes of a parameter grid in their order.
func (p *parser) grid(n *yaml.Node, path string) (axes []cloudcrowd.GridAxis) {
	for _, m := range p.members(n, path) {
		field := join(path, m.key)
		axis := cloudcrowd.GridAxis{Name: m.key}
		switch f := p.follow(m.value); f.Kind {
		case yaml.SequenceNode:
			p.list(m.value, field, func(n *yaml.Node, path string) { axis.Values = append(axis.Values, p.gridValue(n, path)) })
		case yaml.MappingNode:
			axis.Values = p.steps(m.value, field)
		default:
			p.add(field, "expected a list of values, {from, to, steps} or {from, to, step}, found %s", describe(f))
		}
		axes = append(axes, axis)
	}
	return axes
}

// gridValue reads one value of an axis; params are filled in.
func (p *parser) gridValue(n *yaml.Node, path string) string {
	s, err := decompose.Expand(p.value(n, path), p.params)
	if err != nil {
		p.add(path, "%v", err)
	}
	return s
}

// steps makes the values of {from, to, steps} or {from, to, step}, both ends included. It counts exactly, in fractions, so that 0.1 three times is 0.3.
func (p *parser) steps(n *yaml.Node, path string) []string {
	var from, to, step *big.Rat
	var steps int64
	before := len(p.problems.list)
	rational := func(v **big.Rat) func(*yaml.Node, string) {
		return func(n *yaml.Node, path string) { *v = p.rational(n, path) }
	}
	p.object(n, path, fields{"from": rational(&from), "to": rational(&to), "step": rational(&step), "steps": func(n *yaml.Node, path string) {
		if steps = p.integer(n, path); steps < 1 || steps > maxAxis {
			p.add(path, "must be 1 to %d", maxAxis)
		}
	}})
	switch {
	case len(p.problems.list) > before:
		return nil
	case from == nil || to == nil || (step == nil) == (steps == 0):
		p.add(path, "expected {from, to, steps} or {from, to, step}")
		return nil
	case step == nil:
		step = new(big.Rat).Sub(to, from)
		if steps > 1 {
			step.Quo(step, big.NewRat(steps-1, 1))
		}
	default:
		if step.Sign() == 0 || step.Sign() != new(big.Rat).Sub(to, from).Sign() && from.Cmp(to) != 0 {
			p.add(path, "step does not lead from %s to %s", ratio(from), ratio(to))
			return nil
		}
		q := new(big.Rat).Sub(to, from)
		q.Quo(q, step)
		count := new(big.Int).Quo(q.Num(), q.Denom())
		if !count.IsInt64() || count.Int64() >= maxAxis {
			p.add(path, "more than %d values", maxAxis)
			return nil
		}
		steps = count.Int64() + 1
	}
	values := make([]string, steps)
	v := new(big.Rat).Set(from)
	for i := range values {
		values[i] = ratio(v)
		v.Add(v, step)
	}
	return values
}

func ratio(v *big.Rat) string {
	if v.IsInt() {
		return v.Num().String()
	}
	f, _ := v.Float64()
	return number(f)
}
