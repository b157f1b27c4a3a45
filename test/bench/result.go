// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

// comparison is what came out of a contest.
type comparison struct {
	Measurement string   `json:"measurement"`
	Of          string   `json:"of"`
	Clients     int      `json:"clients"`
	Baseline    string   `json:"baseline"`
	Results     []result `json:"results"`
}

// result is what came out for one variant.
type result struct {
	Variant string `json:"variant"`
	// MedianMillis and P99Millis are of the requests of all rounds.
	MedianMillis float64 `json:"medianMillis"`
	P99Millis    float64 `json:"p99Millis"`
	// RequestsPerSecond is the median of the rounds.
	RequestsPerSecond float64 `json:"requestsPerSecond"`
	// CPU is that of 1,000 requests, the median of the rounds.
	CPU serversCPU `json:"cpuPer1000"`
	// Bytes is the size of an answer, before compression if Gzip is set.
	Bytes int64 `json:"bytes"`
	Gzip  bool  `json:"gzip"`
	// AuthorizationMicros is how long one took in kube-apiserver, the mean of each
	// round, and AuthorizationDifference how much longer than the baseline's; nil if
	// that was not measured.
	AuthorizationMicros     *spread `json:"authorizationMicros,omitempty"`
	AuthorizationDifference *spread `json:"authorizationMicrosDifference,omitempty"`
	// These compare with the baseline of the same round: its medians, and its
	// requests per second.
	LatencyRatio     spread `json:"latencyRatio"`
	MillisDifference spread `json:"millisDifference"`
	ThroughputRatio  spread `json:"throughputRatio"`
	// Rounds are what the others were computed from.
	Rounds []round `json:"rounds"`
}

// round is what came out for one variant in one round.
type round struct {
	MedianMillis      float64    `json:"medianMillis"`
	RequestsPerSecond float64    `json:"requestsPerSecond"`
	CPU               serversCPU `json:"cpuPer1000"`
}

// compare computes the results from the blocks of each variant, one a round.
func (c contest) compare(blocks map[string][]block) comparison {
	out := comparison{Measurement: c.Measurement, Of: c.Of, Clients: c.Clients, Baseline: c.Baseline}
	baseMillis, baseThroughput := figures(blocks[c.Baseline])
	for _, v := range c.variants {
		own := blocks[v.name]
		millis, throughput := figures(own)
		var all, tenancyCPU, kubeCPU []float64
		r := result{Variant: v.name}
		for i, b := range own {
			all = append(all, b.millis...)
			tenancyCPU, kubeCPU = append(tenancyCPU, b.cpu.TenancyAPIServer), append(kubeCPU, b.cpu.KubeAPIServer)
			r.Rounds = append(r.Rounds, round{MedianMillis: millis[i], RequestsPerSecond: throughput[i], CPU: b.cpu})
			r.Bytes, r.Gzip = b.size, b.gzip
		}
		r.MedianMillis, r.P99Millis, r.RequestsPerSecond = median(all), percentile(all, 99), median(throughput)
		r.CPU = serversCPU{TenancyAPIServer: median(tenancyCPU), KubeAPIServer: median(kubeCPU)}
		r.LatencyRatio = byRound(millis, baseMillis, ratio)
		r.MillisDifference = byRound(millis, baseMillis, difference)
		r.ThroughputRatio = byRound(throughput, baseThroughput, ratio)
		if micros := authorizationMicros(own); len(micros) > 0 {
			r.AuthorizationMicros = new(spreadOf(micros))
			r.AuthorizationDifference = new(byRound(micros, authorizationMicros(blocks[c.Baseline]), difference))
		}
		out.Results = append(out.Results, r)
	}
	return out
}

// authorizationMicros returns how long an authorization took in each round, nothing if
// that was not measured.
func authorizationMicros(blocks []block) []float64 {
	var micros []float64
	for _, b := range blocks {
		if b.authorization != nil {
			micros = append(micros, *b.authorization)
		}
	}
	return micros
}

// figures returns the median latency and the throughput of each round.
func figures(blocks []block) (millis, throughput []float64) {
	for _, b := range blocks {
		millis = append(millis, median(b.millis))
		throughput = append(throughput, b.perSecond)
	}
	return millis, throughput
}
