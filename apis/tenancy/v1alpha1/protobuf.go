// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
)

// The methods below make the view kinds protobuf messages with the wire format
// of their native kinds, see runtime.ProtobufMarshaller and
// runtime.ProtobufReverseMarshaller in k8s.io/apimachinery.

// Reset clears the object.
func (m *TenantNamespace) Reset() { *m = TenantNamespace{} }

// Marshal returns the wire format of the native Namespace.
func (m *TenantNamespace) Marshal() ([]byte, error) { return (*corev1.Namespace)(m).Marshal() }

// MarshalTo writes the wire format to data and returns its length.
func (m *TenantNamespace) MarshalTo(data []byte) (int, error) {
	return (*corev1.Namespace)(m).MarshalTo(data)
}

// MarshalToSizedBuffer writes the wire format to the end of data and returns its length.
func (m *TenantNamespace) MarshalToSizedBuffer(data []byte) (int, error) {
	return (*corev1.Namespace)(m).MarshalToSizedBuffer(data)
}

// Size returns the length of the wire format in bytes.
func (m *TenantNamespace) Size() int { return (*corev1.Namespace)(m).Size() }

// Unmarshal merges the wire format of a Namespace into the object.
func (m *TenantNamespace) Unmarshal(data []byte) error { return (*corev1.Namespace)(m).Unmarshal(data) }

// Reset clears the list.
func (m *TenantNamespaceList) Reset() { *m = TenantNamespaceList{} }

// Marshal returns the wire format of the native NamespaceList.
func (m *TenantNamespaceList) Marshal() ([]byte, error) { return m.native().Marshal() }

// MarshalTo writes the wire format to data and returns its length.
func (m *TenantNamespaceList) MarshalTo(data []byte) (int, error) { return m.native().MarshalTo(data) }

// MarshalToSizedBuffer writes the wire format to the end of data and returns its length.
func (m *TenantNamespaceList) MarshalToSizedBuffer(data []byte) (int, error) {
	return m.native().MarshalToSizedBuffer(data)
}

// Size returns the length of the wire format in bytes.
func (m *TenantNamespaceList) Size() int { return m.native().Size() }

// Unmarshal merges the wire format of a NamespaceList into the list.
func (m *TenantNamespaceList) Unmarshal(data []byte) error {
	list := m.native()
	if err := list.Unmarshal(data); err != nil {
		return err
	}
	m.ListMeta, m.Items = list.ListMeta, viewItems[TenantNamespace](list.Items)
	return nil
}
