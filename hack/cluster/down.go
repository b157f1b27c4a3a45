// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"tenancy.capsule.io/test/framework/controlplane"
	"tenancy.capsule.io/test/framework/deployment"
)

// stopWithin is how long the supervisor has to end all children in order.
const stopWithin = 30 * time.Second

func newDownCommand(l *deployment.Layout) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End everything that up started and remove its data; logs stay",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return down(cmd.Context(), *l, printer{cmd.OutOrStdout()})
		},
	}
}

func down(ctx context.Context, l deployment.Layout, out printer) error {
	if _, err := os.Stat(l.Run); errors.Is(err, fs.ErrNotExist) {
		out.printf("Nothing is running\n")
		return nil
	}
	unlock, err := lock(ctx, l.Lock(), out)
	if err != nil {
		return err
	}
	defer unlock.Close() //nolint:errcheck // nothing was written
	if err := controlplane.Terminate(ctx, l.ControlPlane(), stopWithin); err != nil {
		return err
	}
	if err := controlplane.Destroy(ctx, l.ControlPlane()); err != nil {
		return err
	}
	// What belongs to a cluster that is gone. The logs stay.
	for _, path := range []string{
		l.Kubeconfigs(), l.Rendered(), l.KubectlCache(),
		filepath.Dir(l.ServingCert()), filepath.Join(l.Run, socketName),
	} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove state: %w", err)
		}
	}
	out.printf("Nothing is running. Logs are in %s\n", l.Logs())
	return nil
}
