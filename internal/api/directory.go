package api

import (
	"context"
	"encoding/base32"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
	"cloudcrowd.dev/cloudcrowd/internal/link"
)

type invitePath struct {
	Invite string `path:"invite" maxLength:"40"`
}

type tokenPath struct {
	Token string `path:"token" maxLength:"40"`
}

type keyedBody struct {
	Keyed
	RawBody []byte `contentType:"application/json"`
}

func (h *Handler) directoryRoutes() {
	route(h, huma.Operation{OperationID: "list-invites", Method: http.MethodGet, Path: "/v1/invites", Tags: []string{"directory"}, Summary: "List invites, without their secrets"},
		authz.ReadInvites, func(ctx context.Context, p authz.Principal, _ *empty) (client.Page[cloudcrowd.Invite], error) {
			all, err := h.Directory.Invites(ctx)
			all = slices.DeleteFunc(slices.Clone(all), func(i cloudcrowd.Invite) bool { return p.On(authz.ReadInvites, i.Owner) != nil })
			return page(all, "", err)
		})
	route(h, huma.Operation{OperationID: "create-invite", Method: http.MethodPost, Path: "/v1/invites", Tags: []string{"directory"}, DefaultStatus: http.StatusCreated,
		Summary: "Let machines join", Description: "The join link is shown only here. The same Idempotency-Key gives the same invite.", RequestBody: bodyOf[client.InviteRequest](h, "InviteRequest")},
		authz.CreateInvite, h.createInvite)
	route(h, huma.Operation{OperationID: "revoke-invite", Method: http.MethodDelete, Path: "/v1/invites/{invite}", Tags: []string{"directory"}, DefaultStatus: http.StatusOK,
		Summary: "Withdraw an invite", Description: "Workers that joined by it stay."},
		authz.RevokeInvite, func(ctx context.Context, p authz.Principal, in *invitePath) (cloudcrowd.Invite, error) {
			all, err := h.Directory.Invites(ctx)
			if err != nil {
				return cloudcrowd.Invite{}, err
			}
			for _, i := range all {
				if i.ID == in.Invite && p.On(authz.RevokeInvite, i.Owner) == nil {
					i.Revoked = true
					return i, h.Directory.RevokeInvite(ctx, i.ID)
				}
			}
			return cloudcrowd.Invite{}, notFound("invite", in.Invite)
		})
	route(h, huma.Operation{OperationID: "list-tokens", Method: http.MethodGet, Path: "/v1/tokens", Tags: []string{"directory"}, Summary: "List the public parts of tokens"},
		authz.ReadTokens, func(ctx context.Context, p authz.Principal, _ *empty) (client.Page[cloudcrowd.Token], error) {
			all, err := h.Directory.Tokens(ctx)
			all = slices.DeleteFunc(slices.Clone(all), func(t cloudcrowd.Token) bool { return p.On(authz.ReadTokens, t.Account) != nil })
			return page(all, "", err)
		})
	route(h, huma.Operation{OperationID: "create-token", Method: http.MethodPost, Path: "/v1/tokens", Tags: []string{"directory"}, DefaultStatus: http.StatusCreated,
		Summary: "Make a token for an account", Description: "Operators only. The secret is shown only here. The same Idempotency-Key gives the same token.",
		RequestBody: bodyOf[client.TokenRequest](h, "TokenRequest")},
		authz.CreateToken, h.createToken)
	route(h, huma.Operation{OperationID: "delete-token", Method: http.MethodDelete, Path: "/v1/tokens/{token}", Tags: []string{"directory"}, DefaultStatus: http.StatusOK,
		Summary: "Withdraw a token at once", Description: "Browser sessions opened with it end, too."},
		authz.DeleteToken, func(ctx context.Context, p authz.Principal, in *tokenPath) (cloudcrowd.Token, error) {
			all, err := h.Directory.Tokens(ctx)
			if err != nil {
				return cloudcrowd.Token{}, err
			}
			for _, t := range all {
				if t.ID == in.Token && p.On(authz.DeleteToken, t.Account) == nil {
					return t, h.Directory.DeleteToken(ctx, t.ID)
				}
			}
			return cloudcrowd.Token{}, notFound("token", in.Token)
		})
}

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// secretFor makes id and secret of something new. With an idempotency key both follow from who asks and the key, so that a repetition gets the same
// answer although only the secret's hash is stored.
func (h *Handler) secretFor(p authz.Principal, what, key, prefix, idPrefix string) (id, secret string) {
	if key == "" {
		return authz.NewID(idPrefix), authz.NewSecret(prefix)
	}
	b := h.Signer.Derive(what, string(p.Account), p.TokenID, key)
	return idPrefix + lowerBase32.EncodeToString(b[20:])[:10], prefix + lowerBase32.EncodeToString(b[:20])
}

