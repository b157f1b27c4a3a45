// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package view

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

var (
	modelNames      = []string{"a", "b", "c", "d", "e"}
	modelSubjects   = []string{"alice", "bob", "dev", "root"}
	modelReaders    = [][]string{{"alice"}, {"bob", "dev"}, {"alice", "dev", "alice"}, {"root", "bob"}, {"nobody"}, {}}
	modelSelections = []Selection{
		{},
		{Labels: labels.Everything(), Fields: fields.Everything()},
		{Labels: labels.SelectorFromSet(labels.Set{"color": "red"})},
		{Fields: fields.OneTermEqualSelector("phase", "Active")},
		{Fields: fields.OneTermEqualSelector("metadata.name", "b")},
		{Fields: fields.OneTermNotEqualSelector("metadata.name", "b")},
		{Fields: fields.ParseSelectorOrDie("metadata.name=c,metadata.name=d")},
		{Fields: fields.ParseSelectorOrDie("metadata.name=c,phase=Active"), Labels: labels.SelectorFromSet(labels.Set{"color": "red"})},
	}
)

// state is the content of the oracle from a revision on.
type state struct {
	resourceVersion uint64
	content         map[string]*object
}

// logged is when the oracle's log got an entry, and the revision it ended at.
type logged struct {
	at              time.Time
	resourceVersion uint64
}

// skip is what a relist did not see: the revisions between two.
type skip struct {
	at            time.Time
	after, before uint64
}

// model is a view beside a naive account of all that ever happened.
type model struct {
	view  *testView
	clock *fakeClock
	// began is when the view was filled.
	began time.Time

	// states are in the order of revisions; forgotten is the first revision that
	// history still reaches.
	states    []state
	log       []logged
	skipped   []skip
	forgotten uint64
	access    grants
	pagings   []*paging
	uids      int
}

// paging is a list that a client reads in pages.
type paging struct {
	readers []string
	options ListOptions
	content state
	last    string
}

func newModel(t *rapid.T) *model {
	m := &model{clock: newFakeClock(), access: grants{}}
	m.view = New[*object, string](kindOf(), &grants{}, m.clock)
	m.replace(t, 10)
	return m
}

func (m *model) present() state { return m.states[len(m.states)-1] }

// at returns the content at a revision; the last state wins.
func (m *model) at(resourceVersion uint64) map[string]*object {
	var content map[string]*object
	for _, s := range m.states {
		if s.resourceVersion <= resourceVersion {
			content = s.content
		}
	}
	return content
}

// advance notes a content, and an entry of the log if something changed.
func (m *model) advance(resourceVersion uint64, content map[string]*object, changed bool) {
	changed = changed || resourceVersion > m.present().resourceVersion
	m.states = append(m.states, state{max(resourceVersion, m.present().resourceVersion), content})
	if changed {
		m.prune()
		m.log = append(m.log, logged{m.clock.Now(), m.present().resourceVersion})
	}
}

// prune forgets what is older than the two minutes before the revision of 80 s
// ago was reached.
func (m *model) prune() {
	for len(m.skipped) > 0 && m.clock.Now().Sub(m.skipped[0].at) > resumeAge+ReplicaLag {
		m.forgotten = max(m.forgotten, m.skipped[0].before)
		m.skipped = m.skipped[1:]
	}
	needed := m.began
	for _, settled := range slices.Backward(m.log) {
		if m.clock.Now().Sub(settled.at) > resumeAge {
			if first := m.states[0].resourceVersion; settled.resourceVersion > first {
				i := slices.IndexFunc(m.log, func(l logged) bool { return l.resourceVersion == settled.resourceVersion })
				needed = m.log[i].at
			}
			break
		}
	}
	for _, l := range m.log {
		if l.at.Before(needed.Add(-ReplicaLag)) {
			m.forgotten = max(m.forgotten, l.resourceVersion)
		}
	}
}

