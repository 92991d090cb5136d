package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

type jobBody struct {
	Keyed
	RawBody []byte `contentType:"application/json"`
}

// JobPath is an input with the id of a job. Inputs that others embed are exported, or huma would not see their fields.
type JobPath struct {
	Job cloudcrowd.JobID `path:"job" doc:"id of a job"`
}

type jobList struct {
	Paged
	State   cloudcrowd.JobState  `query:"state" enum:"running,done,failed,cancelled"`
	Text    string               `query:"text" maxLength:"200" doc:"part of name or id, in any case"`
	Account cloudcrowd.AccountID `query:"account" doc:"operators: only this account's jobs"`
}

type taskList struct {
	JobPath
	Paged
	Stage string               `query:"stage" maxLength:"40"`
	State cloudcrowd.TaskState `query:"state" enum:"waiting,running,done,failed"`
}

type jobPages struct {
	JobPath
	Paged
}

type taskPath struct {
	Task string `path:"task" doc:"id of a task, JOB-STAGE-INDEX"`
}

type cancelBody struct {
	JobPath
	RawBody []byte `contentType:"application/json" required:"false"`
}

func (h *Handler) jobRoutes() {
	route(h, huma.Operation{
		OperationID: "submit-job", Method: http.MethodPost, Path: "/v1/jobs", Tags: []string{"jobs"}, DefaultStatus: http.StatusCreated,
		Summary: "Submit a job", Description: "Validates it, holds its budget and accepts it, durably. Every blob it names must have been uploaded by this account. " +
			"The same Idempotency-Key gives the same job for 24 hours.",
		MaxBodyBytes: maxJobBody, RequestBody: bodyOf[client.SubmitRequest](h, "SubmitRequest"),
	}, authz.SubmitJob, func(ctx context.Context, p authz.Principal, in *jobBody) (cloudcrowd.Job, error) {
		spec, err := h.spec(ctx, p, in.RawBody)
		if err != nil {
			return cloudcrowd.Job{}, err
		}
		key := in.Key
		if key == "" {
			key = "request:" + requestID(ctx)
		}
		id, err := h.Backend.Submit(ctx, p.Account, spec, key)
		if err != nil {
			return cloudcrowd.Job{}, err
		}
		return h.Backend.Job(ctx, id)
	})
	route(h, huma.Operation{
		OperationID: "plan-job", Method: http.MethodPost, Path: "/v1/plan", Tags: []string{"jobs"},
		Summary: "Say what a job would be cut into and cost", Description: "Nothing is stored and nothing is held.",
		MaxBodyBytes: maxJobBody, RequestBody: bodyOf[client.SubmitRequest](h, "SubmitRequest"),
	}, authz.PlanJob, func(ctx context.Context, p authz.Principal, in *jobBody) (cloudcrowd.Plan, error) {
		spec, err := h.spec(ctx, p, in.RawBody)
		if err != nil {
			return cloudcrowd.Plan{}, err
		}
		return h.Backend.Plan(ctx, p.Account, spec)
	})
	route(h, huma.Operation{OperationID: "list-jobs", Method: http.MethodGet, Path: "/v1/jobs", Tags: []string{"jobs"}, Summary: "List jobs, newest first"},
		authz.ReadJob, func(ctx context.Context, p authz.Principal, in *jobList) (client.Page[cloudcrowd.JobSummary], error) {
			f := store.JobFilter{Account: p.Sees(authz.ReadJob), State: in.State, Text: in.Text}
			if in.Account != "" {
				if err := p.On(authz.ReadJob, in.Account); err != nil {
					return client.Page[cloudcrowd.JobSummary]{}, err
				}
				f.Account = in.Account
			}
			return page(h.Backend.Jobs(ctx, f, in.page()))
		})
	route(h, huma.Operation{OperationID: "get-job", Method: http.MethodGet, Path: "/v1/jobs/{job}", Tags: []string{"jobs"}, Summary: "One job in full"},
		authz.ReadJob, func(ctx context.Context, p authz.Principal, in *JobPath) (cloudcrowd.Job, error) {
			return h.job(ctx, p, authz.ReadJob, in.Job)
		})
	cancel := func(ctx context.Context, p authz.Principal, in *cancelBody) (cloudcrowd.Job, error) {
		var body client.CancelRequest
		if len(in.RawBody) > 0 {
			if err := decode(in.RawBody, &body); err != nil {
				return cloudcrowd.Job{}, err
			}
		}
		if len(body.Reason) > 500 {
			return cloudcrowd.Job{}, cloudcrowd.Fieldf("reason", "longer than 500 bytes")
		}
		if err := h.onJob(ctx, p, authz.CancelJob, in.Job); err != nil {
			return cloudcrowd.Job{}, err
		}
		if err := h.Backend.Cancel(ctx, in.Job, p.Account, body.Reason); err != nil {
			return cloudcrowd.Job{}, err
		}
		return h.Backend.Job(ctx, in.Job)
	}
	route(h, huma.Operation{OperationID: "cancel-job", Method: http.MethodPost, Path: "/v1/jobs/{job}/cancel", Tags: []string{"jobs"}, Summary: "Cancel a running job",
		Description: "The unspent budget goes back.", RequestBody: bodyOf[client.CancelRequest](h, "CancelRequest")}, authz.CancelJob, cancel)
	route(h, huma.Operation{OperationID: "delete-job", Method: http.MethodDelete, Path: "/v1/jobs/{job}", Tags: []string{"jobs"}, Summary: "Cancel a running job",
		Description: "Same as cancel, without a reason."}, authz.CancelJob,
		func(ctx context.Context, p authz.Principal, in *JobPath) (cloudcrowd.Job, error) {
			return cancel(ctx, p, &cancelBody{JobPath: *in})
		})
	route(h, huma.Operation{OperationID: "list-tasks", Method: http.MethodGet, Path: "/v1/jobs/{job}/tasks", Tags: []string{"jobs"}, Summary: "List a job's tasks with their attempts"},
		authz.ReadJob, func(ctx context.Context, p authz.Principal, in *taskList) (client.Page[cloudcrowd.Task], error) {
			if err := h.onJob(ctx, p, authz.ReadJob, in.Job); err != nil {
				return client.Page[cloudcrowd.Task]{}, err
			}
			return page(h.Backend.Tasks(ctx, in.Job, in.Stage, in.State, in.page()))
		})
	route(h, huma.Operation{OperationID: "list-attempts", Method: http.MethodGet, Path: "/v1/jobs/{job}/attempts", Tags: []string{"jobs"}, Summary: "List a job's attempts, running ones too"},
		authz.ReadJob, func(ctx context.Context, p authz.Principal, in *jobPages) (client.Page[cloudcrowd.Attempt], error) {
			if err := h.onJob(ctx, p, authz.ReadJob, in.Job); err != nil {
				return client.Page[cloudcrowd.Attempt]{}, err
			}
			return page(h.Backend.Attempts(ctx, in.Job, in.page()))
		})
	route(h, huma.Operation{OperationID: "explain-job", Method: http.MethodGet, Path: "/v1/jobs/{job}/explain", Tags: []string{"jobs"}, Summary: "Say why a job is where it is"},
		authz.ReadJob, func(ctx context.Context, p authz.Principal, in *JobPath) (cloudcrowd.Explanation, error) {
			if err := h.onJob(ctx, p, authz.ReadJob, in.Job); err != nil {
				return cloudcrowd.Explanation{}, err
			}
			return h.Backend.Explain(ctx, in.Job)
		})
	route(h, huma.Operation{OperationID: "get-task", Method: http.MethodGet, Path: "/v1/tasks/{task}", Tags: []string{"jobs"}, Summary: "One task with its attempts"},
		authz.ReadJob, func(ctx context.Context, p authz.Principal, in *taskPath) (cloudcrowd.Task, error) {
			return h.task(ctx, p, authz.ReadJob, in.Task)
		})
	route(h, huma.Operation{OperationID: "explain-task", Method: http.MethodGet, Path: "/v1/tasks/{task}/explain", Tags: []string{"jobs"}, Summary: "Say why a task waits, or why it went where it went"},
		authz.ReadJob, func(ctx context.Context, p authz.Principal, in *taskPath) (cloudcrowd.Explanation, error) {
			task, err := h.task(ctx, p, authz.ReadJob, in.Task)
			if err != nil {
				return cloudcrowd.Explanation{}, err
			}
			return h.Backend.ExplainTask(ctx, task.ID)
		})
}

