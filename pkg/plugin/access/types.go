// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package access

const (
	// APIVersion is the version of what is printed. It is of the command line: no API
	// server serves it. Fields are added, and none is removed or changes its meaning,
	// while the version stays.
	APIVersion = "cli.tenancy.capsule.io/v1alpha1"
	// Kind is the kind of what is printed.
	Kind = "Access"
)

// Access is what a user may see and do.
type Access struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// User is whom the API server takes the user for.
	User *User `json:"user,omitempty"`
	// Items are ordered: those of tenants by their names, then those of none; within a
	// tenant by resource, then by verbs.
	Items []Item `json:"items"`
	// Warnings say what may be missing, and why.
	Warnings []string `json:"warnings,omitempty"`
}

// User is somebody whom the API server has authenticated.
type User struct {
	Username string   `json:"username"`
	Groups   []string `json:"groups,omitempty"`
}

// Item is objects of one tenant and one resource, to which the same may be done.
type Item struct {
	// Tenant is empty for what belongs to no one tenant, such as nodes and classes.
	Tenant string `json:"tenant,omitempty"`
	// Group, Version, Kind and Resource are those of the native objects.
	Group    string `json:"group,omitempty"`
	Version  string `json:"version"`
	Kind     string `json:"kind"`
	Resource string `json:"resource"`
	// View is the resource of tenancy.capsule.io that lists them.
	View string `json:"view"`
	// Verbs are what may be done to each of them: get natively, list and watch by the
	// view, the others natively as far as RBAC has to say; admission may refuse still.
	Verbs []string `json:"verbs"`
	// Names are ordered.
	Names []string `json:"names"`
}