// draw returns an object of a name, the one that exists with another content or
// another one.
func (m *model) draw(t *rapid.T, name string, resourceVersion uint64) *object {
	o := newObject(name, "", resourceVersion)
	if before, found := m.content()[name]; found && rapid.Bool().Draw(t, "same object") {
		o.UID = before.UID
	} else {
		m.uids++
		o.UID = types.UID(strconv.Itoa(m.uids))
	}
	o.Labels = map[string]string{"color": rapid.SampledFrom([]string{"red", "blue"}).Draw(t, "color")}
	o.Annotations = map[string]string{"phase": rapid.SampledFrom([]string{"Active", "Terminating"}).Draw(t, "phase")}
	return o
}

func (m *model) content() map[string]*object {
	if len(m.states) == 0 {
		return nil
	}
	return m.present().content
}

func (m *model) upsert(t *rapid.T) {
	resourceVersion := m.present().resourceVersion + rapid.Uint64Range(1, 3).Draw(t, "revisions")
	o := m.draw(t, rapid.SampledFrom(modelNames).Draw(t, "name"), resourceVersion)
	next := maps.Clone(m.content())
	next[o.Name] = o
	m.view.Upsert(o)
	m.advance(resourceVersion, next, true)
}

func (m *model) delete(t *rapid.T) {
	names := slices.Sorted(maps.Keys(m.content()))
	if len(names) == 0 {
		t.Skip("nothing to delete")
	}
	resourceVersion := m.present().resourceVersion + rapid.Uint64Range(1, 3).Draw(t, "revisions")
	name := rapid.SampledFrom(names).Draw(t, "name")
	last := *m.content()[name]
	last.ResourceVersion = revision(resourceVersion)
	next := maps.Clone(m.content())
	delete(next, name)
	m.view.Delete(&last)
	m.advance(resourceVersion, next, true)
}

// relist replaces the content by a later one, of which some is the same.
func (m *model) relist(t *rapid.T) {
	resourceVersion := m.present().resourceVersion + rapid.Uint64Range(0, 3).Draw(t, "revisions")
	next := maps.Clone(m.content())
	if resourceVersion > m.present().resourceVersion {
		for _, name := range modelNames {
			switch rapid.SampledFrom([]string{"keep", "keep", "delete", "change"}).Draw(t, name) {
			case "delete":
				delete(next, name)
			case "change":
				next[name] = m.draw(t, name, resourceVersion)
			}
		}
	}
	m.view.Replace(slices.Collect(maps.Values(next)), revision(resourceVersion))
	if resourceVersion > m.present().resourceVersion+1 {
		m.skipped = append(m.skipped, skip{m.clock.Now(), m.present().resourceVersion, resourceVersion})
	}
	m.advance(resourceVersion, next, !maps.Equal(next, m.content()))
}

// unknown reports whether the view cannot know the content at a revision.
func (m *model) unknown(resourceVersion uint64) bool {
	return resourceVersion < m.forgotten || slices.ContainsFunc(m.skipped, func(s skip) bool {
		return s.after < resourceVersion && resourceVersion < s.before
	})
}

// replace begins again at a revision, as after a restore of the API server.
func (m *model) replace(t *rapid.T, resourceVersion uint64) {
	next := map[string]*object{}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(modelNames), rapid.ID[string]).Draw(t, "names") {
		next[name] = m.draw(t, name, resourceVersion)
	}
	m.view.Replace(slices.Collect(maps.Values(next)), revision(resourceVersion))
	m.states = []state{{resourceVersion, next}}
	m.log, m.pagings, m.skipped, m.forgotten, m.began = nil, nil, nil, resourceVersion, m.clock.Now()
}

func (m *model) bookmark(t *rapid.T) {
	resourceVersion := m.present().resourceVersion + rapid.Uint64Range(0, 4).Draw(t, "revisions") - 1
	m.view.Bookmark(revision(resourceVersion))
	m.advance(resourceVersion, m.content(), false)
	m.prune()
}

