package postgres

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"cloudcrowd.dev/cloudcrowd"
)

// IsAddress reports whether a text is the address of a PostgreSQL database, well-formed or not, and no folder.
func IsAddress(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// HasPassword reports whether an address holds a password, which then must not be shown: not in a log, not in a list of processes.
func HasPassword(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return true // nobody knows what is in it
	}
	_, inside := u.User.Password()
	return inside || u.Query().Has("password")
}

// Name is an address without its secrets, for people.
func Name(address string) string {
	c, err := pgconn.ParseConfig(address)
	if err != nil {
		return "postgres://…"
	}
	return nameOf(c)
}

func nameOf(c *pgconn.Config) string {
	host := c.Host
	if !strings.HasPrefix(host, "/") {
		host = fmt.Sprintf("%s:%d", host, c.Port)
	}
	name := fmt.Sprintf("PostgreSQL database %q at %s", c.Database, host)
	if n := len(c.Fallbacks); n > 0 {
		for _, f := range c.Fallbacks {
			if f.Host != c.Host || f.Port != c.Port {
				return name + " and others"
			}
		}
	}
	return name
}

// parse reads an address. Its errors do not hold the address, which may hold a password.
func parse(address, passwordFile string) (*pgxpool.Config, error) {
	if !IsAddress(address) {
		return nil, cloudcrowd.Fieldf("store", "the address must begin with postgres://").WithHint("postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full")
	}
	c, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, cloudcrowd.Fieldf("store", "the address of the database cannot be read").WithHint("postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full; write special characters of a password as %%XX, or give it in a file")
	}
	if passwordFile != "" {
		b, err := os.ReadFile(passwordFile)
		if err != nil {
			return nil, cloudcrowd.Fieldf("store-password-file", "it cannot be read: %v", err)
		}
		c.ConnConfig.Password = strings.TrimRight(string(b), "\r\n")
	}
	if c.ConnConfig.ConnectTimeout == 0 || c.ConnConfig.ConnectTimeout > 2*time.Minute {
		c.ConnConfig.ConnectTimeout = connectLimit
	}
	if c.ConnConfig.RuntimeParams["application_name"] == "" {
		c.ConnConfig.RuntimeParams["application_name"] = "cloudcrowd"
	}
	return c, nil
}

// connectLimit is how long one attempt to connect may take.
const connectLimit = 5 * time.Second

// Settings of every connection. A database that does not know one goes without it.
var (
	always = []string{
		// A server whose machine vanished, or is cut off or frozen in the middle of a commit, must not keep its locks until its connection is missed, nor longer
		// than it takes the others to notice: they could not take its shards over before.
		"SET idle_in_transaction_session_timeout = '2s'",
		"SET tcp_keepalives_idle = 5", "SET tcp_keepalives_interval = 2", "SET tcp_keepalives_count = 3", "SET tcp_user_timeout = '10s'",
	}
	// What commits do goes by keys. A plan made while a table was small would read it whole later.
	whenWriting = append([]string{"SET enable_seqscan = off", "SET enable_hashjoin = off", "SET enable_mergejoin = off", "SET jit = off"}, always...)
)

// prepare returns what is done with a new connection.
func prepare(settings []string) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, conn *pgx.Conn) error {
		for _, text := range settings {
			if _, err := conn.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol); err != nil && !unknown(err) {
				return err
			}
		}
		return mustSync(ctx, conn)
	}
}

// mustSync holds that what this connection commits is on the disk when it is acknowledged. Another setting than "off" is the operator's.
func mustSync(ctx context.Context, conn *pgx.Conn) error {
	var v string
	err := conn.QueryRow(ctx, "SHOW synchronous_commit", pgx.QueryExecModeSimpleProtocol).Scan(&v)
	if err == nil && v == "off" {
		_, err = conn.Exec(ctx, "SET synchronous_commit = on", pgx.QueryExecModeSimpleProtocol)
	}
	if err != nil && !unknown(err) {
		return err
	}
	return nil
}

// unknown reports whether a database lacks what was asked for.
func unknown(err error) bool {
	switch code := sqlState(err); code {
	case "42704", "22023", "0A000", "42601", "55P02", "42501":
		return true
	}
	return false
}
