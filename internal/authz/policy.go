// Package authz decides who may do what: the fixed policy of roles and operations, bearer tokens, browser sessions, and the signed grants by which
// workers read and store blobs. docs/security.md states the policy in words.
package authz

import (
	"slices"

	"cloudcrowd.dev/cloudcrowd"
)

// Operation is one thing the API can be asked to do.
type Operation string

const (
	ReadSelf       Operation = "self.read"        // who am I
	ReadStatus     Operation = "status.read"      // overview, prices
	PlanJob        Operation = "jobs.plan"        // what would it cost
	SubmitJob      Operation = "jobs.submit"      // spend the account's credits
	ReadJob        Operation = "jobs.read"        // jobs, tasks, attempts, explanations
	ReadResults    Operation = "jobs.results"     // output files and logs
	CancelJob      Operation = "jobs.cancel"      //
	ReadEvents     Operation = "events.read"      // the live feed
	UploadBlob     Operation = "blobs.upload"     //
	ReadBlob       Operation = "blobs.read"       // bytes by digest; own means uploaded by the account
	ReadWorker     Operation = "workers.read"     // workers, their attempts
	RevokeWorker   Operation = "workers.revoke"   //
	ReadInvites    Operation = "invites.read"     //
	CreateInvite   Operation = "invites.create"   // let machines join and earn for an account
	RevokeInvite   Operation = "invites.revoke"   //
	ReadTokens     Operation = "tokens.read"      // public parts only
	CreateToken    Operation = "tokens.create"    //
	DeleteToken    Operation = "tokens.delete"    //
	ReadAccount    Operation = "accounts.read"    // balance, statement, transfers
	IssueCredits   Operation = "accounts.issue"   // create credits
	ReadEverything Operation = "everything.read"  // lists over all accounts
	ActForOthers   Operation = "everything.write" // name another account as owner
	DrainServer    Operation = "server.drain"     // stop it in order
	ReadMetrics    Operation = "server.metrics"   // figures for monitoring
)

// Scope says on whose things a role may perform an operation.
type Scope int

const (
	None Scope = iota // never
	Own               // on what belongs to the token's account
	All               // on everything
)

// String names the scope.
func (s Scope) String() string { return [...]string{"none", "own", "all"}[s] }

// policy is the whole policy. An operation or role that is not listed is refused.
var policy = map[Operation]map[cloudcrowd.Role]Scope{
	ReadSelf:       {cloudcrowd.RoleRequester: Own, cloudcrowd.RoleOwner: Own, cloudcrowd.RoleOperator: Own},
	ReadStatus:     {cloudcrowd.RoleRequester: All, cloudcrowd.RoleOwner: All, cloudcrowd.RoleOperator: All},
	PlanJob:        {cloudcrowd.RoleRequester: Own, cloudcrowd.RoleOperator: Own},
	SubmitJob:      {cloudcrowd.RoleRequester: Own, cloudcrowd.RoleOperator: Own},
	ReadJob:        {cloudcrowd.RoleRequester: Own, cloudcrowd.RoleOperator: All},
	ReadResults:    {cloudcrowd.RoleRequester: Own, cloudcrowd.RoleOperator: All},
	CancelJob:      {cloudcrowd.RoleRequester: Own, cloudcrowd.RoleOperator: All},
	ReadEvents:     {cloudcrowd.RoleRequester: Own, cloudcrowd.RoleOwner: Own, cloudcrowd.RoleOperator: All},
	UploadBlob:     {cloudcrowd.RoleRequester: Own, cloudcrowd.RoleOperator: Own},
	ReadBlob:       {cloudcrowd.RoleRequester: Own, cloudcrowd.RoleOperator: All},
	ReadWorker:     {cloudcrowd.RoleRequester: Own, cloudcrowd.RoleOwner: Own, cloudcrowd.RoleOperator: All},
	RevokeWorker:   {cloudcrowd.RoleOwner: Own, cloudcrowd.RoleOperator: All},
	ReadInvites:    {cloudcrowd.RoleOwner: Own, cloudcrowd.RoleOperator: All},
	CreateInvite:   {cloudcrowd.RoleOwner: Own, cloudcrowd.RoleOperator: All},
	RevokeInvite:   {cloudcrowd.RoleOwner: Own, cloudcrowd.RoleOperator: All},
	ReadTokens:     {cloudcrowd.RoleRequester: Own, cloudcrowd.RoleOwner: Own, cloudcrowd.RoleOperator: All},
	CreateToken:    {cloudcrowd.RoleOperator: All},
	DeleteToken:    {cloudcrowd.RoleRequester: Own, cloudcrowd.RoleOwner: Own, cloudcrowd.RoleOperator: All},
	ReadAccount:    {cloudcrowd.RoleRequester: Own, cloudcrowd.RoleOwner: Own, cloudcrowd.RoleOperator: All},
	IssueCredits:   {cloudcrowd.RoleOperator: All},
	ReadEverything: {cloudcrowd.RoleOperator: All},
	ActForOthers:   {cloudcrowd.RoleOperator: All},
	DrainServer:    {cloudcrowd.RoleOperator: All},
	ReadMetrics:    {cloudcrowd.RoleOperator: All},
}

