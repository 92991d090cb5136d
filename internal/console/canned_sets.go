package console

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

func cannedWorker(n int, name string, owner cloudcrowd.AccountID, slots int, speed float64) cloudcrowd.WorkerView {
	return cloudcrowd.WorkerView{
		Worker: cloudcrowd.Worker{ID: cloudcrowd.WorkerID(fmt.Sprintf("U%055d", n)), Name: name, Owner: owner, RegisteredAt: cloudcrowd.TimeOf(galleryTime.Add(-72 * time.Hour))},
		Info: cloudcrowd.WorkerInfo{Name: name, Version: "0.1.0", OS: "linux", Arch: []string{"amd64", "arm64"}[n%2], CPU: "AMD EPYC 7763", Cores: slots, Slots: slots, Speed: speed,
			MemoryBytes: int64(slots) << 30, DiskBytes: 20 << 30, Sandboxes: []string{"wasm"}},
		Online: true, LastSeen: cloudcrowd.TimeOf(galleryTime.Add(-3 * time.Second)), CachedBytes: int64(n%7+1) * 37 << 20, Standing: "trusted", ErrorRate: 0.0004,
	}
}

func cannedEmpty() *canned {
	d := &canned{blobs: map[cloudcrowd.Digest][]byte{}}
	d.settle(nil)
	return d
}

// put stores bytes and returns them as an output file.
func (d *canned) put(stage, name string, b []byte) cloudcrowd.StageOutput {
	sum := sha256.Sum256(b)
	digest := cloudcrowd.Digest(hex.EncodeToString(sum[:]))
	d.blobs[digest] = b
	return cloudcrowd.StageOutput{Stage: stage, Task: -1, OutputFile: cloudcrowd.OutputFile{Path: name, Digest: digest, SizeBytes: int64(len(b))}}
}

func cannedSpectrum() []byte {
	var b strings.Builder
	b.WriteString("multiplicity\tdistinct_kmers\n")
	for m := 1; m <= 400; m++ {
		peak := 4.4e6 * math.Exp(-math.Pow(math.Log(float64(m)), 2)/0.4)
		fmt.Fprintf(&b, "%d\t%d\n", m, int(peak+3e4/math.Pow(float64(m), 1.3))+1)
	}
	return []byte(b.String())
}

