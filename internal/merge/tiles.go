package merge

import (
	"image"
	"image/color"
	"image/png"
	"io"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

// tiles places PNG tiles by the geometry of their split. Only one row of tiles is held at a time, so the picture may be larger than memory.
func (r *run) tiles() error {
	split := r.split
	if split == nil || split.Kind != cloudcrowd.SplitTiles {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "a tiles merge comes after a stage split by tiles")
	}
	name, err := r.name()
	if err != nil {
		return err
	}
	if split.Width*min(split.TileH, split.Height) > maxPixels {
		return cloudcrowd.Errorf(cloudcrowd.TooLarge, "a row of tiles is more than %d million pixels", maxPixels>>20).WithHint("choose tiles that are less high")
	}
	total, _ := decompose.Total(split, nil, 0, 0, true)
	if int64(len(r.parts)) != total {
		return cloudcrowd.Errorf(cloudcrowd.Internal, "%d tiles of %d", len(r.parts), total)
	}
	model, err := r.tileModel()
	if err != nil {
		return err
	}
	return r.create(name, func(out io.Writer) error {
		picture := &picture{run: r, split: split, model: model, row: -1}
		if err := png.Encode(out, picture); err != nil && picture.err == nil {
			return err
		}
		return picture.err
	})
}

// tileModel reads the headers of all tiles, checks their sizes before anything is decoded, and returns the colour model that holds them all.
func (r *run) tileModel() (color.Model, error) {
	depth16, alpha, colours := false, false, false
	err := r.each(func(p Part, name string, in io.Reader) error {
		config, err := png.DecodeConfig(in)
		if err != nil {
			return wrong(p, name, "not a PNG: %v", err)
		}
		_, _, w, h := decompose.Geometry(r.split, p.Unit.Lo)
		if int64(config.Width) != w || int64(config.Height) != h {
			return wrong(p, name, "%d × %d pixels where the tile has %d × %d", config.Width, config.Height, w, h)
		}
		switch config.ColorModel {
		case color.GrayModel:
		case color.Gray16Model:
			depth16 = true
		case color.RGBAModel:
			colours = true
		case color.RGBA64Model:
			colours, depth16 = true, true
		case color.NRGBA64Model:
			colours, depth16, alpha = true, true, true
		default:
			colours, alpha = true, true
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case depth16 && alpha:
		return color.NRGBA64Model, nil
	case depth16 && colours:
		return color.RGBA64Model, nil
	case depth16:
		return color.Gray16Model, nil
	case alpha:
		return color.NRGBAModel, nil
	case colours:
		return color.RGBAModel, nil
	}
	return color.GrayModel, nil
}

// picture is an image whose rows of tiles are decoded as the encoder reaches them. The encoder goes from top to bottom once.
type picture struct {
	run   *run
	split *cloudcrowd.Split
	model color.Model
	row   int64         // row of tiles in band; -1: none
	tiles []image.Image // of that row
	err   error         // first one; pixels are transparent from then on
}

// ColorModel implements image.Image.
func (p *picture) ColorModel() color.Model { return p.model }

// Bounds implements image.Image.
func (p *picture) Bounds() image.Rectangle {
	return image.Rect(0, 0, int(p.split.Width), int(p.split.Height))
}

// Opaque tells the encoder whether alpha is needed, so that it does not look at every pixel first.
func (p *picture) Opaque() bool { return p.model != color.NRGBAModel && p.model != color.NRGBA64Model }

// At implements image.Image.
func (p *picture) At(x, y int) color.Color {
	if row := int64(y) / p.split.TileH; row != p.row {
		p.load(row)
	}
	if p.err != nil {
		return p.model.Convert(color.Transparent)
	}
	tile := p.tiles[int64(x)/p.split.TileW]
	b := tile.Bounds()
	return tile.At(b.Min.X+x%int(p.split.TileW), b.Min.Y+y%int(p.split.TileH))
}

// load decodes a row of tiles.
func (p *picture) load(row int64) {
	p.row = row
	if p.err != nil {
		return
	}
	columns := (p.split.Width + p.split.TileW - 1) / p.split.TileW
	p.tiles = make([]image.Image, columns)
	for i := range columns {
		part := p.run.parts[row*columns+i]
		o, err := p.run.pick(part)
		if err == nil {
			err = p.run.open(o, func(in io.Reader) error {
				tile, err := png.Decode(in)
				if err != nil {
					return wrong(part, o.Path, "not a PNG: %v", err)
				}
				_, _, w, h := decompose.Geometry(p.split, part.Unit.Lo)
				if b := tile.Bounds(); int64(b.Dx()) != w || int64(b.Dy()) != h {
					return wrong(part, o.Path, "its size changed while it was read")
				}
				p.tiles[i] = tile
				return nil
			})
		}
		if err != nil {
			p.err = err
			return
		}
	}
}
