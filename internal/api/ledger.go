package api

import (
	"context"
	"net/http"
	"regexp"

	"github.com/danielgtaylor/huma/v2"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// AccountPath is an input with the id of an account.
type AccountPath struct {
	Account cloudcrowd.AccountID `path:"account" maxLength:"63" doc:"id of an account"`
}

// Period is an input with the bounds of a time.
type Period struct {
	Since cloudcrowd.Time `query:"since" doc:"from here on; Unix microseconds"`
	Until cloudcrowd.Time `query:"until" doc:"before here; Unix microseconds"`
}

type statementQuery struct {
	AccountPath
	Paged
	Period
	Side string           `query:"side" enum:"paid,earned" doc:"what its jobs paid (default), or what its workers earned"`
	Job  cloudcrowd.JobID `query:"job"`
}

type transferQuery struct {
	Paged
	Period
	Account cloudcrowd.AccountID `query:"account" doc:"paying or receiving"`
	Job     cloudcrowd.JobID     `query:"job"`
}

type issueBody struct {
	AccountPath
	Keyed
	RawBody []byte `contentType:"application/json"`
}

// maxIssue is the most one call may create: a thousand million credits. Sums stay far below what an integer holds.
const maxIssue = 1_000_000_000 * cloudcrowd.Credit

var accountForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// personal refuses ids that are not of a person or an organisation.
func personal(field string, id cloudcrowd.AccountID) error {
	if !accountForm.MatchString(string(id)) {
		return cloudcrowd.Fieldf(field, "%q is not the name of an account: lower-case letters, digits, dot, dash, underscore, at most 63", id)
	}
	if id == cloudcrowd.IssuerAccount || id == cloudcrowd.FeeAccount {
		return cloudcrowd.Fieldf(field, "the account %s belongs to the platform", id)
	}
	return nil
}

func (h *Handler) ledgerRoutes() {
	route(h, huma.Operation{OperationID: "list-accounts", Method: http.MethodGet, Path: "/v1/accounts", Tags: []string{"ledger"}, Summary: "List accounts",
		Description: "An operator's list comes from one snapshot and sums to zero; others see their own account."},
		authz.ReadAccount, func(ctx context.Context, p authz.Principal, _ *empty) (client.Page[cloudcrowd.Account], error) {
			if p.Sees(authz.ReadAccount) != "" {
				a, err := h.Backend.Account(ctx, p.Account)
				return page([]cloudcrowd.Account{a}, "", err)
			}
			all, err := h.Backend.Accounts(ctx)
			return page(all, "", err)
		})
	route(h, huma.Operation{OperationID: "get-account", Method: http.MethodGet, Path: "/v1/accounts/{account}", Tags: []string{"ledger"}, Summary: "One account"},
		authz.ReadAccount, func(ctx context.Context, p authz.Principal, in *AccountPath) (cloudcrowd.Account, error) {
			if err := p.On(authz.ReadAccount, in.Account); err != nil {
				return cloudcrowd.Account{}, hide(err, "account", string(in.Account))
			}
			return h.Backend.Account(ctx, in.Account)
		})
	route(h, huma.Operation{OperationID: "get-statement", Method: http.MethodGet, Path: "/v1/accounts/{account}/statement", Tags: []string{"ledger"},
		Summary: "List every paid attempt of an account, newest first"},
		authz.ReadAccount, func(ctx context.Context, p authz.Principal, in *statementQuery) (client.Page[cloudcrowd.Charge], error) {
			if err := p.On(authz.ReadAccount, in.Account); err != nil {
				return client.Page[cloudcrowd.Charge]{}, hide(err, "account", string(in.Account))
			}
			f := store.ChargeFilter{Job: in.Job, Since: in.Since, Until: in.Until, Requester: in.Account}
			if in.Side == "earned" {
				f.Requester, f.Owner = "", in.Account
			}
			return page(h.Backend.Charges(ctx, f, in.page()))
		})
	route(h, huma.Operation{OperationID: "issue-credits", Method: http.MethodPost, Path: "/v1/accounts/{account}/issue", Tags: []string{"ledger"}, DefaultStatus: http.StatusCreated,
		Summary: "Create credits in an account", Description: "Operators only. The same Idempotency-Key gives the same transfer.", RequestBody: bodyOf[client.IssueRequest](h, "IssueRequest")},
		authz.IssueCredits, func(ctx context.Context, p authz.Principal, in *issueBody) (cloudcrowd.Transfer, error) {
			var body client.IssueRequest
			if err := decode(in.RawBody, &body); err != nil {
				return cloudcrowd.Transfer{}, err
			}
			if err := personal("account", in.Account); err != nil {
				return cloudcrowd.Transfer{}, err
			}
			if body.Amount <= 0 || body.Amount > maxIssue {
				return cloudcrowd.Transfer{}, cloudcrowd.Fieldf("amount_microcredits", "must be between 1 and %d", int64(maxIssue))
			}
			if len(body.Note) > 500 {
				return cloudcrowd.Transfer{}, cloudcrowd.Fieldf("note", "longer than 500 bytes")
			}
			key := in.Key
			if key == "" {
				key = "request:" + requestID(ctx)
			}
			return h.Backend.Issue(ctx, in.Account, body.Amount, p.Account, body.Note, key)
		})
	route(h, huma.Operation{OperationID: "list-transfers", Method: http.MethodGet, Path: "/v1/transfers", Tags: []string{"ledger"}, Summary: "List transfers, newest first"},
		authz.ReadAccount, func(ctx context.Context, p authz.Principal, in *transferQuery) (client.Page[cloudcrowd.Transfer], error) {
			f := store.TransferFilter{Account: p.Sees(authz.ReadAccount), Job: in.Job, Since: in.Since, Until: in.Until}
			if in.Account != "" {
				if err := p.On(authz.ReadAccount, in.Account); err != nil {
					return client.Page[cloudcrowd.Transfer]{}, hide(err, "account", string(in.Account))
				}
				f.Account = in.Account
			}
			return page(h.Backend.Transfers(ctx, f, in.page()))
		})
}
