package history

import "cloudcrowd.dev/cloudcrowd"

// The numbers of the fields are part of the format: a new field gets a new number at the end, and reads as zero from segments without it.
const (
	taskOffset = iota
	taskJob
	taskStage
	taskIndex
	taskState
	taskLo
	taskHi
	taskLabel
	taskQuorum
	taskCanonical
	taskOutputs
	taskPath
	taskDigest
	taskSize
	taskCost
	taskCreated
	taskEnded
	taskReason

	attemptOffset
	attemptN
	attemptStage
	attemptWorker
	attemptName
	attemptState
	attemptLeased
	attemptEnded
	attemptDigest
	attemptProgress
	attemptCharge
	attemptVerdict

	resultIs
	resultOutcome
	resultExit
	resultReason
	resultOutputs
	resultPath
	resultDigest
	resultSize
	resultCPU
	resultWall
	resultMemory
	resultInput
	resultOutput
	resultStderr
	resultLog

	whyFinish
	whyWait
	whyFetch
	whyRun
	whyRank
	whyCandidates
	whyRunnerUp
	whyRunnerUpSecs
	whyPurpose

	chargeOffset
	chargeN
	chargeWorker
	chargeRequester
	chargeOwner
	chargeGross
	chargeFee
	chargeCoreSeconds
	chargeAt
	chargeShard
	chargeSeq

	turnIs
	turnUsage
	turnRunning
	turnQuota
	turnWeight
	turnRequesters
	turnPriority
	turnSlack

	lateIs
	lateN
	lateElapsed
	lateExpected
	lateRemaining

	fields
)

// id is a task's id as its offset in the block.
func (c *coder) id(field int, p Place, id *cloudcrowd.TaskID) {
	offset := id.Index & (BlockTasks - 1)
	number(c, field, &offset)
	if c.reading {
		c.bad = c.bad || offset < 0 || offset >= BlockTasks
		*id = p.task(offset)
	}
}

func (c *coder) task(p Place, t *cloudcrowd.Task) {
	c.id(taskOffset, p, &t.ID)
	word(c, taskJob, &t.Job)
	word(c, taskStage, &t.Stage)
	shift := t.Index - t.ID.Index // 0: it says the same twice
	number(c, taskIndex, &shift)
	if c.reading {
		t.Index = t.ID.Index + shift
	}
	word(c, taskState, &t.State)
	number(c, taskLo, &t.Unit.Lo)
	number(c, taskHi, &t.Unit.Hi)
	text(c, taskLabel, &t.Label)
	number(c, taskQuorum, &t.Quorum)
	number(c, taskCanonical, &t.Canonical)
	c.outputs(taskOutputs, taskPath, taskDigest, taskSize, &t.Outputs)
	number(c, taskCost, &t.Cost)
	number(c, taskCreated, &t.CreatedAt)
	number(c, taskEnded, &t.EndedAt)
	word(c, taskReason, &t.Reason)
}

func (c *coder) outputs(count, path, sum, size int, list *[]cloudcrowd.OutputFile) {
	n := len(*list)
	number(c, count, &n)
	if c.reading && n != 0 {
		if n < 0 || n > MaxItems {
			c.bad = true
			return
		}
		*list = make([]cloudcrowd.OutputFile, 0, min(n, 1024))
		for i := 0; i < n && !c.bad; i++ {
			var f cloudcrowd.OutputFile
			c.output(path, sum, size, &f)
			*list = append(*list, f)
		}
		return
	}
	for i := range *list {
		c.output(path, sum, size, &(*list)[i])
	}
}

func (c *coder) output(path, sum, size int, f *cloudcrowd.OutputFile) {
	word(c, path, &f.Path)
	digest(c, sum, &f.Digest)
	number(c, size, &f.SizeBytes)
}

func (c *coder) attempt(p Place, a *cloudcrowd.Attempt) {
	c.id(attemptOffset, p, &a.ID.Task)
	number(c, attemptN, &a.ID.N)
	word(c, attemptStage, &a.Stage)
	word(c, attemptWorker, &a.Worker)
	word(c, attemptName, &a.WorkerName)
	word(c, attemptState, &a.State)
	number(c, attemptLeased, &a.LeasedAt)
	number(c, attemptEnded, &a.EndedAt)
	digest(c, attemptDigest, &a.ResultDigest)
	c.float(attemptProgress, &a.Progress)
	number(c, attemptCharge, &a.Charge)
	word(c, attemptVerdict, &a.Verdict)
	if r := present(c, resultIs, &a.Result); r != nil {
		c.result(r)
	}
	w := &a.Why
	c.float(whyFinish, &w.FinishSeconds)
	c.float(whyWait, &w.WaitSeconds)
	c.float(whyFetch, &w.FetchSeconds)
	c.float(whyRun, &w.RunSeconds)
	c.float(whyRank, &w.Rank)
	number(c, whyCandidates, &w.Candidates)
	word(c, whyRunnerUp, &w.RunnerUp)
	c.float(whyRunnerUpSecs, &w.RunnerUpSecs)
	word(c, whyPurpose, &w.Purpose)
	if t := present(c, turnIs, &w.Turn); t != nil {
		c.float(turnUsage, &t.UsageCoreSeconds)
		number(c, turnRunning, &t.Running)
		number(c, turnQuota, &t.Quota)
		c.float(turnWeight, &t.Weight)
		number(c, turnRequesters, &t.Requesters)
		number(c, turnPriority, &t.Priority)
		c.float(turnSlack, &t.Slack)
	}
	if l := present(c, lateIs, &w.Late); l != nil {
		number(c, lateN, &l.N)
		c.float(lateElapsed, &l.ElapsedSeconds)
		c.float(lateExpected, &l.ExpectedSeconds)
		c.float(lateRemaining, &l.RemainingSeconds)
	}
}

// present codes whether something is there, and makes it where it is read.
func present[T any](c *coder, field int, p **T) *T {
	has := 0
	if *p != nil {
		has = 1
	}
	number(c, field, &has)
	if has != 0 && c.reading {
		*p = new(T)
	}
	return *p
}

func (c *coder) result(r *cloudcrowd.Result) {
	word(c, resultOutcome, &r.Outcome)
	number(c, resultExit, &r.ExitCode)
	word(c, resultReason, &r.Reason)
	c.outputs(resultOutputs, resultPath, resultDigest, resultSize, &r.Outputs)
	c.float(resultCPU, &r.Usage.CPUSeconds)
	c.float(resultWall, &r.Usage.WallSeconds)
	number(c, resultMemory, &r.Usage.PeakMemoryBytes)
	number(c, resultInput, &r.Usage.InputBytes)
	number(c, resultOutput, &r.Usage.OutputBytes)
	text(c, resultStderr, &r.StderrTail)
	digest(c, resultLog, &r.Log)
}

func (c *coder) charge(p Place, v *cloudcrowd.Charge) {
	c.id(chargeOffset, p, &v.Attempt.Task)
	number(c, chargeN, &v.Attempt.N)
	word(c, chargeWorker, &v.Worker)
	word(c, chargeRequester, &v.Requester)
	word(c, chargeOwner, &v.Owner)
	number(c, chargeGross, &v.Gross)
	number(c, chargeFee, &v.Fee)
	c.float(chargeCoreSeconds, &v.CoreSeconds)
	number(c, chargeAt, &v.At)
	number(c, chargeShard, &v.Shard)
	number(c, chargeSeq, &v.Seq)
}
