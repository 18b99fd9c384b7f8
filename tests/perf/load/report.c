// SPDX-License-Identifier: BSD-2-Clause
#include "report.h"

#include <rte_cycles.h>

#include "hist.h"

static void add_u64(struct json_object *o, const char *key, uint64_t v)
{
	json_object_object_add(o, key, json_object_new_int64((int64_t)v));
}

static void add_real(struct json_object *o, const char *key, double v)
{
	json_object_object_add(o, key, json_object_new_double(v));
}

static void add_text(struct json_object *o, const char *key, const char *v)
{
	json_object_object_add(o, key, json_object_new_string(v));
}

struct json_object *report_window(const struct load *l, const struct snapshot *a,
				  const struct snapshot *b)
{
	struct json_object *o = json_object_new_object(), *ports = json_object_new_array();
	uint64_t tx = 0, rx = 0, tx_bytes = 0, rx_bytes = 0, full = 0, cycles = b->tsc - a->tsc;
	double seconds = (double)cycles / (double)l->hz;

	for (unsigned int p = 0; p < l->ports; p++) {
		const struct counters *from = &a->count[p], *to = &b->count[p];
		struct json_object *port = json_object_new_object();

		tx += to->tx - from->tx;
		rx += to->rx - from->rx;
		tx_bytes += to->tx_bytes - from->tx_bytes;
		rx_bytes += to->rx_bytes - from->rx_bytes;
		full += to->full - from->full;
		add_u64(port, "tx", to->tx - from->tx);
		add_u64(port, "rx", to->rx - from->rx);
		add_real(port, "gap_ms", (double)l->port[p].gaps.longest / (double)l->hz * 1e3);
		json_object_array_add(ports, port);
	}
	add_real(o, "seconds", seconds);
	add_u64(o, "tx", tx);
	add_u64(o, "rx", rx);
	add_u64(o, "tx_bytes", tx_bytes);
	add_u64(o, "rx_bytes", rx_bytes);
	add_u64(o, "full", full);
	add_real(o, "tx_mpps", (double)tx / seconds / 1e6);
	add_real(o, "rx_mpps", (double)rx / seconds / 1e6);
	add_real(o, "rx_gbit", (double)rx_bytes * 8 / seconds / 1e9);
	add_u64(o, "cycles", cycles);
	add_u64(o, "busy_cycles", b->busy - a->busy);
	add_real(o, "busy_cycles_per_frame",
		 tx + rx ? (double)(b->busy - a->busy) / (double)(tx + rx) : 0);
	json_object_object_add(o, "per_port", ports);
	return o;
}

struct json_object *report_gaps(struct load *l)
{
	struct json_object *o = json_object_new_object(), *gaps = json_object_new_array();
	uint64_t now = rte_rdtsc();

	for (unsigned int p = 0; p < l->ports; p++) {
		struct gaps *g = &l->port[p].gaps;
		uint64_t open = g->last && now > g->last ? now - g->last : 0;
		uint64_t gap = RTE_MAX(g->recent, open);

		json_object_array_add(gaps,
				      json_object_new_double((double)gap / (double)l->hz * 1e3));
		g->recent = 0;
	}
	json_object_object_add(o, "gap_ms", gaps);
	return o;
}

static struct json_object *report_rtt(const struct load *l, const struct hist *h)
{
	struct json_object *o = json_object_new_object();
	double ns = 1e9 / (double)l->hz;

	add_u64(o, "frames", h->num);
	if (!h->num)
		return o;
	add_real(o, "min", (double)h->min * ns);
	add_real(o, "mean", (double)h->sum / (double)h->num * ns);
	add_real(o, "p50", (double)hist_quantile(h, 0.5) * ns);
	add_real(o, "p90", (double)hist_quantile(h, 0.9) * ns);
	add_real(o, "p99", (double)hist_quantile(h, 0.99) * ns);
	add_real(o, "p99.9", (double)hist_quantile(h, 0.999) * ns);
	add_real(o, "max", (double)h->max * ns);
	return o;
}

struct json_object *report_run(const struct load *l, const struct result *r)
{
	struct json_object *o = report_window(l, &r->begin, &r->end);
	struct json_object *whole = json_object_new_object();
	const struct counters *w = &r->whole;

	/* Of the whole run, warm-up and drain included: these add up. */
	add_u64(whole, "tx", w->tx);
	add_u64(whole, "rx", w->rx);
	json_object_object_add(whole, "lost", json_object_new_int64((int64_t)(w->tx - w->rx)));
	add_u64(whole, "stray", w->stray);
	add_u64(whole, "reordered", w->reordered);
	add_u64(whole, "damaged", w->damaged);
	add_u64(whole, "damaged_bytes", w->damaged_bytes);
	add_u64(whole, "timeouts", r->timeouts);
	json_object_object_add(o, "whole", whole);
	json_object_object_add(o, "lost", json_object_new_int64((int64_t)(w->tx - w->rx)));
	add_u64(o, "tsc_hz", l->hz);
	if (l->now.mode == MODE_RTT)
		json_object_object_add(o, "rtt_ns", report_rtt(l, r->hist));
	return o;
}

struct json_object *report_info(const struct load *l)
{
	struct json_object *o = json_object_new_object(), *ports = json_object_new_array();

	for (unsigned int p = 0; p < l->ports; p++) {
		struct json_object *port = json_object_new_object();
		char mac[RTE_ETHER_ADDR_FMT_SIZE];

		rte_ether_format_addr(mac, sizeof(mac), &l->port[p].mac);
		add_text(port, "mac", mac);
		json_object_array_add(ports, port);
	}
	json_object_object_add(o, "ports", ports);
	add_u64(o, "queues", l->conf.queues);
	add_u64(o, "max_size", l->conf.max_size);
	add_u64(o, "tsc_hz", l->hz);
	json_object_object_add(o, "mergeable", json_object_new_boolean(l->scatter));
	json_object_object_add(o, "tso", json_object_new_boolean(l->tso));
	return o;
}
