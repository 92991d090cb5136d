package main

import (
	"github.com/spf13/cobra"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/platform"
	"cloudcrowd.dev/cloudcrowd/internal/store/postgres"
)

// storeFlags adds the options that say where the store is.
func storeFlags(c *cobra.Command, d *platform.Database) {
	f := c.Flags()
	f.StringVar(&d.Address, "store", "", "use the PostgreSQL database at this `ADDRESS`, postgres://USER@HOST/DATABASE, instead of SQLite in the data folder")
	markSecret(f, "store", secretPassword)
	f.StringVar(&d.PasswordFile, "store-password-file", "", "take the database's password from this `FILE`")
}

// checkStoreOption refuses a password among the arguments, where every user of the machine can read it. Called before settings from other places are
// applied.
func checkStoreOption(c *cobra.Command, d platform.Database) error {
	if c.Flags().Changed("store") && postgres.IsAddress(d.Address) && postgres.HasPassword(d.Address) {
		return cloudcrowd.Fieldf("--store", "the password would be shown to every user of this machine").
			WithHint("leave it out and use --store-password-file or the variable PGPASSWORD; a server also takes the whole address from CLOUDCROWD_SERVER_STORE or its configuration file")
	}
	return nil
}

// checkBusOption does the same for the NATS that connects servers.
func checkBusOption(c *cobra.Command, bus string) error {
	if _, secret := withoutUser(bus, secretUser); secret && c.Flags().Changed("bus") {
		return cloudcrowd.Fieldf("--bus", "user and password would be shown to every user of this machine").
			WithHint("set the whole address by CLOUDCROWD_SERVER_BUS or in the configuration file, or leave them out and use --bus-credentials")
	}
	return nil
}

// checkStore refuses what cannot be an address.
func checkStore(d platform.Database) error {
	switch {
	case d.Address != "" && !postgres.IsAddress(d.Address):
		return cloudcrowd.Fieldf("--store", "must begin with postgres://").WithHint("postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full; leave it out for SQLite in the data folder")
	case d.Address == "" && d.PasswordFile != "":
		return cloudcrowd.Fieldf("--store-password-file", "needs --store")
	}
	return nil
}

// checkStoreArguments is both, for commands that take their options from arguments alone.
func checkStoreArguments(c *cobra.Command, d platform.Database) error {
	if err := checkStoreOption(c, d); err != nil {
		return err
	}
	return checkStore(d)
}
