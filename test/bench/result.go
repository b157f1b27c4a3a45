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
		out.Results = append(out.Results, r)
	}
	return out
}

// figures returns the median latency and the throughput of each round.
func figures(blocks []block) (millis, throughput []float64) {
	for _, b := range blocks {
		millis = append(millis, median(b.millis))
		throughput = append(throughput, b.perSecond)
	}
	return millis, throughput
}
