package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"cloudcrowd.dev/cloudcrowd"
)

// PageQuery bounds a list: at most Limit items (0: 100, at most 1000) after the cursor of the previous page.
type PageQuery struct {
	Limit  int
	Cursor string
}

func (p PageQuery) values() url.Values {
	v := url.Values{}
	if p.Limit > 0 {
		v.Set("limit", strconv.Itoa(p.Limit))
	}
	set(v, "cursor", p.Cursor)
	return v
}

func set(v url.Values, name, value string) {
	if value != "" {
		v.Set(name, value)
	}
}

// All goes through all pages of a list:
//
//	for task, err := range client.All(func(cursor string) (client.Page[cloudcrowd.Task], error) {
//		return c.Tasks(ctx, job, client.TaskQuery{PageQuery: client.PageQuery{Cursor: cursor}})
//	}) { … }
//
// After an error it ends.
func All[T any](page func(cursor string) (Page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for cursor := ""; ; {
			p, err := page(cursor)
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, item := range p.Items {
				if !yield(item, nil) {
					return
				}
			}
			if cursor = p.Next; cursor == "" {
				return
			}
		}
	}
}

// JobQuery selects jobs; zero fields select all that the token may see.
type JobQuery struct {
	PageQuery
	State   cloudcrowd.JobState
	Text    string               // part of name or id
	Account cloudcrowd.AccountID // operators only
}

// TaskQuery selects tasks of a job; zero fields select all.
type TaskQuery struct {
	PageQuery
	Stage string
	State cloudcrowd.TaskState
}

// Submit hands in a job. The key makes repeating harmless: the same key gives the same job for 24 hours. An empty key is replaced by a fresh one,
// which covers this call's own repetitions.
func (c *Client) Submit(ctx context.Context, spec cloudcrowd.JobSpec, key string) (cloudcrowd.Job, error) {
	if key == "" {
		key = newKey()
	}
	return post[cloudcrowd.Job](ctx, c, "/v1/jobs", SubmitRequest{Spec: spec}, key)
}

// Plan says what a job would be cut into and cost. Nothing is stored.
func (c *Client) Plan(ctx context.Context, spec cloudcrowd.JobSpec) (cloudcrowd.Plan, error) {
	return exchange[cloudcrowd.Plan](ctx, c, call{method: http.MethodPost, path: "/v1/plan", repeat: true}, SubmitRequest{Spec: spec})
}

// Jobs lists jobs, newest first.
func (c *Client) Jobs(ctx context.Context, q JobQuery) (Page[cloudcrowd.JobSummary], error) {
	v := q.values()
	set(v, "state", string(q.State))
	set(v, "text", q.Text)
	set(v, "account", string(q.Account))
	return get[Page[cloudcrowd.JobSummary]](ctx, c, "/v1/jobs", v)
}

// Job returns one job in full.
func (c *Client) Job(ctx context.Context, id cloudcrowd.JobID) (cloudcrowd.Job, error) {
	return get[cloudcrowd.Job](ctx, c, "/v1/jobs/"+url.PathEscape(string(id)), nil)
}

// Cancel ends a running job; the unspent budget goes back. Code Conflict if it has ended; Unavailable if an answer was lost and it could not be found out whether
// this call has ended it.
func (c *Client) Cancel(ctx context.Context, id cloudcrowd.JobID, reason string) (cloudcrowd.Job, error) {
	sent := 0
	k := call{method: http.MethodPost, path: "/v1/jobs/" + url.PathEscape(string(id)) + "/cancel", repeat: true, sent: &sent}
	job, err := exchange[cloudcrowd.Job](ctx, c, k, CancelRequest{Reason: reason})
	if cloudcrowd.CodeOf(err) == cloudcrowd.Conflict && sent > 1 { // an earlier try may have done it, and its answer was lost
		now, e := c.Job(ctx, id)
		if e != nil { // nobody knows whether it did
			return job, e
		}
		if now.State == cloudcrowd.JobCancelled {
			return now, nil
		}
	}
	return job, err
}

// Tasks lists a job's tasks by stage and index, with their attempts.
func (c *Client) Tasks(ctx context.Context, id cloudcrowd.JobID, q TaskQuery) (Page[cloudcrowd.Task], error) {
	v := q.values()
	set(v, "stage", q.Stage)
	set(v, "state", string(q.State))
	return get[Page[cloudcrowd.Task]](ctx, c, "/v1/jobs/"+url.PathEscape(string(id))+"/tasks", v)
}

// Attempts lists a job's attempts, running ones too.
func (c *Client) Attempts(ctx context.Context, id cloudcrowd.JobID, q PageQuery) (Page[cloudcrowd.Attempt], error) {
	return get[Page[cloudcrowd.Attempt]](ctx, c, "/v1/jobs/"+url.PathEscape(string(id))+"/attempts", q.values())
}

// Task returns one task with its attempts.
func (c *Client) Task(ctx context.Context, id cloudcrowd.TaskID) (cloudcrowd.Task, error) {
	return get[cloudcrowd.Task](ctx, c, "/v1/tasks/"+id.String(), nil)
}

// Explain says why a job is where it is.
func (c *Client) Explain(ctx context.Context, id cloudcrowd.JobID) (cloudcrowd.Explanation, error) {
	return get[cloudcrowd.Explanation](ctx, c, "/v1/jobs/"+url.PathEscape(string(id))+"/explain", nil)
}

// ExplainTask says why a task waits, or why it went where it went.
func (c *Client) ExplainTask(ctx context.Context, id cloudcrowd.TaskID) (cloudcrowd.Explanation, error) {
	return get[cloudcrowd.Explanation](ctx, c, "/v1/tasks/"+id.String()+"/explain", nil)
}
