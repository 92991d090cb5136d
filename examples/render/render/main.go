// Command render traces the light in a scene around a triangle mesh, a tile of a picture or a frame of an animation at
// a time.
//
//	render tile -x 64 -y 0 -w 64 -h 64 …   /in/mesh    → /out/tile.png
//	render frame -frame 3 -frames 24 …     /in/mesh    → /out/frame.png
//
// The colour of a pixel depends on the seed and its place in the picture alone, so tiles of any size make the same
// picture, bit for bit.
package main

import (
	"errors"
	"flag"
	"fmt"
	"image"
	"image/png"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "render:", err)
		os.Exit(1)
	}
}

// run performs one command. It reads only below -in and writes only below -out.
func run(args []string) error {
	if len(args) == 0 {
		return errors.New("which command? use: render tile -w 480 -h 270, or render frame -frame 0 -frames 24")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	in := flags.String("in", "/in", "folder of the inputs")
	out := flags.String("out", "/out", "folder for the results")
	var v view
	flags.IntVar(&v.width, "width", 480, "pixels of the whole picture, 1 to 16384")
	flags.IntVar(&v.height, "height", 270, "pixels of the whole picture, 1 to 16384")
	flags.IntVar(&v.samples, "samples", 16, "paths a pixel, 1 to 65536")
	flags.Uint64Var(&v.seed, "seed", 1, "seed of all paths")
	flags.StringVar(&v.paint, "paint", "cow", "surface of the mesh: cow or clay")
	var tile image.Rectangle
	name := ""
	switch args[0] {
	case "tile":
		x := flags.Int("x", 0, "left edge of the tile")
		y := flags.Int("y", 0, "upper edge of the tile")
		w := flags.Int("w", 0, "width of the tile; 0: to the edge of the picture")
		h := flags.Int("h", 0, "height of the tile; 0: to the edge of the picture")
		turn := flags.Float64("turn", 0, "per cent of a full turn")
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		if *w == 0 {
			*w = v.width - *x
		}
		if *h == 0 {
			*h = v.height - *y
		}
		v.turn = *turn / 100
		tile, name = image.Rect(*x, *y, *x+*w, *y+*h), "tile.png"
		if *w < 1 || *h < 1 || !tile.In(image.Rect(0, 0, v.width, v.height)) {
			return fmt.Errorf("-x %d -y %d -w %d -h %d: no tile of a picture of %d by %d pixels", *x, *y, *w, *h, v.width, v.height)
		}
	case "frame":
		frame := flags.Int("frame", 0, "number of the frame, from 0")
		frames := flags.Int("frames", 24, "frames of a full turn, at least 1")
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		if *frames < 1 || *frame < 0 {
			return fmt.Errorf("-frame %d -frames %d: must be at least 0 and 1", *frame, *frames)
		}
		v.turn = float64(*frame%*frames) / float64(*frames)
		tile, name = image.Rect(0, 0, v.width, v.height), "frame.png"
	default:
		return fmt.Errorf("unknown command %q; known: tile, frame", args[0])
	}
	if err := v.validate(); err != nil {
		return err
	}
	m, err := readMesh(*in + "/mesh")
	if err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	return writePNG(*out+"/"+name, render(newScene(m, v), v, tile))
}

// view says how the scene is looked at.
type view struct {
	width, height, samples int
	turn                   float64 // of the mesh, in full turns
	paint                  string
	seed                   uint64
}

func (v view) validate() error {
	const largest = 16384
	switch {
	case v.width < 1 || v.height < 1 || v.width > largest || v.height > largest:
		return fmt.Errorf("-width %d -height %d: must be from 1 to %d", v.width, v.height, largest)
	case v.samples < 1 || v.samples > 65536:
		return fmt.Errorf("-samples %d: must be from 1 to 65536", v.samples)
	case v.paint != "cow" && v.paint != "clay":
		return fmt.Errorf("-paint %q: must be cow or clay", v.paint)
	case !(v.turn >= -1e6 && v.turn <= 1e6):
		return fmt.Errorf("-turn %v: must be a number", v.turn*100)
	}
	return nil
}

// parse reads flags and refuses arguments that are none.
func parse(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard) // the error says it once
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(os.Stderr)
		flags.PrintDefaults()
		return errors.New("nothing was done")
	}
	if err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s: unexpected argument %q", flags.Name(), flags.Arg(0))
	}
	return nil
}

func writePNG(path string, picture image.Image) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(png.Encode(file, picture), file.Close())
}
