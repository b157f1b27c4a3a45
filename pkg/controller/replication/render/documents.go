// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	yamlnode "go.yaml.in/yaml/v3"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

const (
	// maxObjects is how many objects a template may make.
	maxObjects = 1000
	// maxIndicators is how many characters there may be that can begin something in
	// YAML: parsed, it takes a hundred times the memory of each.
	maxIndicators = 1 << 18
)

var errAlias = errors.New("aliases (*name) and merge keys are not supported: they can make a small text large")

// documents returns the objects of a stream of YAML documents. Empty ones are left
// out.
func documents(stream []byte) ([]map[string]any, error) {
	var objects []map[string]any
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream)))
	for n := 1; ; n++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read document %d: %w", n, err)
		}
		value, err := parseYAML(document)
		if err != nil {
			return nil, fmt.Errorf("parse document %d: %w", n, err)
		}
		if value == nil {
			continue
		}
		object, ok := value.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("document %d is no object", n)
		}
		if objects = append(objects, object); len(objects) > maxObjects {
			return nil, fmt.Errorf("these are more than %d objects", maxObjects)
		}
	}
}

// parseYAML returns the value of a YAML document, with the types that JSON values
// have in Kubernetes.
func parseYAML(document []byte) (any, error) {
	if err := checkYAML(document); err != nil {
		return nil, err
	}
	content, err := yaml.YAMLToJSON(document)
	if err != nil {
		return nil, err
	}
	var value any
	if err := utiljson.Unmarshal(content, &value); err != nil {
		return nil, err
	}
	return value, nil
}

// checkYAML returns an error if a document would become much larger than it is.
// Documents are converted by another parser than the one that knows aliases: it
// resolves plain values as the API server's clients do.
func checkYAML(document []byte) error {
	indicators := 0
	for _, c := range document {
		switch c {
		case ',', ':', '-', '?', '[', '{':
			indicators++
		}
	}
	if indicators > maxIndicators {
		return fmt.Errorf("there are more than %d characters of , : - ? [ {", maxIndicators)
	}
	// Where there is no anchor there is nothing to refer to.
	if bytes.IndexByte(document, '&') < 0 {
		return nil
	}
	var node yamlnode.Node
	if err := yamlnode.Unmarshal(document, &node); err != nil {
		return err
	}
	if hasAlias(&node) {
		return errAlias
	}
	return nil
}

// hasAlias reports whether a node is an alias, or contains one. The parser limits how
// deep nodes are.
func hasAlias(node *yamlnode.Node) bool {
	return node.Kind == yamlnode.AliasNode || slices.ContainsFunc(node.Content, hasAlias)
}
