package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
)

var completionPage = page{
	use:   "completion SHELL",
	short: "print a script that completes commands and options",
	text: `
SHELL is bash, zsh, fish or powershell. The script is for that shell to read.
In bash it needs the functions of the package bash-completion.
`,
	examples: `
source <(cloudcrowd completion bash)
cloudcrowd completion zsh > "${fpath[1]}/_cloudcrowd"
cloudcrowd completion fish > ~/.config/fish/completions/cloudcrowd.fish
cloudcrowd completion powershell | Out-String | Invoke-Expression
`,
}

func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	var c *cobra.Command
	c = completionPage.command(1, 1, func(_ context.Context, args []string) error {
		if err := oneOf("SHELL", strings.ToLower(args[0]), shells...); err != nil {
			return err
		}
		root := c.Root()
		switch strings.ToLower(args[0]) {
		case "zsh":
			return root.GenZshCompletion(a.stdout)
		case "fish":
			return root.GenFishCompletion(a.stdout, true)
		case "powershell":
			return root.GenPowerShellCompletionWithDesc(a.stdout)
		}
		return root.GenBashCompletionV2(a.stdout, true)
	})
	c.ValidArgs = shells
	return c
}
