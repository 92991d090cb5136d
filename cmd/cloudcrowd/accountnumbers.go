package main

import (
	"fmt"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// accountNumbers is an option that takes ACCOUNT=NUMBER, again and again or separated by commas. It implements pflag.Value.
type accountNumbers struct {
	others bool // NUMBER alone is right, too: for all other accounts
	each   func(cloudcrowd.AccountID, float64) error
	given  []string
}

// String implements pflag.Value.
func (n *accountNumbers) String() string { return strings.Join(n.given, ",") }

// Type implements pflag.Value.
func (n *accountNumbers) Type() string { return "text" }

// Set implements pflag.Value.
func (n *accountNumbers) Set(text string) error {
	for _, part := range strings.Split(text, ",") {
		account, number, found := strings.Cut(strings.TrimSpace(part), "=")
		if !found && n.others {
			account, number = "", account
		}
		v, err := strconv.ParseFloat(number, 64)
		if err != nil || !n.others && !found || found && account == "" {
			return fmt.Errorf("it must be ACCOUNT=NUMBER")
		}
		if err := n.each(cloudcrowd.AccountID(account), v); err != nil {
			return err
		}
		n.given = append(n.given, strings.TrimSpace(part))
	}
	return nil
}

// set puts a value into a map that may not be made yet.
func set[V any](m *map[cloudcrowd.AccountID]V, a cloudcrowd.AccountID, v V) {
	if *m == nil {
		*m = map[cloudcrowd.AccountID]V{}
	}
	(*m)[a] = v
}