func (m *model) changeAccess(t *rapid.T) {
	next := grants{}
	for _, subject := range modelSubjects {
		next[subject] = rapid.SliceOfDistinct(rapid.SampledFrom(modelNames), rapid.ID[string]).Draw(t, subject)
	}
	next["root"] = append(next["root"], "*")
	m.view.AccessChanged(&next, modelNames, modelSubjects)
	m.access = next
	m.advance(0, m.content(), true)
}

// expect returns what a list of a content is to hold.
func (m *model) expect(content map[string]*object, readers []string, o ListOptions, after string) []string {
	var expected []string
	for _, name := range modelNames {
		candidate, found := content[name]
		if !found || name <= after || !m.allowed(readers, name) {
			continue
		}
		if now, found := m.content()[name]; (!found || now.UID != candidate.UID) && !m.every(readers) {
			continue // the present access is for another object, or for none
		}
		if o.Labels != nil && !o.Labels.Matches(labels.Set(candidate.Labels)) {
			continue
		}
		if o.Fields != nil && !o.Fields.Matches(fieldsOf(candidate)) {
			continue
		}
		expected = append(expected, describe(candidate))
	}
	return expected
}

func (m *model) allowed(readers []string, name string) bool {
	return slices.ContainsFunc(readers, func(reader string) bool {
		return slices.Contains(m.access[reader], name) || slices.Contains(m.access[reader], "*")
	})
}

func (m *model) every(readers []string) bool {
	return slices.ContainsFunc(readers, func(reader string) bool { return slices.Contains(m.access[reader], "*") })
}

// check compares what every reader gets and lists now.
func (m *model) check(t *rapid.T) {
	for _, readers := range modelReaders {
		for _, selection := range modelSelections {
			o := ListOptions{Selection: selection}
			for _, o.ResourceVersion = range []string{"", "0", revision(m.present().resourceVersion)} {
				list, err := m.view.List(t.Context(), readers, o)
				if err != nil {
					t.Fatalf("list: %v", err)
				}
				m.compare(t, m.expect(m.content(), readers, o, ""), list)
				if list.ResourceVersion != m.present().resourceVersion || list.Continue != "" {
					t.Fatalf("list of %d at revision %d, continue %q", m.present().resourceVersion, list.ResourceVersion, list.Continue)
				}
			}
		}
		for _, name := range append(modelNames, "missing") {
			o, found, err := m.view.Get(t.Context(), readers, name, "")
			if err != nil {
				t.Fatalf("get %s: %v", name, err)
			}
			expected, exists := m.content()[name]
			if found != (exists && m.allowed(readers, name)) || (found && o != expected) || (!found && o != nil) {
				t.Fatalf("get %s as %v: %v, %t", name, readers, o, found)
			}
		}
	}
	if m.view.Len() != len(m.content()) {
		t.Fatalf("%d objects, %d counted", len(m.content()), m.view.Len())
	}
	checkLog(t, m.view)
}

func (m *model) compare(t *rapid.T, expected []string, list List[*object]) {
	if got := describeAll(list.Items); !slices.Equal(expected, got) {
		t.Fatalf("list (-want +got):\n%s", cmp.Diff(expected, got))
	}
}