func cannedPicture() []byte {
	img := image.NewRGBA(image.Rect(0, 0, 480, 270))
	for y := range 270 {
		for x := range 480 {
			u, v := float64(x)/480-0.5, float64(y)/270-0.5
			r := math.Hypot(u*1.8, v)
			shade := math.Max(0, 1-r*2.2)
			img.Set(x, y, color.RGBA{uint8(40 + 190*shade), uint8(60 + 120*shade*(1-u)), uint8(90 + 90*math.Abs(v)), 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func cannedSmall() *canned {
	rng := rand.New(rand.NewPCG(7, 11))
	d := &canned{blobs: map[cloudcrowd.Digest][]byte{digestOf("log"): []byte("counting bases 0..147456\n147436 k-mers, 141020 distinct\n")}}
	d.workers = []cloudcrowd.WorkerView{cannedWorker(1, "lab-bench-1", "bob", 4, 1.42), cannedWorker(2, "lab-bench-2", "bob", 4, 1.38), cannedWorker(3, "attic", "carol", 2, 0.71),
		cannedWorker(4, "mallory", "mallory", 2, 1.1), cannedWorker(5, "laptop", "dave", 1, 0.94)}
	d.workers[4].Online, d.workers[4].LastSeen, d.workers[4].Standing = false, cloudcrowd.TimeOf(galleryTime.Add(-50*time.Minute)), "new"
	d.run(rng, cannedOrder{name: "k-mer spectrum of E. coli", account: "alice", budget: 2_500_000, ago: 38 * time.Second, deadline: 10 * time.Minute,
		stages:  []cannedStage{{name: "count", kind: "fasta → kmers count", unit: "bases", tasks: 64, seconds: 4.5, units: 4_641_652, program: true}, {name: "spectrum", kind: "merge by kmers, fan-in 16", after: []string{"count"}, tasks: 5, seconds: 2, program: true}},
		notes:   []string{"Accepted with a hold of 2.5 credits.", "4 results from mallory were refused: they differ from what two other owners' workers agreed on."},
		explain: []string{"It is as fast as its 12 slots allow: every slot is busy, and count has the longest path left."}})
	d.run(rng, cannedOrder{name: "value at risk, one million paths", account: "alice", budget: 1_200_000, ago: 3 * time.Hour,
		stages: []cannedStage{{name: "prices", kind: "one task: estimate", tasks: 1, seconds: 3, program: true}, {name: "paths", kind: "range → risk simulate", unit: "paths", after: []string{"prices"}, tasks: 40, seconds: 3, units: 1_000_000, program: true},
			{name: "asian", kind: "range → risk asian", unit: "paths", after: []string{"prices"}, tasks: 24, seconds: 2, units: 500_000, program: true}, {name: "tables", kind: "merge csv", after: []string{"paths"}, tasks: 1}, {name: "report", kind: "one task: report", after: []string{"tables", "asian"}, tasks: 1, seconds: 1, program: true}},
		notes: []string{"Accepted with a hold of 1.2 credits.", "3 results from mallory were refused: they differ from what two other owners' workers agreed on.", "Done. What was not spent went back."},
		outputs: []cloudcrowd.StageOutput{d.put("report", "risk.json", []byte(`{"var_99":0.02314,"expected_shortfall":0.0279,"european":{"price":7.965,"interval":[7.951,7.979],"black_scholes":7.9656},"paths":1000000}`)), d.put("tables", "spectrum.tsv", cannedSpectrum()),
			d.put("report", "picture.png", cannedPicture()), d.put("report", "notes.txt", []byte("Drift and volatility were estimated from 1,258 trading days.\n"))}})
	d.run(rng, cannedOrder{name: "lennard-jones phase diagram", account: "eve", budget: 900_000, ago: 5 * time.Hour, cancel: true,
		stages: []cannedStage{{name: "grid", kind: "grid 8 × 8 → physics", tasks: 20, seconds: 2, program: true}, {name: "diagram", kind: "merge csv", after: []string{"grid"}, tasks: 20}}})
	d.run(rng, cannedOrder{name: "security report of October", account: "alice", budget: 400_000, ago: 26 * time.Hour, breaks: "scan",
		stages: []cannedStage{{name: "scan", kind: "lines → logs scan", unit: "lines", tasks: 12, seconds: 2, units: 84_000, program: true}, {name: "report", kind: "merge json", after: []string{"scan"}, tasks: 1}},
		notes:  []string{"Task scan #2 failed on 4 workers with exit status 2. Read its stderr, correct the program and submit again."}})
	d.workers[3].Standing, d.workers[3].ErrorRate = "distrusted", 0.42
	d.workers[2].Standing, d.workers[2].ErrorRate = "probation", 0.06
	d.invites = []cloudcrowd.Invite{{ID: "inv-7f3a", Owner: "bob", MaxUses: 0, Uses: 2, CreatedAt: cloudcrowd.TimeOf(galleryTime.Add(-70 * time.Hour)), ExpiresAt: cloudcrowd.TimeOf(galleryTime.Add(30 * time.Hour))},
		{ID: "inv-11c0", Owner: "carol", MaxUses: 1, CreatedAt: cloudcrowd.TimeOf(galleryTime.Add(-2 * time.Hour))}}
	d.status.TasksPerSecond, d.status.WaitingSeconds, d.status.CreditsPerHour = 2.4, 3.1, 1_240_000
	d.settle(map[cloudcrowd.AccountID]cloudcrowd.Credits{"alice": 100_000_000 / 10, "eve": 2_000_000})
	return d
}

func cannedHuge() *canned {
	rng := rand.New(rand.NewPCG(3, 5))
	d := &canned{blobs: map[cloudcrowd.Digest][]byte{digestOf("log"): []byte("ok\n")}}
	owners := []cloudcrowd.AccountID{"bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "kim", "lou", "max", "nina", "olga"}
	for n := range 400 {
		d.workers = append(d.workers, cannedWorker(n, fmt.Sprintf("node-%03d.cluster.example", n), owners[n%len(owners)], []int{4, 8, 16, 32}[n%4], 0.6+rng.Float64()*1.4))
	}
	d.workers[17].Info.Slots = 96
	d.workers[40].Online = false
	wide := []cannedStage{{name: "fetch", kind: "files → fetch", tasks: 40, seconds: 3, program: true}}
	for i := range 22 {
		wide = append(wide, cannedStage{name: fmt.Sprintf("chromosome-%d", i+1), kind: "each fetch → align, call variants", unit: "reads", after: []string{"fetch"}, tasks: 450, seconds: 20, units: 40_000_000, program: true})
	}
	var names []string
	for _, s := range wide[1:] {
		names = append(names, s.name)
	}
	wide = append(wide, cannedStage{name: "cohort", kind: "merge by joint calling, fan-in 16", after: names, tasks: 60, seconds: 5, program: true})
	d.run(rng, cannedOrder{name: "1000 genomes, joint variant calling, second run with the corrected reference and the longest name anybody gave to a job so far", account: "alice", budget: 250_000_000, ago: 52 * time.Second, stages: wide, chance: 0.01,
		notes: []string{"Accepted with a hold of 250 credits.", "144 leases expired; their tasks went elsewhere."}, explain: []string{"All slots are busy; 4 more workers would end it 3 s earlier."}})
	for i := range 300 {
		d.run(rng, cannedOrder{name: fmt.Sprintf("parameter sweep %d", i), account: owners[i%len(owners)], budget: 5_000_000, ago: time.Duration(i+1) * 11 * time.Minute, stages: []cannedStage{{name: "sweep", kind: "grid → model", tasks: 6, seconds: 9, program: true}, {name: "table", kind: "merge csv", after: []string{"sweep"}, tasks: 1}},
			outputs: []cloudcrowd.StageOutput{d.put("table", "sweep.csv", []byte(hugeTable()))}})
	}
	d.status.TasksPerSecond, d.status.WaitingSeconds, d.status.CreditsPerHour = 48_211, 0.4, 18_400_000_000
	issued := map[cloudcrowd.AccountID]cloudcrowd.Credits{"alice": 1_000_000_000}
	for _, o := range owners {
		issued[o] = 100_000_000
	}
	d.settle(issued)
	return d
}

func hugeTable() string {
	var b strings.Builder
	b.WriteString("temperature,density,pressure,phase\n")
	for i := range 3000 {
		fmt.Fprintf(&b, "%.3f,%.3f,%.5f,%s\n", 0.5+float64(i)*0.001, 0.1+float64(i%50)*0.02, math.Sin(float64(i)/80)*3, []string{"solid", "liquid", "gas"}[i%3])
	}
	return b.String()
}

func cannedFailing() *canned {
	rng := rand.New(rand.NewPCG(1, 9))
	d := &canned{blobs: map[cloudcrowd.Digest][]byte{}}
	d.workers = []cloudcrowd.WorkerView{cannedWorker(1, "lab-bench-1", "bob", 2, 1.42), cannedWorker(2, "flaky-wifi", "carol", 2, 0.9), cannedWorker(3, "mallory", "mallory", 2, 1.1), cannedWorker(4, "attic", "dave", 2, 0.7)}
	out := d.put("risk", "lost.json", []byte("{}"))
	delete(d.blobs, out.Digest)
	d.run(rng, cannedOrder{name: "<script>alert(1)</script> & friends", account: "alice", budget: 40_000, ago: 10 * time.Minute, breaks: "scan", chance: 0.25,
		stages: []cannedStage{{name: "scan", kind: "csv → check", unit: "records", tasks: 12, seconds: 6, units: 120_000, program: true}, {name: "risk", kind: "merge csv", after: []string{"scan"}, tasks: 1}},
		notes:  []string{"Task scan #2 failed on 4 workers with exit status 2: record 88 on line 4012: wrong number of fields. Correct the input or the program and submit again.", "5 results from mallory were refused."}})
	d.run(rng, cannedOrder{name: "results that cannot be read", account: "alice", budget: 100_000, ago: time.Hour, stages: []cannedStage{{name: "risk", kind: "one task", tasks: 1, seconds: 4, program: true}}, outputs: []cloudcrowd.StageOutput{out}})
	d.run(rng, cannedOrder{name: "waits for machines that are not here", account: "alice", budget: 500_000, ago: 40 * time.Second, chance: 0.4, stages: []cannedStage{{name: "train", kind: "range → train", unit: "steps", tasks: 30, seconds: 30, units: 3000, program: true}},
		explain: []string{"18 tasks wait: they need 8 GiB of memory, and no worker here offers more than 2 GiB.", "Lower resources.memory or let a larger machine join."}})
	for i := range d.workers {
		if i > 0 {
			d.workers[i].Online, d.workers[i].Running, d.workers[i].Standing, d.workers[i].ErrorRate = false, nil, "probation", 0.2
			d.workers[i].LastSeen = cloudcrowd.TimeOf(galleryTime.Add(-time.Duration(i) * 20 * time.Minute))
		}
	}
	d.workers[2].Standing, d.workers[2].ErrorRate, d.workers[2].Revoked = "distrusted", 0.8, true
	d.status.Attention = []string{"The disk of the data directory is 97 % full (412 MiB left).", "3 of 4 workers have not been seen for 20 minutes.", "Job \"waits for machines that are not here\" cannot run: no worker offers 8 GiB of memory."}
	d.status.ReadOnly = "No new jobs are accepted: the disk is almost full. Running work goes on; it will be accepted again once 1 GiB is free."
	d.status.LedgerSum, d.status.WaitingSeconds = -12, 1260
	d.settle(map[cloudcrowd.AccountID]cloudcrowd.Credits{"alice": 1_000_000})
	d.accounts[0].Balance -= 12
	return d
}
