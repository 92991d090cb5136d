package authz

import (
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// The whole policy, written a second time: requester, worker-owner, operator.
var expected = map[Operation][3]Scope{
	ReadSelf:       {Own, Own, Own},
	ReadStatus:     {All, All, All},
	PlanJob:        {Own, None, Own},
	SubmitJob:      {Own, None, Own},
	ReadJob:        {Own, None, All},
	ReadResults:    {Own, None, All},
	CancelJob:      {Own, None, All},
	ReadEvents:     {Own, Own, All},
	UploadBlob:     {Own, None, Own},
	ReadBlob:       {Own, None, All},
	ReadWorker:     {Own, Own, All},
	RevokeWorker:   {None, Own, All},
	ReadInvites:    {None, Own, All},
	CreateInvite:   {None, Own, All},
	RevokeInvite:   {None, Own, All},
	ReadTokens:     {Own, Own, All},
	CreateToken:    {None, None, All},
	DeleteToken:    {Own, Own, All},
	ReadAccount:    {Own, Own, All},
	IssueCredits:   {None, None, All},
	DrainServer:    {None, None, All},
	ReadMetrics:    {None, None, All},
	ReadEverything: {None, None, All},
	ActForOthers:   {None, None, All},
}

// Every operation, for every role, on own and on others' things, answers as the table says; nobody and unknown roles may nothing.
func TestPolicy(t *testing.T) {
	t.Parallel()
	if len(Operations()) != len(expected) {
		t.Fatalf("%d operations, %d in the table", len(Operations()), len(expected))
	}
	for _, op := range Operations() {
		for i, role := range Roles() {
			want := expected[op][i]
			p := Principal{Account: "me", Role: role}
			if got := ScopeOf(role, op); got != want {
				t.Errorf("%s %s: %s, want %s", role, op, got, want)
			}
			code := cloudcrowd.Code("")
			if want == None {
				code = cloudcrowd.Forbidden
			}
			if got := cloudcrowd.CodeOf(p.May(op)); got != code {
				t.Errorf("%s may %s: %q, want %q", role, op, got, code)
			}
			if got := cloudcrowd.CodeOf(p.On(op, "me")); got != code {
				t.Errorf("%s %s on own: %q, want %q", role, op, got, code)
			}
			if want == Own {
				code = cloudcrowd.NotFound
			}
			for _, other := range []cloudcrowd.AccountID{"you", "", "ME", "me "} {
				if got := cloudcrowd.CodeOf(p.On(op, other)); got != code {
					t.Errorf("%s %s on %q: %q, want %q", role, op, other, got, code)
				}
			}
			if sees := p.Sees(op); (sees == "") != (want == All) {
				t.Errorf("%s %s sees %q", role, op, sees)
			}
		}
		for _, p := range []Principal{{}, {Account: "me"}} {
			if cloudcrowd.CodeOf(p.May(op)) != cloudcrowd.Unauthorized {
				t.Errorf("nobody may %s", op)
			}
		}
		if (Principal{Account: "me", Role: "root"}).May(op) == nil {
			t.Errorf("an unknown role may %s", op)
		}
		if (Principal{Role: cloudcrowd.RoleRequester}).On(op, "") == nil && expected[op][0] == Own {
			t.Errorf("a principal without account owns what belongs to nobody: %s", op)
		}
	}
	if (Principal{Account: "me", Role: cloudcrowd.RoleOperator}).May("no.such") == nil {
		t.Error("an unknown operation is allowed")
	}
}