func expiry(now time.Time, ttl cloudcrowd.Duration) (cloudcrowd.Time, error) {
	switch {
	case ttl < 0:
		return 0, cloudcrowd.Fieldf("ttl", "must not be negative")
	case ttl == 0:
		return 0, nil
	}
	return cloudcrowd.TimeOf(now.Add(time.Duration(ttl))), nil
}

var errKeyUsed = cloudcrowd.Errorf(cloudcrowd.Conflict, "this Idempotency-Key was used for something else").WithHint("send a fresh key")

func (h *Handler) createInvite(ctx context.Context, p authz.Principal, in *keyedBody) (client.NewInvite, error) {
	var body client.InviteRequest
	if err := decode(in.RawBody, &body); err != nil {
		return client.NewInvite{}, err
	}
	if body.Owner == "" {
		body.Owner = p.Account
	}
	if err := personal("owner", body.Owner); err != nil {
		return client.NewInvite{}, err
	}
	if p.On(authz.CreateInvite, body.Owner) != nil {
		return client.NewInvite{}, &cloudcrowd.Error{Code: cloudcrowd.Forbidden, Field: "owner", Msg: "only an operator may invite workers for another account"}
	}
	if body.MaxUses < 0 {
		return client.NewInvite{}, cloudcrowd.Fieldf("max_uses", "must not be negative")
	}
	now := h.Now()
	expires, err := expiry(now, body.TTL)
	if err != nil {
		return client.NewInvite{}, err
	}
	id, secret := h.secretFor(p, "invite", in.Key, authz.InvitePrefix, "i")
	invite := cloudcrowd.Invite{ID: id, Owner: body.Owner, MaxUses: body.MaxUses, CreatedAt: cloudcrowd.TimeOf(now), ExpiresAt: expires}
	if in.Key != "" {
		all, err := h.Directory.Invites(ctx)
		if err != nil {
			return client.NewInvite{}, err
		}
		if at := slices.IndexFunc(all, func(i cloudcrowd.Invite) bool { return i.ID == id }); at >= 0 {
			if old := all[at]; old.Owner != invite.Owner || old.MaxUses != invite.MaxUses || (old.ExpiresAt == 0) != (expires == 0) {
				return client.NewInvite{}, errKeyUsed
			}
			return client.NewInvite{Invite: all[at], Secret: secret, Link: h.link(ctx, link.Join, secret)}, nil
		}
	}
	if err := h.Directory.PutInvite(ctx, authz.Hash(secret), invite); err != nil {
		return client.NewInvite{}, err
	}
	return client.NewInvite{Invite: invite, Secret: secret, Link: h.link(ctx, link.Join, secret)}, nil
}

func (h *Handler) createToken(ctx context.Context, p authz.Principal, in *keyedBody) (client.NewToken, error) {
	var body client.TokenRequest
	if err := decode(in.RawBody, &body); err != nil {
		return client.NewToken{}, err
	}
	if err := personal("account", body.Account); err != nil {
		return client.NewToken{}, err
	}
	if !slices.Contains(authz.Roles(), body.Role) {
		return client.NewToken{}, cloudcrowd.Fieldf("role", "%q is not a role", body.Role).WithHint("roles: requester, worker-owner, operator")
	}
	if len(body.Note) > 200 {
		return client.NewToken{}, cloudcrowd.Fieldf("note", "longer than 200 bytes")
	}
	now := h.Now()
	expires, err := expiry(now, body.TTL)
	if err != nil {
		return client.NewToken{}, err
	}
	id, secret := h.secretFor(p, "token", in.Key, authz.TokenPrefix, "t")
	token := cloudcrowd.Token{ID: id, Account: body.Account, Role: body.Role, Note: body.Note, CreatedAt: cloudcrowd.TimeOf(now), ExpiresAt: expires}
	if in.Key != "" {
		old, err := h.Directory.TokenByHash(ctx, authz.Hash(secret))
		switch {
		case err == nil && (old.Account != token.Account || old.Role != token.Role || (old.ExpiresAt == 0) != (expires == 0)):
			return client.NewToken{}, errKeyUsed
		case err == nil:
			return client.NewToken{Token: old, Secret: secret, Link: h.link(ctx, link.Admin, secret)}, nil
		case cloudcrowd.CodeOf(err) != cloudcrowd.NotFound:
			return client.NewToken{}, err
		}
	}
	if err := h.Directory.PutToken(ctx, authz.Hash(secret), token); err != nil {
		return client.NewToken{}, err
	}
	return client.NewToken{Token: token, Secret: secret, Link: h.link(ctx, link.Admin, secret)}, nil
}

// link makes the text people pass on.
func (h *Handler) link(ctx context.Context, kind link.Kind, secret string) string {
	base := h.PublicURL
	if base == "" {
		base, _ = ctx.Value(addressKey{}).(string)
	}
	return link.Link{Kind: kind, Server: strings.TrimSuffix(base, "/"), Secret: secret, Pin: h.Pin}.String()
}

// addressKey holds the address a request came to, for links of a server that was not told its public address.
type addressKey struct{}

func addressOf(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
