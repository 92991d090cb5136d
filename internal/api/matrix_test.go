package api

import (
	"net/http"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// furnish makes one of everything: a job and task of alice, a worker and invite of bob.
func furnish(t *testing.T) (*rig, map[string]string) {
	t.Helper()
	r := newRig(t)
	job := testJob(500)
	data := []byte("result")
	r.blobs.m[sum(data)] = data
	out := cloudcrowd.OutputFile{Path: "dir/out.txt", Digest: sum(data), SizeBytes: int64(len(data))}
	id := cloudcrowd.TaskID{Job: job}
	worker := cloudcrowd.WorkerID("UBOBSWORKER")
	a := cloudcrowd.Attempt{ID: cloudcrowd.AttemptID{Task: id, N: 1}, Worker: worker, State: cloudcrowd.AttemptAccepted,
		Result: &cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Outputs: []cloudcrowd.OutputFile{out}, Log: sum(data), StderrTail: "secret"}}
	r.backend.jobs[job] = cloudcrowd.Job{JobSummary: cloudcrowd.JobSummary{ID: job, Account: "alice", State: cloudcrowd.JobRunning},
		Spec: cloudcrowd.JobSpec{Stages: []cloudcrowd.Stage{{Name: "count"}}}, Outputs: []cloudcrowd.StageOutput{{Stage: "count", OutputFile: out}}}
	r.backend.tasks[id] = cloudcrowd.Task{ID: id, Job: job, Stage: "count", Outputs: []cloudcrowd.OutputFile{out}, Attempts: []cloudcrowd.Attempt{a}}
	r.backend.workers[worker] = cloudcrowd.WorkerView{Worker: cloudcrowd.Worker{ID: worker, Owner: "bob"}}
	r.dir.invites["hash"] = cloudcrowd.Invite{ID: "ibob", Owner: "bob"}
	r.dir.tokens["other"] = cloudcrowd.Token{ID: "talice", Account: "alice", Role: cloudcrowd.RoleRequester}
	return r, map[string]string{"JOB": string(job), "TASK": id.String(), "ATTEMPT": a.ID.String(), "WORKER": string(worker), "BLOB": string(sum(data))}
}

