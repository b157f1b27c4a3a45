// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"tenancy.capsule.io/test/framework"
)

// container is the only one of each pod.
const container = "main"

// kubelet is that of a node, in so far as the API server asks it for its users: it
// speaks the protocols of streams by the same code as the real one, and what runs in its
// containers are processes of this host.
type kubelet struct {
	*httptest.Server
	// dir is where the processes run.
	dir string
	// lines are what containers log, as soon as somebody reads it.
	lines chan string
	// served is how many streams there were, open how many there are.
	served, open atomic.Int32
}

// startKubelet starts one, and registers its node, for the time of a test.
func startKubelet(t testing.TB, node string) *kubelet {
	t.Helper()
	k := &kubelet{dir: t.TempDir(), lines: make(chan string)}
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.counted(k.serveExec))
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", k.counted(k.serveAttach))
	mux.HandleFunc("/portForward/{namespace}/{pod}", k.counted(k.servePortForward))
	mux.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", k.counted(k.serveLogs))
	k.Server = httptest.NewUnstartedServer(mux)
	k.EnableHTTP2 = true
	k.StartTLS()
	t.Cleanup(k.Close)

	address, err := url.Parse(k.URL)
	require.NoError(t, err)
	port, err := strconv.ParseInt(address.Port(), 10, 32)
	require.NoError(t, err)
	nodes := system.Admin(t).CoreV1().Nodes()
	_, err = nodes.Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: node},
		Status: corev1.NodeStatus{
			Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address.Hostname()}},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(port)}},
			Conditions:      []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, nodes.Delete(context.WithoutCancel(t.Context()), node, metav1.DeleteOptions{}))
	})
	return k
}

// runPod has a pod run on a node. It goes with its namespace.
func runPod(t testing.TB, node, namespace, name string) {
	t.Helper()
	pods := system.Admin(t).CoreV1().Pods(namespace)
	var pod *corev1.Pod
	framework.AwaitWithin(t, framework.Eventually, "pod "+name, true, func(ctx context.Context) (bool, error) {
		var err error
		pod, err = pods.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PodSpec{
				NodeName:   node,
				Containers: []corev1.Container{{Name: container, Image: "none", Stdin: true}},
				// Nobody would say that its processes have ended.
				TerminationGracePeriodSeconds: new(int64),
			},
		}, metav1.CreateOptions{})
		// The service account of each namespace is made soon after it.
		if apierrors.IsForbidden(err) {
			return false, nil
		}
		return err == nil, err
	})
	pod.Status.Phase = corev1.PodRunning
	_, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
	require.NoError(t, err)
}

func (k *kubelet) counted(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		k.served.Add(1)
		k.open.Add(1)
		defer k.open.Add(-1)
		handler(w, req)
	}
}

// requireOpen holds that a stream is open.
func (k *kubelet) requireOpen(t testing.TB) {
	t.Helper()
	require.EqualValues(t, 1, k.open.Load(), "open streams")
}

// awaitEnd waits until every stream has come to its end.
func (k *kubelet) awaitEnd(t testing.TB) {
	t.Helper()
	framework.AwaitWithin(t, soon, "open streams", 0, func(context.Context) (int32, error) { return k.open.Load(), nil })
}

func (k *kubelet) serveExec(w http.ResponseWriter, req *http.Request) {
	options, err := remotecommand.NewOptions(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, req, k, req.PathValue("pod"), "", req.PathValue("container"), req.Form["command"], options,
		time.Minute, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (k *kubelet) serveAttach(w http.ResponseWriter, req *http.Request) {
	options, err := remotecommand.NewOptions(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeAttach(w, req, k, req.PathValue("pod"), "", req.PathValue("container"), options,
		time.Minute, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (k *kubelet) servePortForward(w http.ResponseWriter, req *http.Request) {
	options, err := portforward.NewV4Options(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, req, k, req.PathValue("pod"), "", options,
		time.Minute, remotecommand.DefaultStreamCreationTimeout, portforward.SupportedProtocols)
}

// serveLogs writes line by line, until there are no more or nobody reads any more.
func (k *kubelet) serveLogs(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	stream := http.NewResponseController(w)
	for {
		if err := stream.Flush(); err != nil {
			return
		}
		select {
		case <-req.Context().Done():
			return
		case line := <-k.lines:
			_, _ = fmt.Fprintln(w, line)
		}
	}
}

// ExecInContainer implements remotecommand.Executor.
func (k *kubelet) ExecInContainer(ctx context.Context, _, _, _ string, command []string, in io.Reader, out, errOut io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = k.dir, out, errOut
	if in != nil {
		// A process may end before what it could read does.
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(stdin, in)
			_ = stdin.Close()
		}()
	}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return utilexec.ExitErrorWrapper{ExitError: exit}
	}
	return err
}

// AttachContainer implements remotecommand.Attacher: the container says again what it
// reads.
func (k *kubelet) AttachContainer(_ context.Context, _, _, _ string, in io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	_, err := io.Copy(out, in)
	return err
}

// PortForward implements portforward.PortForwarder: the port says again what it reads.
func (k *kubelet) PortForward(_ context.Context, _, _ string, _ int32, stream io.ReadWriteCloser) error {
	_, err := io.Copy(stream, stream)
	return err
}
