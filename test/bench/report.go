// Copyright The Capsule Tenancy Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
)

// report is everything that a run found out.
type report struct {
	Options options `json:"options"`
	Machine machine `json:"machine"`
	// Seconds are those of the whole run, SeedSeconds those until there were the
	// clusters that the measurements begin with.
	Seconds     float64      `json:"seconds"`
	SeedSeconds float64      `json:"seedSeconds"`
	Comparisons []comparison `json:"comparisons"`
	Latencies   []latency    `json:"latencies"`
	Figures     []figure     `json:"figures"`
	Targets     []target     `json:"targets"`
}

// target is a figure of the performance budget and what was measured of it.
type target struct {
	What string `json:"what"`
	// Limit is the most, or if AtLeast is set the least, that Measured may be at
	// the median of the rounds.
	Limit    float64 `json:"limit"`
	AtLeast  bool    `json:"atLeast"`
	Unit     string  `json:"unit"`
	Measured spread  `json:"measured"`
	Met      bool    `json:"met"`
}

func atMost(what string, limit float64, unit string, measured spread) target {
	return target{What: what, Limit: limit, Unit: unit, Measured: measured, Met: measured.Median <= limit}
}

func atLeast(what string, limit float64, unit string, measured spread) target {
	return target{What: what, Limit: limit, AtLeast: true, Unit: unit, Measured: measured, Met: measured.Median >= limit}
}

// of returns the result of a variant.
func (c comparison) of(variant string) result {
	for _, r := range c.Results {
		if r.Variant == variant {
			return r
		}
	}
	return result{}
}

// write writes the report as JSON.
func (r *report) write(file string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	if err := os.WriteFile(file, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// print writes the report as tables.
func (r *report) print(w io.Writer) error {
	out := &printer{w: w}
	m, o := r.Machine, r.Options
	out.linef("machine     %s, %d cores, Linux %s; %s; kube-apiserver %s", m.CPU, m.Cores, m.Kernel, m.Go, m.KubeAPIServer)
	out.linef("load        %s before, %s after", m.LoadBefore, m.LoadAfter)
	out.linef("cluster     %d namespaces of %d tenants, %d of them visible; %d nodes", o.Namespaces, o.Tenants, o.Visible, o.Nodes)
	out.linef("run         %.0f s, of them %.0f s until there were the clusters", r.Seconds, r.SeedSeconds)
	out.linef("requests    %d rounds of up to %d for each client; clients offer gzip, as client-go does", o.Rounds, o.Requests)
	out.linef("")
	out.table(func(table *printer) {
		table.linef("\tof\tclients\tvariant\tmedian ms\tp99 ms\treq/s\tx latency\tx req/s\t+ ms\tcpu view\tcpu kube\tbytes\tgzip")
		for _, c := range r.Comparisons {
			for _, v := range c.Results {
				table.linef("%s\t%s\t%d\t%s\t%.2f\t%.2f\t%.0f\t%.2f\t%.2f\t%+.2f\t%.2f\t%.2f\t%d\t%t", c.Measurement, c.Of, c.Clients, v.Variant,
					v.MedianMillis, v.P99Millis, v.RequestsPerSecond, v.LatencyRatio.Median, v.ThroughputRatio.Median, v.MillisDifference.Median,
					v.CPU.TenancyAPIServer, v.CPU.KubeAPIServer, v.Bytes, v.Gzip)
			}
			table.linef(strings.Repeat("\t", 13))
		}
	})
	out.linef("x and + compare with the native row (resourceVersion=0 in LIST and WATCHLIST; in SCALE the smaller cluster, in AUTHZ the one")
	out.linef("without Tenants, in PROXY the view for lists and the direct one for gets) of the same round;")
	out.linef("cpu is the seconds that tenancy-apiserver and kube-apiserver took for 1,000 requests. Each is the median of the rounds.")
	out.linef("")
	r.printLatencies(out)
	r.printFigures(out)
	out.table(func(table *printer) {
		table.linef("target\tlimit\tmeasured\trounds\t")
		for _, t := range r.Targets {
			limit, verdict := "<=", "MISSED"
			if t.AtLeast {
				limit = ">="
			}
			if t.Met {
				verdict = "met"
			}
			table.linef("%s\t%s %.2f %s\t%.2f %s\t%.2f to %.2f\t%s", t.What, limit, t.Limit, t.Unit, t.Measured.Median, t.Unit, t.Measured.Min, t.Measured.Max, verdict)
		}
	})
	return out.err
}

// printLatencies writes how long things took.
func (r *report) printLatencies(out *printer) {
	if len(r.Latencies) == 0 {
		return
	}
	out.table(func(table *printer) {
		table.linef("\twhat\tat once\twatches read\tfrom\tsamples\tmedian ms\tp99 ms\tmax ms\tp99 of the rounds")
		for _, l := range r.Latencies {
			table.linef("%s\t%s\t%d\t%d\t%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f to %.2f", l.Measurement, l.What, l.Clients, l.Watches, l.From, l.Samples,
				l.MedianMillis, l.P99Millis, l.MaxMillis, l.P99.Min, l.P99.Max)
		}
	})
	out.linef("")
}

func (r *report) printFigures(out *printer) {
	if len(r.Figures) == 0 {
		return
	}
	out.table(func(table *printer) {
		for _, f := range r.Figures {
			table.linef("%s\t%s\t%s", f.Measurement, f.What, f)
		}
	})
	out.linef("")
}

// printer remembers the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) linef(format string, args ...any) {
	_, err := fmt.Fprintf(p.w, format+"\n", args...)
	p.err = errors.Join(p.err, err)
}

// table aligns the columns of what f prints.
func (p *printer) table(f func(*printer)) {
	tab := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	inner := &printer{w: tab}
	f(inner)
	p.err = errors.Join(p.err, inner.err, tab.Flush())
}
