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
)

// stopWithin is how long the supervisor has to end all children in order.
const stopWithin = 30 * time.Second

func newDownCommand(l *layout) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End everything that up started and remove its data; logs stay",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return down(cmd.Context(), *l, printer{cmd.OutOrStdout()})
		},
	}
}

func down(ctx context.Context, l layout, out printer) error {
	if _, err := os.Stat(l.run); errors.Is(err, fs.ErrNotExist) {
		out.printf("Nothing is running\n")
		return nil
	}
	unlock, err := lock(ctx, l.lock(), out)
	if err != nil {
		return err
	}
	defer unlock.Close() //nolint:errcheck // nothing was written
	if err := controlplane.Terminate(ctx, l.controlPlane(), stopWithin); err != nil {
		return err
	}
	if err := controlplane.Destroy(ctx, l.controlPlane()); err != nil {
		return err
	}
	// What belongs to a cluster that is gone. The logs stay.
	for _, path := range []string{
		l.kubeconfigs(), l.rendered(), l.kubectlCache(),
		filepath.Dir(l.servingCert()), filepath.Join(l.run, socketName),
	} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove state: %w", err)
		}
	}
	out.printf("Nothing is running. Logs are in %s\n", l.logs())
	return nil
}
