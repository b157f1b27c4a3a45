// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"

	"tenancy.capsule.io/pkg/plugin/kubeconfig"
)

// meaningless are kubectl's flags that a kubeconfig is not made of: credentials are taken
// from the user as they are, and the cluster is the proxy.
var meaningless = []string{
	"token", "username", "password", "client-certificate", "client-key",
	"as", "as-group", "as-uid", "as-user-extra", "cluster", "proxy-url", "disable-compression",
}

func newKubeconfigCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var o kubeconfig.Options
	var output string
	var merge bool
	cmd := &cobra.Command{
		Use:   "kubeconfig --server=URL",
		Short: "Write a kubeconfig for a tenancy-proxy in the cluster",
		Long: "Write a kubeconfig for a tenancy-proxy in the cluster: user and namespace are those of the current context,\n" +
			"the credential as it is, the cluster is the proxy. What is written holds your credential if the kubeconfig\n" +
			"does, so keep it to yourself.",
		Example: "  # To a file\n" +
			"  kubectl tenancy kubeconfig --server=https://tenancy-proxy.example.com:9001 --certificate-authority=ca.crt --output=tenancy.kubeconfig\n\n" +
			"  # As a further context of the kubeconfig in use\n" +
			"  kubectl tenancy kubeconfig --server=https://tenancy-proxy.example.com:9001 --certificate-authority=ca.crt --merge --context-name=tenancy\n" +
			"  kubectl --context=tenancy get namespaces",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range meaningless {
				if cmd.Flags().Changed(name) {
					return fmt.Errorf("--%s does not change a kubeconfig: change the user by \"kubectl config set-credentials\", or choose another with --context or --user", name)
				}
			}
			if merge && output != "" {
				return errors.New("--merge and --output exclude each other: leave one out")
			}
			o.Context, o.User, o.Namespace = *flags.Context, *flags.AuthInfoName, *flags.Namespace
			return writeKubeconfig(flags, streams, o, output, merge)
		},
	}
	fs := cmd.Flags()
	// These are of the proxy, where other commands mean the API server.
	fs.StringVarP(&o.Server, "server", "s", "", "URL of the proxy. Required.")
	fs.StringVar(&o.CAFile, "certificate-authority", "", "File of the certificate authority of the proxy, in PEM, which is embedded. Without, those that the system trusts.")
	fs.StringVar(&o.TLSServerName, "tls-server-name", "", "Name in the certificate of the proxy, if it is not the host of --server.")
	fs.BoolVar(&o.Insecure, "insecure-skip-tls-verify", false, "Have nobody look at the certificate of the proxy. This is insecure.")
	fs.BoolVar(&o.AllowHTTP, "allow-http", false, "Allow --server to begin with http. This is insecure.")
	fs.StringVar(&o.ContextName, "context-name", "", "Name of the context and of the cluster in it. Empty is that of the context it is made of, and \"-tenancy\".")
	fs.StringVar(&output, "output", "", "File to write, which must not be there yet. Empty is the standard output.")
	fs.BoolVar(&merge, "merge", false, "Add the context to the kubeconfig in use, whose current context stays.")
	return cmd
}

func writeKubeconfig(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams, o kubeconfig.Options, output string, merge bool) error {
	loader := flags.ToRawKubeConfigLoader()
	config, err := loader.RawConfig()
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	made, warnings, err := kubeconfig.New(&config, o)
	if err != nil {
		return err
	}
	warn(streams, warnings...)
	switch {
	case merge:
		file, err := kubeconfig.Merge(loader.ConfigAccess(), made)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(streams.ErrOut, "Context %q is in %s: \"kubectl config use-context %s\" makes it the current one.\n", made.CurrentContext, file, made.CurrentContext)
		return err
	case output != "":
		return kubeconfig.Write(output, made)
	default:
		data, err := clientcmd.Write(*made)
		if err != nil {
			return fmt.Errorf("encode kubeconfig: %w", err)
		}
		_, err = streams.Out.Write(data)
		return err
	}
}
