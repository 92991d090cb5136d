package replay

import (
	"context"
	"math"

	"cloudcrowd.dev/cloudcrowd/internal/wfformat"
)

// Result is one workflow over several crowds: means, ratios to the lower bound as means of ratios. It is one line of `cloudcrowd sim --workflow --json`.
type Result struct {
	File           string  `json:"file,omitempty"`
	Files          int     `json:"files,omitempty"` // of a summary: ratios are geometric means over files, seconds and bytes sums
	Makespan       float64 `json:"makespan_s"`
	Bound          float64 `json:"bound_s"`
	TightBound     float64 `json:"tight_bound_s"` // that counts that tasks run as a whole
	Ratio          float64 `json:"ratio"`
	TightRatio     float64 `json:"tight_ratio"`
	ExactRatio     float64 `json:"exact_ratio"` // planned with all lengths known and nobody leaving
	ListRatio      float64 `json:"list_ratio"`
	FIFORatio      float64 `json:"fifo_ratio"`
	FirstFreeRatio float64 `json:"first_free_ratio"`
	Moved          int64   `json:"bytes_moved"`
	FIFOMoved      int64   `json:"fifo_bytes_moved"`
	FirstFreeMoved int64   `json:"first_free_bytes_moved"`
	Tasks          int     `json:"tasks"`
	Workers        int     `json:"workers"`
	Crowds         int     `json:"crowds"`
	Seed           uint64  `json:"seed"`
	Attempts       float64 `json:"attempts"` // per crowd
	Lost           float64 `json:"lost"`
	Copies         float64 `json:"copies"`
	CopyShare      float64 `json:"copy_share"`
	Plans          float64 `json:"plans"`
}

// tightMarks is how finely TightBound looks here.
const tightMarks = 12

// Study replays a workflow over the first crowds of a seed: as the mode says, and beside it by the plain orders.
func Study(ctx context.Context, w *wfformat.Workflow, crowd Crowd, mode Mode, crowds int) (Result, error) {
	r := Result{Tasks: len(w.Tasks), Workers: crowd.Workers, Crowds: crowds, Seed: crowd.Seed}
	g, lengths := Graph(w, mode.FetchInput)
	plain := mode
	plain.Learned, plain.Error, plain.Up, plain.Straggle, plain.Speculate = false, 0, 0, 0, 0
	per := 1 / float64(crowds)
	var moved, fifoMoved, firstMoved float64
	for n := range crowds {
		crowd.Number = uint64(n)
		main, err := Run(ctx, w, crowd, mode, nil)
		if err != nil {
			return r, err
		}
		exact := main
		if mode != plain {
			if exact, err = Run(ctx, w, crowd, plain, nil); err != nil {
				return r, err
			}
		}
		beside, err := Beside(ctx, w, crowd, mode)
		if err != nil {
			return r, err
		}
		tight := g.TightBound(lengths, crowd.Make(), tightMarks)
		r.Makespan += main.Makespan * per
		r.Bound += main.Bound * per
		r.TightBound += tight * per
		r.Ratio += main.Ratio() * per
		main.Bound = tight
		r.TightRatio += main.Ratio() * per
		r.ExactRatio += exact.Ratio() * per
		r.ListRatio += beside[List].Ratio() * per
		r.FIFORatio += beside[FIFO].Ratio() * per
		r.FirstFreeRatio += beside[FirstFree].Ratio() * per
		moved += float64(main.Moved) * per
		fifoMoved += float64(beside[FIFO].Moved) * per
		firstMoved += float64(beside[FirstFree].Moved) * per
		r.Attempts += float64(main.Attempts) * per
		r.Lost += float64(main.Lost) * per
		r.Copies += float64(main.Copies) * per
		r.CopyShare += main.CopyShare * per
		r.Plans += float64(main.Plans) * per
	}
	r.Moved, r.FIFOMoved, r.FirstFreeMoved = int64(math.Round(moved)), int64(math.Round(fifoMoved)), int64(math.Round(firstMoved))
	return r, nil
}

// Beside replays a workflow over the same crowd by the plain orders.
func Beside(ctx context.Context, w *wfformat.Workflow, crowd Crowd, mode Mode) (map[Order]Report, error) {
	reports := map[Order]Report{}
	for _, order := range []Order{List, FIFO, FirstFree} {
		mode.Order, mode.Speculate = order, 0
		r, err := Run(ctx, w, crowd, mode, nil)
		if err != nil {
			return nil, err
		}
		reports[order] = r
	}
	return reports, nil
}

// Summary takes the results of several workflows together.
func Summary(results []Result) Result {
	var s Result
	per := 1 / float64(len(results))
	logs := func(ratio *float64, of func(Result) float64) {
		sum := 0.0
		for _, r := range results {
			sum += math.Log(of(r)) * per
		}
		*ratio = math.Exp(sum)
	}
	logs(&s.Ratio, func(r Result) float64 { return r.Ratio })
	logs(&s.TightRatio, func(r Result) float64 { return r.TightRatio })
	logs(&s.ExactRatio, func(r Result) float64 { return r.ExactRatio })
	logs(&s.ListRatio, func(r Result) float64 { return r.ListRatio })
	logs(&s.FIFORatio, func(r Result) float64 { return r.FIFORatio })
	logs(&s.FirstFreeRatio, func(r Result) float64 { return r.FirstFreeRatio })
	s.Files, s.Workers, s.Crowds, s.Seed = len(results), results[0].Workers, results[0].Crowds, results[0].Seed
	for _, r := range results {
		s.Makespan, s.Bound, s.TightBound = s.Makespan+r.Makespan, s.Bound+r.Bound, s.TightBound+r.TightBound
		s.Moved, s.FIFOMoved, s.FirstFreeMoved = s.Moved+r.Moved, s.FIFOMoved+r.FIFOMoved, s.FirstFreeMoved+r.FirstFreeMoved
		s.Tasks += r.Tasks
		s.Attempts, s.Lost, s.Copies, s.Plans = s.Attempts+r.Attempts, s.Lost+r.Lost, s.Copies+r.Copies, s.Plans+r.Plans
		s.CopyShare += r.CopyShare * per
	}
	return s
}