// listAt lists at a past revision.
func (m *model) listAt(t *rapid.T) {
	first := m.states[0].resourceVersion
	resourceVersion := rapid.Uint64Range(first-1, m.present().resourceVersion).Draw(t, "revision")
	readers := rapid.SampledFrom(modelReaders).Draw(t, "readers")
	o := ListOptions{Selection: rapid.SampledFrom(modelSelections).Draw(t, "selection")}
	o.ResourceVersion, o.ResourceVersionMatch = revision(resourceVersion), metav1.ResourceVersionMatchExact
	if rapid.Bool().Draw(t, "legacy") {
		o.ResourceVersionMatch, o.Limit = "", 100
	}
	list, err := m.view.List(t.Context(), readers, o)
	if m.unknown(resourceVersion) {
		if !apierrors.IsResourceExpired(err) {
			t.Fatalf("list at %d, which is not known: %v", resourceVersion, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("list at %d: %v", resourceVersion, err)
	}
	m.compare(t, m.expect(m.at(resourceVersion), readers, o, ""), list)
	if list.ResourceVersion != resourceVersion {
		t.Fatalf("asked for %d, got %d", resourceVersion, list.ResourceVersion)
	}
}

// future lists at a revision that does not come.
func (m *model) future(t *rapid.T) {
	o := ListOptions{ResourceVersion: revision(m.present().resourceVersion + 1)}
	o.ResourceVersionMatch = rapid.SampledFrom([]metav1.ResourceVersionMatch{
		"", metav1.ResourceVersionMatchExact, metav1.ResourceVersionMatchNotOlderThan,
	}).Draw(t, "match")
	results := start(t.Context(), m.view, m.clock, o)
	m.clock.Step(freshnessWait)
	if r := <-results; !isTooLarge(r.err) {
		t.Fatalf("list at %s of %d: %v", o.ResourceVersion, m.present().resourceVersion, r.err)
	}
}

// startPaging reads a first page.
func (m *model) startPaging(t *rapid.T) {
	p := &paging{
		readers: rapid.SampledFrom(modelReaders).Draw(t, "readers"),
		options: ListOptions{Selection: rapid.SampledFrom(modelSelections).Draw(t, "selection")},
		content: m.present(),
	}
	p.options.Limit = rapid.Int64Range(1, 2).Draw(t, "limit")
	m.pagings = append(m.pagings, p)
	m.nextPage(t, p)
}

func (m *model) continuePaging(t *rapid.T) {
	if len(m.pagings) == 0 {
		t.Skip("nobody pages")
	}
	m.nextPage(t, rapid.SampledFrom(m.pagings).Draw(t, "paging"))
}

// nextPage reads a page and compares it with what the present access leaves of
// the content of the first page.
func (m *model) nextPage(t *rapid.T, p *paging) {
	list, err := m.view.List(t.Context(), p.readers, p.options)
	if p.options.Continue != "" && m.unknown(p.content.resourceVersion) {
		if !apierrors.IsResourceExpired(err) {
			t.Fatalf("page at %d, which is before %d: %v", p.content.resourceVersion, m.forgotten, err)
		}
		// Goes on with what holds now.
		p.options.Continue, p.content = continueOf(err), m.present()
		list, err = m.view.List(t.Context(), p.readers, p.options)
	}
	if err != nil {
		t.Fatalf("page: %v", err)
	}
	rest := m.expect(p.content.content, p.readers, p.options, p.last)
	page := rest[:min(len(rest), int(p.options.Limit))]
	m.compare(t, page, list)
	if list.ResourceVersion != p.content.resourceVersion {
		t.Fatalf("page at %d of a list at %d", list.ResourceVersion, p.content.resourceVersion)
	}
	if (list.Continue != "") != (len(rest) > len(page)) {
		t.Fatalf("continue %q where %d objects are left", list.Continue, len(rest)-len(page))
	}
	if list.Continue == "" {
		m.pagings = slices.DeleteFunc(m.pagings, func(other *paging) bool { return other == p })
		return
	}
	p.options.Continue = list.Continue
	p.last, _, _ = strings.Cut(page[len(page)-1], " ")
}

// TestViewEqualsModel lets objects, access and time change at random and
// compares what every reader gets with a naive account of the whole history.
func TestViewEqualsModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"upsert":         m.upsert,
			"delete":         m.delete,
			"relist":         m.relist,
			"restore":        func(t *rapid.T) { m.replace(t, max(2, m.present().resourceVersion)-1) },
			"bookmark":       m.bookmark,
			"access":         m.changeAccess,
			"wait":           func(t *rapid.T) { m.clock.Step(time.Duration(rapid.IntRange(1, 120).Draw(t, "seconds")) * time.Second) },
			"listAt":         m.listAt,
			"future":         m.future,
			"startPaging":    m.startPaging,
			"continuePaging": m.continuePaging,
			"continue":       m.continuePaging, // twice as often
			"":               m.check,
		})
	})
}
