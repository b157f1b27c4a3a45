// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package disruption

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

// startKubectl runs "kubectl get --watch" whenever it ends, which it does when
// its watch does: a user would run it again. Each run begins with a list. The
// output is a table, unless it is "json".
func startKubectl(t *testing.T, of *resource, user identity, s selection, output string, r *record) func() objects {
	t.Helper()
	kubectl := system.Kubectl(t, user.name, user.groups...)
	args := []string{"get", of.shortName, "--watch", "--output-watch-events"}
	replay := of.replayTable
	if output == "json" {
		args, replay = append(args, "--output", output), of.replayJSON
	}
	if s.label != "" {
		args = append(args, "--selector", s.label)
	}
	if s.field != "" {
		args = append(args, "--field-selector", s.field)
	}
	var lock sync.Mutex
	var held objects // lock protects it
	background(t, func(ctx context.Context) {
		for ctx.Err() == nil {
			lock.Lock()
			held = objects{}
			lock.Unlock()
			r.note("kubectl %q", args)
			command := kubectl.Command(ctx, args...)
			command.Stderr = r
			stdout, err := command.StdoutPipe()
			if err == nil {
				err = command.Start()
			}
			if err == nil {
				err = errors.Join(replay(io.TeeReader(stdout, r), &lock, held), command.Wait())
			}
			r.note("kubectl has ended: %v", err)
			select {
			case <-ctx.Done():
			case <-time.After(kubectlPause):
			}
		}
	})
	return func() objects {
		lock.Lock()
		defer lock.Unlock()
		result := objects{}
		for _, o := range held {
			result.put(o)
		}
		return result
	}
}

// kubectlPause is how long a user takes to run kubectl again.
const kubectlPause = 200 * time.Millisecond

// replayTable applies the rows that kubectl writes, EVENT and NAME first.
func (r *resource) replayTable(from io.Reader, lock *sync.Mutex, held objects) error {
	rows := bufio.NewScanner(from)
	for rows.Scan() {
		words := strings.Fields(rows.Text())
		if len(words) < 2 {
			continue
		}
		lock.Lock()
		switch watch.EventType(words[0]) {
		case watch.Added, watch.Modified:
			held[words[1]] = r.nameOnly(words[1])
		case watch.Deleted:
			delete(held, words[1])
		case watch.Bookmark, watch.Error:
		}
		lock.Unlock()
	}
	return rows.Err()
}

func (r *resource) nameOnly(name string) object {
	o := r.new()
	o.SetName(name)
	return o
}

// replayJSON applies the events that kubectl writes.
func (r *resource) replayJSON(from io.Reader, lock *sync.Mutex, held objects) error {
	decoder := json.NewDecoder(from)
	for {
		event := struct {
			Type   watch.EventType
			Object object
		}{Object: r.new()}
		if err := decoder.Decode(&event); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		lock.Lock()
		switch event.Type {
		case watch.Added, watch.Modified:
			held.put(event.Object)
		case watch.Deleted:
			delete(held, event.Object.GetName())
		case watch.Bookmark, watch.Error:
		}
		lock.Unlock()
	}
}
