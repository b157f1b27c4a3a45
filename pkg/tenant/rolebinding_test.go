// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package tenant

import (
	"fmt"
	"math/big"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"pgregory.net/rapid"
)

var (
	userAlice = rbacv1.Subject{APIGroup: "rbac.authorization.k8s.io", Kind: "User", Name: "alice"}
	groupDevs = rbacv1.Subject{APIGroup: "rbac.authorization.k8s.io", Kind: "Group", Name: "devs"}
	robot     = rbacv1.Subject{Kind: "ServiceAccount", Namespace: "ci", Name: "robot"}
)

// The hashes were computed by another implementation, from the definition.
func TestRoleBindingHash(t *testing.T) {
	for name, test := range map[string]struct {
		role     string
		subjects []rbacv1.Subject
		want     string
	}{
		"nothing":               {want: "a8c7f832281a39c5"},
		"admin of alice":        {role: "admin", subjects: []rbacv1.Subject{userAlice}, want: "f93a4d3523f699fb"},
		"deleter of devs":       {role: "capsule-namespace-deleter", subjects: []rbacv1.Subject{groupDevs}, want: "a12324649474febd"},
		"service account":       {role: "admin", subjects: []rbacv1.Subject{robot}, want: "3cd8635d3604bfdc"},
		"several":               {role: "view", subjects: []rbacv1.Subject{userAlice, groupDevs, robot}, want: "9874d1b7049f04b"},
		"other order":           {role: "view", subjects: []rbacv1.Subject{robot, groupDevs, userAlice}, want: "30eceec6f3e1497f"},
		"without leading zeros": {role: "role-600", want: "5f04a24605db566"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := RoleBindingHash(test.role, test.subjects); got != test.want {
				t.Errorf("want %s, got %s", test.want, got)
			}
			if got, want := RoleBindingName(test.want), "capsule:managed:"+test.want; got != want {
				t.Errorf("want the name %s, got %s", want, got)
			}
		})
	}
}

// slowHash is FNV-1a of 64 bits as its authors write it down, in numbers that do
// not overflow.
func slowHash(role string, subjects []rbacv1.Subject) string {
	parts := []string{role}
	for _, s := range subjects {
		parts = append(parts, s.APIGroup, s.Kind, s.Namespace, s.Name)
	}
	var octets []byte
	for _, part := range parts {
		for i := range 8 {
			octets = append(octets, byte(len(part)>>(8*i)))
		}
		octets = append(octets, part...)
	}
	hash, _ := new(big.Int).SetString("14695981039346656037", 10)
	prime := big.NewInt(1099511628211)
	modulus := new(big.Int).Lsh(big.NewInt(1), 64)
	for _, octet := range octets {
		hash.Xor(hash, big.NewInt(int64(octet)))
		hash.Mod(hash.Mul(hash, prime), modulus)
	}
	return fmt.Sprintf("%x", hash)
}

func TestRoleBindingHashIsFNV(t *testing.T) {
	text := rapid.StringN(0, 300, 600)
	rapid.Check(t, func(t *rapid.T) {
		role := text.Draw(t, "role")
		subjects := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) rbacv1.Subject {
			return rbacv1.Subject{
				APIGroup: text.Draw(t, "group"), Kind: text.Draw(t, "kind"),
				Namespace: text.Draw(t, "namespace"), Name: text.Draw(t, "name"),
			}
		}), 0, 4).Draw(t, "subjects")
		if got, want := RoleBindingHash(role, subjects), slowHash(role, subjects); got != want {
			t.Errorf("want %s, got %s", want, got)
		}
	})
}
