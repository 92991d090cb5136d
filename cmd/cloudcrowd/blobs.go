package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"github.com/spf13/cobra"
)

var blobsPage = page{
	use:   "blobs COMMAND",
	short: "store and fetch bytes by their digest",
	text: `
A blob is stored bytes named by their SHA-256 digest. Job inputs, programs,
results and logs are blobs. A job file may name one as sha256:DIGEST.
`,
	see: []string{"job results"},
}

var blobsPutPage = page{
	use:   "put FILE...",
	short: "upload files and print their digests",
	text: `
Uploads what the server does not hold yet. Prints a line a file: digest and
name, as sha256sum does.
`,
	examples: `cloudcrowd blobs put genome.fasta.gz`,
}

var blobsGetPage = page{
	use:   "get [--out FILE] DIGEST",
	short: "fetch a blob",
	text: `
Writes a blob to standard output or, with --out, to a file, which appears only
when it is whole and matches its digest.
`,
	examples: `cloudcrowd blobs get --out spectrum.tsv DIGEST`,
}

var blobsVerifyPage = page{
	use:   "verify DIGEST...",
	short: "fetch blobs and check that the bytes match",
	text: `
Reads each blob from the server and recomputes its digest. Prints a line a
blob. Ends with status 8 if one is missing or does not match.
`,
	examples: `cloudcrowd blobs verify DIGEST`,
	see:      []string{"fsck"},
}

func (a *app) blobsCommand() *cobra.Command {
	return blobsPage.group(a.blobsPutCommand(), a.blobsGetCommand(), a.blobsVerifyCommand())
}

// digestOf reads a digest, with or without "sha256:" before it.
func digestOf(word string) (cloudcrowd.Digest, error) {
	if len(word) > 7 && word[:7] == "sha256:" {
		word = word[7:]
	}
	d := cloudcrowd.Digest(word)
	if !d.Valid() {
		return "", cloudcrowd.Errorf(cloudcrowd.Invalid, "%q is not a digest", word).WithHint("a digest is 64 hexadecimal digits in lower case, as sha256sum prints it")
	}
	return d, nil
}

func (a *app) blobsPutCommand() *cobra.Command {
	return blobsPutPage.command(1, -1, func(ctx context.Context, args []string) error {
		api, err := a.connect()
		if err != nil {
			return err
		}
		for _, path := range args {
			moving, done := a.transfer("uploading", path)
			file, err := api.PutFile(ctx, path, moving)
			done()
			if err != nil {
				return err
			}
			if a.json {
				err = a.object(file)
			} else {
				_, err = fmt.Fprintf(a.stdout, "%s  %s\n", file.Digest, path)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (a *app) blobsGetCommand() *cobra.Command {
	var out string
	c := blobsGetPage.command(1, 1, func(ctx context.Context, args []string) error {
		digest, err := digestOf(args[0])
		if err != nil {
			return err
		}
		api, err := a.connect()
		if err != nil {
			return err
		}
		if out == "" {
			_, err = api.FetchBlob(ctx, digest, "", a.stdout)
			return err
		}
		return a.getBlob(ctx, api, digest, out)
	})
	c.Flags().StringVarP(&out, "out", "o", "", "write to `FILE`")
	return c
}

func (a *app) getBlob(ctx context.Context, api *client.Client, digest cloudcrowd.Digest, out string) error {
	f, err := os.Create(out + ".part")
	if err != nil {
		return err
	}
	n, err := api.FetchBlob(ctx, digest, "", f)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), out)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	if a.json {
		return a.object(map[string]any{"digest": digest, "size_bytes": n, "out": out})
	}
	a.notef("%s: %s\n", out, cloudcrowd.Bytes(n))
	return nil
}

func (a *app) blobsVerifyCommand() *cobra.Command {
	return blobsVerifyPage.command(1, -1, func(ctx context.Context, args []string) error {
		api, err := a.connect()
		if err != nil {
			return err
		}
		var faulty error
		for _, word := range args {
			digest, err := digestOf(word)
			if err != nil {
				return err
			}
			verdict, err := verifyBlob(ctx, api, digest)
			if err != nil {
				return err
			}
			if verdict != "ok" {
				faulty = errReported{cloudcrowd.Unsuccessful}
			}
			if a.json {
				err = a.object(map[string]any{"digest": digest, "verdict": verdict})
			} else {
				_, err = fmt.Fprintf(a.stdout, "%s  %s\n", digest, verdict)
			}
			if err != nil {
				return err
			}
		}
		return faulty
	})
}

// verifyBlob reads a blob and says "ok", "missing" or "corrupt".
func verifyBlob(ctx context.Context, api *client.Client, digest cloudcrowd.Digest) (string, error) {
	_, err := api.FetchBlob(ctx, digest, "", io.Discard)
	switch cloudcrowd.CodeOf(err) {
	case cloudcrowd.NotFound:
		return "missing", nil
	case cloudcrowd.DigestMismatch:
		return "corrupt", nil
	}
	return "ok", err
}