// Every route, for the owner of the thing, for strangers of each role, for an operator and for nobody. Things: job, task, output, log and token of alice; worker and
// invite of bob. Columns: alice (requester), mallory (requester), bob (worker-owner), olga (operator), nobody.
func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		method, path, body string
		want               [5]int
	}{
		{"GET", "/v1/whoami", "", [5]int{200, 200, 200, 200, 401}},
		{"GET", "/v1/status", "", [5]int{200, 200, 200, 200, 401}},
		{"GET", "/v1/prices", "", [5]int{200, 200, 200, 200, 401}},
		{"POST", "/v1/jobs", `{"spec":{"name":"x"}}`, [5]int{201, 201, 403, 201, 401}},
		{"POST", "/v1/plan", `{"spec":{"name":"x"}}`, [5]int{200, 200, 403, 200, 401}},
		{"GET", "/v1/jobs", "", [5]int{200, 200, 403, 200, 401}},
		{"GET", "/v1/jobs?account=alice", "", [5]int{200, 404, 403, 200, 401}},
		{"GET", "/v1/jobs/JOB", "", [5]int{200, 404, 403, 200, 401}},
		{"GET", "/v1/jobs/JOB/tasks", "", [5]int{200, 404, 403, 200, 401}},
		{"GET", "/v1/jobs/JOB/attempts", "", [5]int{200, 404, 403, 200, 401}},
		{"GET", "/v1/jobs/JOB/explain", "", [5]int{200, 404, 403, 200, 401}},
		{"POST", "/v1/jobs/JOB/cancel", `{"reason":"enough"}`, [5]int{200, 404, 403, 200, 401}},
		{"POST", "/v1/jobs/JOB/cancel", "", [5]int{200, 404, 403, 200, 401}},
		{"DELETE", "/v1/jobs/JOB", "", [5]int{200, 404, 403, 200, 401}},
		{"GET", "/v1/tasks/TASK", "", [5]int{200, 404, 403, 200, 401}},
		{"GET", "/v1/tasks/TASK/explain", "", [5]int{200, 404, 403, 200, 401}},
		{"GET", "/v1/jobs/JOB/outputs/count/0/dir/out.txt", "", [5]int{200, 404, 403, 200, 401}},
		{"GET", "/v1/attempts/ATTEMPT/log", "", [5]int{200, 404, 403, 200, 401}},
		{"GET", "/v1/blobs/BLOB", "", [5]int{404, 404, 403, 200, 401}},
		{"HEAD", "/v1/blobs/BLOB", "", [5]int{404, 404, 403, 200, 401}},
		{"GET", "/v1/blobs/BLOB?job=JOB", "", [5]int{200, 404, 403, 200, 401}},
		{"GET", "/v1/blobs/BLOB?task=TASK", "", [5]int{200, 404, 403, 200, 401}},
		{"PUT", "/v1/blobs/BLOB", "result", [5]int{201, 201, 403, 201, 401}},
		{"GET", "/v1/events?job=JOB", "", [5]int{200, 404, 403, 200, 401}},
		{"GET", "/v1/workers", "", [5]int{200, 200, 200, 200, 401}},
		{"GET", "/v1/workers/WORKER", "", [5]int{404, 404, 200, 200, 401}},
		{"GET", "/v1/workers/WORKER/attempts", "", [5]int{404, 404, 200, 200, 401}},
		{"POST", "/v1/workers/WORKER/revoke", `{"revoked":true}`, [5]int{403, 403, 200, 200, 401}},
		{"GET", "/v1/invites", "", [5]int{403, 403, 200, 200, 401}},
		{"POST", "/v1/invites", `{}`, [5]int{403, 403, 201, 201, 401}},
		{"POST", "/v1/invites", `{"owner":"alice"}`, [5]int{403, 403, 403, 201, 401}},
		{"DELETE", "/v1/invites/ibob", "", [5]int{403, 403, 200, 200, 401}},
		{"GET", "/v1/tokens", "", [5]int{200, 200, 200, 200, 401}},
		{"POST", "/v1/tokens", `{"account":"carol","role":"requester"}`, [5]int{403, 403, 403, 201, 401}},
		{"DELETE", "/v1/tokens/talice", "", [5]int{200, 404, 404, 200, 401}},
		{"GET", "/v1/accounts", "", [5]int{200, 200, 200, 200, 401}},
		{"GET", "/v1/accounts/alice", "", [5]int{200, 404, 404, 200, 401}},
		{"GET", "/v1/accounts/alice/statement", "", [5]int{200, 404, 404, 200, 401}},
		{"POST", "/v1/accounts/alice/issue", `{"amount_microcredits":5}`, [5]int{403, 403, 403, 201, 401}},
		{"GET", "/v1/transfers", "", [5]int{200, 200, 200, 200, 401}},
		{"GET", "/v1/transfers?account=alice", "", [5]int{200, 404, 404, 200, 401}},
		{"POST", "/v1/drain", `{"wait":"1m"}`, [5]int{403, 403, 403, 202, 401}},
		{"GET", "/metrics", "", [5]int{403, 403, 403, 200, 200}}, // the test asks from this machine
		{"GET", "/healthz", "", [5]int{200, 200, 200, 200, 200}},
		{"GET", "/readyz", "", [5]int{200, 200, 200, 200, 200}},
		{"GET", "/openapi.json", "", [5]int{200, 200, 200, 200, 200}},
		{"GET", "/v1/nowhere", "", [5]int{404, 404, 404, 404, 404}},
		{"PATCH", "/v1/jobs", "", [5]int{405, 405, 405, 405, 405}},
	} {
		t.Run(x.method+strings.ReplaceAll(x.path, "/", " "), func(t *testing.T) {
			t.Parallel()
			for i, who := range []string{"alice", "mallory", "bob", "olga", ""} {
				r, names := furnish(t)
				path := x.path
				for from, to := range names {
					path = strings.ReplaceAll(path, from, to)
				}
				if strings.HasPrefix(path, "/v1/events") {
					r.handler.Close() // so that the feed ends
				}
				resp, body := r.do(who, x.method, path, x.body)
				if resp.StatusCode != x.want[i] {
					t.Errorf("%q: %d, want %d: %s", who, resp.StatusCode, x.want[i], body)
				}
				if resp.StatusCode >= 400 && x.method != http.MethodHead {
					p := r.problem(body)
					if p.Status != resp.StatusCode || p.Code == "" || p.Detail == "" || resp.Header.Get("Content-Type") != "application/problem+json" {
						t.Errorf("%q: %s %s", who, resp.Header.Get("Content-Type"), body)
					}
				}
				for _, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"} {
					if resp.Header.Get(name) != "" {
						t.Errorf("%q: %s was sent", who, name)
					}
				}
				if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("X-Frame-Options") != "DENY" || resp.Header.Get("Request-Id") == "" {
					t.Errorf("%q: headers are missing: %v", who, resp.Header)
				}
			}
		})
	}
}

// Strangers' things and things that do not exist get the same answer, word for word but for the id.
func TestNoOracle(t *testing.T) {
	t.Parallel()
	r, names := furnish(t)
	missing := map[string]string{
		"JOB": string(testJob(9999)), "TASK": cloudcrowd.TaskID{Job: testJob(9999)}.String(), "WORKER": "UNOSUCHWORKER", "BLOB": string(sum([]byte("nothing"))),
		"ATTEMPT": cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: testJob(9999)}, N: 1}.String(),
	}
	for _, path := range []string{"/v1/jobs/JOB", "/v1/tasks/TASK", "/v1/attempts/ATTEMPT/log", "/v1/workers/WORKER", "/v1/blobs/BLOB", "/v1/jobs/JOB/outputs/count/0/dir/out.txt"} {
		var texts [2]string
		for i, m := range []map[string]string{names, missing} {
			p := path
			for from, to := range m {
				p = strings.ReplaceAll(p, from, to)
			}
			_, b := r.do("mallory", "GET", p, "")
			problem := r.problem(b)
			for _, name := range []string{"ATTEMPT", "TASK", "JOB", "WORKER", "BLOB"} {
				problem.Detail = strings.ReplaceAll(problem.Detail, m[name], name)
			}
			texts[i] = string(problem.Code) + problem.Detail + problem.Hint
		}
		if texts[0] != texts[1] {
			t.Errorf("%s: %q for a stranger's, %q for a missing one", path, texts[0], texts[1])
		}
	}
}

// A worker's owner sees what was done on the machine, not the requester's files.
func TestRedaction(t *testing.T) {
	t.Parallel()
	r, names := furnish(t)
	_, b := r.do("bob", "GET", "/v1/workers/"+names["WORKER"]+"/attempts", "")
	if !strings.Contains(string(b), names["ATTEMPT"]) || strings.Contains(string(b), "secret") || strings.Contains(string(b), names["BLOB"]) {
		t.Errorf("%s", b)
	}
}
