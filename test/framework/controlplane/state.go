// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
)

var (
	// ErrAlreadyRunning says that a live supervisor holds the directory.
	ErrAlreadyRunning = errors.New("control plane is already running")
	// ErrNotRunning says that no live supervisor holds the directory.
	ErrNotRunning = errors.New("control plane is not running")
)

const (
	stateFile = "state.json"
	lockFile  = "lock"
	// killWithin is far longer than the kernel takes to end a killed process.
	killWithin = 10 * time.Second
)

// state is what a supervisor leaves on record for other processes.
type state struct {
	// BootID tells one life of the kernel from the next: pids and start times
	// mean something only within one.
	BootID     string     `json:"bootID"`
	Server     string     `json:"server,omitempty"`
	Supervisor identity   `json:"supervisor"`
	Processes  []identity `json:"processes"`
}

// identity tells a process from a later one with the same pid.
type identity struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// StartTime is in clock ticks since the boot.
	StartTime uint64 `json:"startTime"`
}

// identify returns the identity of a process that runs now.
func identify(name string, pid int) (identity, error) {
	_, start, err := readStat(pid)
	if err != nil {
		return identity{}, err
	}
	return identity{Name: name, PID: pid, StartTime: start}, nil
}

// alive reports whether the process still runs. One that is dead and only not
// yet reaped, which in a container without init is for ever, does not.
func (i identity) alive() bool {
	status, start, err := readStat(i.PID)
	return err == nil && start == i.StartTime && status != 'Z' && status != 'X'
}

// signal sends a signal to the process unless it is gone.
func (i identity) signal(sig syscall.Signal) error {
	if i.PID <= 1 {
		return nil
	}
	// The handle is a pidfd: what is checked after it was opened is what the
	// signal reaches.
	process, err := os.FindProcess(i.PID)
	if err != nil {
		return nil // there is no such process
	}
	defer process.Release() //nolint:errcheck // closing a handle
	if !i.alive() {
		return nil
	}
	if err := process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s (pid %d): %w", i.Name, i.PID, err)
	}
	return nil
}

// awaitEnd waits until the process is gone, for at most timeout.
func (i identity) awaitEnd(ctx context.Context, timeout time.Duration) error {
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, timeout, true, func(context.Context) (bool, error) {
		return !i.alive(), nil
	})
	if err != nil {
		return fmt.Errorf("await end of %s (pid %d): %w", i.Name, i.PID, err)
	}
	return nil
}

// kill ends the process for certain.
func (i identity) kill(ctx context.Context) error {
	if err := i.signal(syscall.SIGKILL); err != nil {
		return err
	}
	return i.awaitEnd(ctx, killWithin)
}

// readStat returns the status letter and the start time from /proc/pid/stat.
func readStat(pid int) (status byte, start uint64, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("read process status: %w", err)
	}
	// The second field is a name in parentheses that may hold anything, so
	// count from its end: the rest begins with field 3, the start time is 22.
	_, rest, _ := cutLast(string(data), ")")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("read process status: %d fields of pid %d", len(fields), pid)
	}
	if start, err = strconv.ParseUint(fields[19], 10, 64); err != nil {
		return 0, 0, fmt.Errorf("read process start time: %w", err)
	}
	return fields[0][0], start, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if at := strings.LastIndex(s, sep); at >= 0 {
		return s[:at], s[at+len(sep):], true
	}
	return s, "", false
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

func (s state) sameBoot() bool {
	id, err := bootID()
	return err == nil && id == s.BootID
}

// readState returns an empty state if there is none.
func readState(dir string) (state, error) {
	var st state
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &st)
	}
	if err != nil {
		return st, fmt.Errorf("read state of control plane: %w", err)
	}
	return st, nil
}

func (s state) write(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode state of control plane: %w", err)
	}
	return writeFile(filepath.Join(dir, stateFile), append(data, '\n'))
}

// lockDir takes the directory's lock, which ends with the returned file or with
// this process. Children do not inherit it.
func lockDir(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close() //nolint:errcheck // nothing was written
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, ErrAlreadyRunning)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return file, nil
}

// killStale ends what a supervisor that died left behind. The caller holds the
// directory's lock.
func killStale(ctx context.Context, dir string) error {
	st, err := readState(dir)
	if err != nil || !st.sameBoot() {
		return err
	}
	var errs []error
	for _, process := range st.Processes {
		errs = append(errs, process.kill(ctx))
	}
	return errors.Join(errs...)
}