// Operations lists every operation, sorted.
func Operations() []Operation {
	list := make([]Operation, 0, len(policy))
	for op := range policy {
		list = append(list, op)
	}
	slices.Sort(list)
	return list
}

// Roles lists the roles there are.
func Roles() []cloudcrowd.Role {
	return []cloudcrowd.Role{cloudcrowd.RoleRequester, cloudcrowd.RoleOwner, cloudcrowd.RoleOperator}
}

// ScopeOf looks the policy up; None for anything unknown.
func ScopeOf(role cloudcrowd.Role, op Operation) Scope { return policy[op][role] }

// Principal is who is calling. The zero Principal may do nothing.
type Principal struct {
	Account cloudcrowd.AccountID
	Role    cloudcrowd.Role
	TokenID string // of the token it presented, for the log and for limits
	Session bool   // presented by a browser's cookie
}

// May reports an error unless the principal's role performs op at all: code Unauthorized without a role, else Forbidden.
func (p Principal) May(op Operation) error {
	if p.Role == "" {
		return (&cloudcrowd.Error{Code: cloudcrowd.Unauthorized, Msg: "this needs a token"}).
			WithHint("send `Authorization: Bearer TOKEN`; an operator makes tokens with `cloudcrowd tokens create`")
	}
	if ScopeOf(p.Role, op) == None {
		return (&cloudcrowd.Error{Code: cloudcrowd.Forbidden, Msg: "the role " + string(p.Role) + " may not do this (" + string(op) + ")"}).
			WithHint("use a token of the role %s", rolesFor(op))
	}
	return nil
}

// On reports an error unless the principal may perform op on a thing of the given owner. What belongs to somebody else answers NotFound, so
// that its existence is not told.
func (p Principal) On(op Operation, owner cloudcrowd.AccountID) error {
	if err := p.May(op); err != nil {
		return err
	}
	if ScopeOf(p.Role, op) == All || owner == p.Account && owner != "" {
		return nil
	}
	return cloudcrowd.Errorf(cloudcrowd.NotFound, "no such thing, or it is not yours to see")
}

// Sees is the account to which lists of op are narrowed: "" (all) for scope All, else the principal's own.
func (p Principal) Sees(op Operation) cloudcrowd.AccountID {
	if ScopeOf(p.Role, op) == All {
		return ""
	}
	return p.Account
}

func rolesFor(op Operation) string {
	s := ""
	for _, r := range Roles() {
		if ScopeOf(r, op) == None {
			continue
		}
		if s != "" {
			s += " or "
		}
		s += string(r)
	}
	return s
}
