// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"tenancy.capsule.io/apis/tenancy/v1alpha1"
)

// TestCells holds the cells of every kind to what the API server prints. The tests
// on a real API server compare more.
func TestCells(t *testing.T) {
	t.Parallel()
	meta := func(labels, annotations map[string]string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: "a", Labels: labels, Annotations: annotations}
	}
	raw := func(json string) *runtime.RawExtension { return &runtime.RawExtension{Raw: []byte(json)} }
	node := func(change func(*v1alpha1.TenantNode)) []any {
		n := &v1alpha1.TenantNode{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
		change(n)
		return cellsOf(t, nodes, n)
	}
	ready := func(status corev1.ConditionStatus) corev1.NodeCondition {
		return corev1.NodeCondition{Type: corev1.NodeReady, Status: status}
	}
	for name, test := range map[string]struct{ got, want []any }{
		"a node of which nothing is known": {
			got:  node(func(*v1alpha1.TenantNode) {}),
			want: []any{"a", "Unknown", none, unknown, "", none, none, unknown, unknown, unknown},
		},
		"a node": {
			got: node(func(n *v1alpha1.TenantNode) {
				n.Labels = map[string]string{"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/": "x", "kubernetes.io/role": "control", "kubernetes.io/roles": "no"}
				n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue}, ready(corev1.ConditionTrue)}
				n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeExternalIP, Address: "9"}, {Type: corev1.NodeInternalIP, Address: "1"}, {Type: corev1.NodeInternalIP, Address: "2"}}
				n.Status.NodeInfo = corev1.NodeSystemInfo{KubeletVersion: "v1", OSImage: "os", KernelVersion: "5", ContainerRuntimeVersion: "c", Architecture: "arm64"}
			}),
			want: []any{"a", "Ready", "control,worker", unknown, "v1", "1", "9", "os", "5 (arm64)", "c"},
		},
		"a node that is drained": {
			got: node(func(n *v1alpha1.TenantNode) {
				n.Spec.Unschedulable = true
				n.Status.Conditions = []corev1.NodeCondition{ready(corev1.ConditionTrue), ready(corev1.ConditionUnknown)}
				n.Labels = map[string]string{"node-role.kubernetes.io/b": "", "kubernetes.io/role": "b"}
				n.Status.NodeInfo.Architecture = "amd64"
			}),
			want: []any{"a", "NotReady,SchedulingDisabled", "b", unknown, "", none, none, unknown, unknown + " (amd64)", unknown},
		},
		"a volume of which nothing is said": {
			got:  cellsOf(t, persistentVolumes, &v1alpha1.TenantPersistentVolume{ObjectMeta: meta(nil, nil)}),
			want: []any{"a", "0", "", "", "", "", "", unset, "", unknown, unset, ""},
		},
		"a volume that is deleted": {
			got: cellsOf(t, persistentVolumes, &v1alpha1.TenantPersistentVolume{
				ObjectMeta: metav1.ObjectMeta{
					Name: "a", DeletionTimestamp: &metav1.Time{}, Labels: map[string]string{TenantLabel: "oil"},
					Annotations: map[string]string{corev1.BetaStorageClassAnnotation: "beta"},
				},
				Spec: corev1.PersistentVolumeSpec{
					Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1.5Gi")}, StorageClassName: "class",
					AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod, corev1.ReadWriteMany, corev1.ReadOnlyMany, corev1.ReadWriteOnce, corev1.ReadWriteOnce},
					PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
					ClaimRef:                      &corev1.ObjectReference{Namespace: "ns", Name: "claim"},
					VolumeMode:                    new(corev1.PersistentVolumeBlock), VolumeAttributesClassName: new("fast"),
				},
				Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound, Reason: "because"},
			}),
			want: []any{"a", "1536Mi", "RWO,ROX,RWX,RWOP", "Retain", "Terminating", "ns/claim", "beta", "fast", "because", unknown, "Block", "oil"},
		},
		"a storage class with defaults": {
			got:  cellsOf(t, storageClasses, &v1alpha1.TenantStorageClass{ObjectMeta: meta(nil, map[string]string{"storageclass.kubernetes.io/is-default-class": "false"}), Provisioner: "p"}),
			want: []any{"a", "p", "Delete", "Immediate", false, unknown},
		},
		"the default storage class": {
			got: cellsOf(t, storageClasses, &v1alpha1.TenantStorageClass{
				ObjectMeta:    meta(nil, map[string]string{"storageclass.beta.kubernetes.io/is-default-class": "true"}),
				ReclaimPolicy: new(corev1.PersistentVolumeReclaimRetain), VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer), AllowVolumeExpansion: new(true),
			}),
			want: []any{"a (default)", "", "Retain", "WaitForFirstConsumer", true, unknown},
		},
		"an ingress class": {
			got:  cellsOf(t, ingressClasses, &v1alpha1.TenantIngressClass{ObjectMeta: meta(nil, nil), Spec: networkingv1.IngressClassSpec{Controller: "c", Parameters: &networkingv1.IngressClassParametersReference{Kind: "K", Name: "n"}}}),
			want: []any{"a", "c", "K/n", unknown},
		},
		"the default ingress class": {
			got: cellsOf(t, ingressClasses, &v1alpha1.TenantIngressClass{
				ObjectMeta: meta(nil, map[string]string{"ingressclass.kubernetes.io/is-default-class": "true"}),
				Spec:       networkingv1.IngressClassSpec{Parameters: &networkingv1.IngressClassParametersReference{APIGroup: new("g"), Kind: "K", Name: "n"}},
			}),
			want: []any{"a (default)", "", "K.g/n", unknown},
		},
		"an ingress class without parameters": {
			got:  cellsOf(t, ingressClasses, &v1alpha1.TenantIngressClass{ObjectMeta: meta(nil, nil)}),
			want: []any{"a", "", none, unknown},
		},
		"a priority class": {
			got:  cellsOf(t, priorityClasses, &v1alpha1.TenantPriorityClass{ObjectMeta: meta(nil, nil), Value: -5, GlobalDefault: true, PreemptionPolicy: new(corev1.PreemptNever)}),
			want: []any{"a", int64(-5), true, unknown, "Never"},
		},
		"a runtime class": {
			got:  cellsOf(t, runtimeClasses, &v1alpha1.TenantRuntimeClass{ObjectMeta: meta(nil, nil), Handler: "runc"}),
			want: []any{"a", "runc", unknown},
		},
		"a tenant of which nothing is said": {
			got:  cellsOf(t, myTenants, &v1alpha1.MyTenant{ObjectMeta: meta(nil, nil)}),
			want: []any{"a", nil, nil, nil, nil, nil, nil, nil},
		},
		"a tenant": {
			got: cellsOf(t, myTenants, &v1alpha1.MyTenant{
				ObjectMeta: meta(nil, nil), Spec: raw(`{"namespaceOptions":{"quota":3},"nodeSelector":{"a":"b"}}`),
				Status: raw(`{"size":2,"conditions":[{"type":"Ready","status":"True","message":"reconciled"},{"type":"Cordoned","status":"False","reason":"Active"}]}`),
			}),
			want: []any{"a", "Active", int64(3), int64(2), `{"a":"b"}`, "True", "reconciled", nil},
		},
		"a tenant with values of other types": {
			got:  cellsOf(t, myTenants, &v1alpha1.MyTenant{ObjectMeta: meta(nil, nil), Spec: raw(`{"namespaceOptions":{"quota":"3"}}`), Status: raw(`{"size":2.5}`)}),
			want: []any{"a", nil, nil, int64(2), nil, nil, nil, nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, test.got); diff != "" {
				t.Errorf("cells (-want +got):\n%s", diff)
			}
		})
	}
}

// cellsOf returns the cells of an object, of which there has to be one a column.
func cellsOf[T any, P object[T], N interface {
	runtime.Object
	metav1.Object
}](tb testing.TB, d definition[T, P, N], object P) []any {
	tb.Helper()
	cells, err := d.cells(object)
	require.NoError(tb, err)
	require.Len(tb, cells, len(d.columns))
	return cells
}