// spec reads a job description and refuses blobs that the account has not uploaded: naming a digest must not give access to its bytes, nor tell
// whether somebody has them.
func (h *Handler) spec(ctx context.Context, p authz.Principal, body []byte) (cloudcrowd.JobSpec, error) {
	var in client.SubmitRequest
	if err := decode(body, &in); err != nil {
		return in.Spec, err
	}
	for field, d := range digestsOf(&in.Spec) {
		if !d.Valid() {
			return in.Spec, cloudcrowd.Fieldf("spec."+field, "%q is not a digest: 64 lower-case hexadecimal characters", d)
		}
		switch ok, err := h.mayUse(ctx, p, d); {
		case err != nil:
			return in.Spec, err
		case !ok:
			return in.Spec, (&cloudcrowd.Error{Code: cloudcrowd.NotFound, Field: "spec." + field, Msg: "blob " + d.Short() + "… was not uploaded by this account"}).
				WithHint("upload it first: PUT /v1/blobs/%s", d)
		}
	}
	return in.Spec, nil
}

func notFound(what, id string) error {
	return cloudcrowd.Errorf(cloudcrowd.NotFound, "there is no %s %.80s, or it is not yours to see", what, id)
}

// hide gives "not there" and "not yours" the same words.
func hide(err error, what, id string) error {
	if cloudcrowd.CodeOf(err) == cloudcrowd.NotFound {
		return notFound(what, id)
	}
	return err
}

