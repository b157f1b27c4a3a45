// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"tenancy.capsule.io/pkg/plugin/localproxy"
)

// defaultPort is that of kubectl proxy.
const defaultPort = 8001

// proxyOptions are the flags of the proxy, with the names, meanings and defaults that
// they have with kubectl proxy.
type proxyOptions struct {
	address       string
	port          int
	unixSocket    string
	apiPrefix     string
	acceptHosts   string
	acceptPaths   string
	rejectPaths   string
	rejectMethods string
}

func newProxyCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	o := &proxyOptions{}
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Run a proxy to the API server that answers native lists from the views",
		Long: "Run a proxy to the API server on this machine, as kubectl proxy does. Every request goes on with the\n" +
			"credential of your kubeconfig, so that who reaches the proxy is you. Where the API server refuses to list\n" +
			"or watch, say, namespaces, the answer is what you may get of them.",
		Example: "  # List the namespaces that you may get\n" +
			"  kubectl tenancy proxy &\n" +
			"  kubectl -s http://127.0.0.1:8001 get namespaces\n\n" +
			"  # On any free port, which is printed, or on a Unix socket\n" +
			"  kubectl tenancy proxy --port=0\n" +
			"  kubectl tenancy proxy --unix-socket=/tmp/tenancy.sock",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), flags, streams) },
	}
	fs := cmd.Flags()
	fs.StringVar(&o.address, "address", "127.0.0.1", "The IP address to serve at.")
	fs.IntVarP(&o.port, "port", "p", defaultPort, "The port to serve at. 0 is any free one.")
	fs.StringVarP(&o.unixSocket, "unix-socket", "u", "", "Unix socket to serve at, instead of a port.")
	fs.StringVar(&o.apiPrefix, "api-prefix", "/", "Path to serve the API below.")
	fs.StringVar(&o.acceptHosts, "accept-hosts", localproxy.DefaultAcceptHosts, "Regular expressions, separated by commas, for hosts that requests may name.")
	fs.StringVar(&o.acceptPaths, "accept-paths", localproxy.DefaultAcceptPaths, "Regular expressions for paths to accept.")
	fs.StringVar(&o.rejectPaths, "reject-paths", localproxy.DefaultRejectPaths, "Regular expressions for paths to reject, even if --accept-paths accepts them.")
	fs.StringVar(&o.rejectMethods, "reject-methods", localproxy.DefaultRejectMethods, "Regular expressions for HTTP methods to reject, such as POST,PUT,PATCH,DELETE.")
	return cmd
}

// filter returns what the flags accept.
func (o *proxyOptions) filter() (localproxy.Filter, error) {
	var f localproxy.Filter
	var errs []error
	for _, each := range []struct {
		flag, value string
		patterns    *localproxy.Patterns
	}{
		{"accept-hosts", o.acceptHosts, &f.AcceptHosts},
		{"accept-paths", o.acceptPaths, &f.AcceptPaths},
		{"reject-paths", o.rejectPaths, &f.RejectPaths},
		{"reject-methods", o.rejectMethods, &f.RejectMethods},
	} {
		var err error
		if *each.patterns, err = localproxy.ParsePatterns(each.value); err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", each.flag, err))
		}
	}
	return f, errors.Join(errs...)
}

func (o *proxyOptions) run(ctx context.Context, flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) error {
	if o.unixSocket != "" && o.port != defaultPort {
		return errors.New("--unix-socket and --port exclude each other: leave one out")
	}
	if o.port < 0 || o.port > 65535 {
		return fmt.Errorf("--port %d is not a port", o.port)
	}
	filter, err := o.filter()
	if err != nil {
		return err
	}
	config, err := flags.ToRESTConfig()
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	handler, err := localproxy.NewHandler(localproxy.Config{Upstream: config, Filter: filter, APIPrefix: o.apiPrefix})
	if err != nil {
		return err
	}
	listener, err := o.listen(ctx)
	if err != nil {
		return err
	}
	if !localproxy.IsLoopback(listener) {
		warn(streams, "other machines may reach this address, and who does is you")
	}
	if _, err := fmt.Fprintf(streams.Out, "Starting to serve on %s\n", listener.Addr()); err != nil {
		return errors.Join(err, listener.Close())
	}
	return localproxy.Serve(ctx, listener, handler)
}

func (o *proxyOptions) listen(ctx context.Context) (net.Listener, error) {
	if o.unixSocket != "" {
		return localproxy.ListenUnix(ctx, o.unixSocket)
	}
	return localproxy.Listen(ctx, o.address, o.port)
}