// job returns a job if the caller may perform op on it.
func (h *Handler) job(ctx context.Context, p authz.Principal, op authz.Operation, id cloudcrowd.JobID) (cloudcrowd.Job, error) {
	if !id.Valid() {
		return cloudcrowd.Job{}, notFound("job", string(id))
	}
	j, err := h.Backend.Job(ctx, id)
	if err == nil {
		h.owners.put(id, j.Account)
		err = p.On(op, j.Account)
	}
	if err != nil {
		return cloudcrowd.Job{}, hide(err, "job", string(id))
	}
	return j, nil
}

// onJob checks that the caller may perform op on a job. A job never changes hands, so its account is remembered.
func (h *Handler) onJob(ctx context.Context, p authz.Principal, op authz.Operation, id cloudcrowd.JobID) error {
	if owner, ok := h.owners.get(id); ok {
		return hide(p.On(op, owner), "job", string(id))
	}
	_, err := h.job(ctx, p, op, id)
	return err
}

// task returns a task if the caller may perform op on its job.
func (h *Handler) task(ctx context.Context, p authz.Principal, op authz.Operation, text string) (cloudcrowd.Task, error) {
	id, err := cloudcrowd.ParseTaskID(text)
	if err != nil {
		return cloudcrowd.Task{}, notFound("task", text)
	}
	if err := h.onJob(ctx, p, op, id.Job); err != nil {
		return cloudcrowd.Task{}, hide(err, "task", text)
	}
	t, err := h.Backend.Task(ctx, id)
	return t, hide(err, "task", text)
}

func (p Paged) page() store.Page { return store.Page{Limit: p.Limit, Cursor: p.Cursor} }

func page[T any](items []T, next string, err error) (client.Page[T], error) {
	if items == nil {
		items = []T{}
	}
	return client.Page[T]{Items: items, Next: next}, err
}
