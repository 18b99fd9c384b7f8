// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sends and receives on all ports in turn.
 *
 * What it costs per frame is kept small, because it shares nothing with the back-end but is measured together
 * with it: frames lie built in the buffers of their queue's pool, are taken out and put back in bulk past
 * rte_pktmbuf_alloc(), and written to only as --touch says.
 */
#include "run.h"

#include <stdio.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>

#define RX_BURST 64
#define RX_TURNS 16
#define AHEAD	 8 /* frames prefetched ahead of use */
#define TICK_HZ	 2000

static unsigned int send_some(struct run *r, struct fport *port, unsigned int queue, uint64_t now)
{
	struct txq *q = &port->txq[queue];
	unsigned int sent;

	if (q->num) {
		;
	} else if (r->window && (int64_t)(r->l->under_way - r->given_up) >= (int64_t)r->window) {
		return 0;
	} else if (r->interval) {
		if ((int64_t)(now - q->next) < 0)
			return 0;
		/* Too late to make up for: go on from here. */
		if (now - q->next > r->l->hz / 100)
			q->next = now;
		q->next += r->interval;
		run_prepare(r, port, q, r->burst);
	} else {
		run_prepare(r, port, q, r->burst);
	}
	sent = rte_eth_tx_burst(port->id, (uint16_t)queue, q->pending + q->at, (uint16_t)q->num);
	port->count.tx_bytes += (uint64_t)sent * r->size;
	for (unsigned int i = 0; i < sent && !r->size; i++)
		port->count.tx_bytes += q->pending[q->at + i]->hash.usr;
	q->at += sent;
	q->num -= sent;
	port->count.tx += sent;
	port->count.full += q->num != 0;
	r->l->under_way += sent;
	return sent;
}

/* One burst; *more: the driver had more than it takes at once. */
static unsigned int receive_burst(struct run *r, struct fport *port, unsigned int queue, bool *more)
{
	struct rte_mbuf *m[RX_BURST];
	unsigned int n = rte_eth_rx_burst(port->id, (uint16_t)queue, m, RX_BURST);
	unsigned int buffers = 0;
	uint64_t bytes = 0;

	*more = false;
	if (!n)
		return 0;
	port->count.rx += n;
	r->l->under_way -= n;
	if (r->seq || r->read) {
		for (unsigned int i = 0; i < RTE_MIN(n, (unsigned int)AHEAD); i++)
			rte_prefetch0(rte_pktmbuf_mtod(m[i], const void *));
		for (unsigned int i = 0; i < n; i++) {
			if (i + AHEAD < n)
				rte_prefetch0(rte_pktmbuf_mtod(m[i + AHEAD], const void *));
			run_check(r, port, m[i]);
		}
	}
	for (unsigned int i = 0; i < n; i++) {
		bytes += m[i]->pkt_len;
		buffers += m[i]->nb_segs;
	}
	port->count.rx_bytes += bytes;
	*more = buffers >= RX_BURST / 2;
	give_back(m, n);
	return n;
}

static void note_gap(struct gaps *g, uint64_t now)
{
	uint64_t gap = g->last ? now - g->last : 0;

	g->last = now;
	if (gap > g->recent) {
		g->recent = gap;
		g->longest = RTE_MAX(g->longest, gap);
	}
}

/* What a port has received, but not for ever: others want their turn. */
static unsigned int receive_some(struct run *r, struct fport *port, unsigned int queue,
				 uint64_t now)
{
	unsigned int total = 0;
	bool more = true;

	for (unsigned int i = 0; i < RX_TURNS && more; i++)
		total += receive_burst(r, port, queue, &more);
	if (total)
		note_gap(&port->gaps, now);
	return total;
}

/* All ports once. Returns how many frames went one way or the other. */
static unsigned int once(struct run *r, bool sending, uint64_t now)
{
	struct load *l = r->l;
	unsigned int moved = 0;

	for (unsigned int p = 0; p < l->ports; p++) {
		for (unsigned int q = 0; q < r->queues; q++)
			moved += receive_some(r, &l->port[p], q, now);
		for (unsigned int q = 0; q < r->queues && sending; q++)
			moved += send_some(r, &l->port[p], q, now);
	}
	return moved;
}

/* Takes back what has been prepared and not sent, and waits for what is under way. */
static void settle(struct run *r)
{
	struct load *l = r->l;
	uint64_t quiet = (uint64_t)(l->now.quiet * (double)l->hz), last = rte_rdtsc(), now = last;

	run_take_back(r);
	while (l->under_way && now - last < quiet && !load_ending) {
		bool moved = once(r, false, now);

		now = rte_rdtsc();
		last = moved ? now : last;
	}
}

int flood_run(struct load *l, tick_fn tick, void *arg, struct result *result)
{
	const struct conf *c = &l->now;
	static struct snapshot start;
	struct run r;
	uint64_t now, prev, next, last, busy = 0, begin_at, end_at;
	uint64_t quiet = (uint64_t)(c->quiet * (double)l->hz);
	bool measuring = false, stop = false;

	if (!run_begin(&r, l, &start))
		return -1;
	prev = next = last = rte_rdtsc();
	result->timeouts = 0;
	begin_at = prev + (uint64_t)(c->warmup * (double)l->hz);
	end_at = begin_at + (uint64_t)(c->seconds * (double)l->hz);
	while (!stop) {
		bool moved = once(&r, true, prev);

		now = rte_rdtsc();
		if (moved)
			busy += now - prev;
		prev = now;
		if (now < next)
			continue;
		next = now + l->hz / TICK_HZ;
		if (!measuring && now >= begin_at) {
			snapshot_take(l, busy, &result->begin);
			for (unsigned int p = 0; p < l->ports; p++)
				l->port[p].gaps.longest = l->port[p].gaps.recent = 0;
			measuring = true;
		}
		if (moved)
			last = now;
		/* Frames that were lost do not hold the window closed. */
		if (l->under_way < r.given_up)
			r.given_up = l->under_way;
		if (r.window && now - last > quiet && l->under_way != r.given_up) {
			r.given_up = l->under_way;
			result->timeouts++;
		}
		stop = measuring && c->seconds > 0 && now >= end_at;
		if (measuring && tick)
			stop |= tick(l, arg, &result->begin, busy);
		stop |= load_ending;
	}
	snapshot_take(l, busy, &result->end);
	settle(&r);
	run_sum(l, &start, &result->whole);
	return measuring ? 0 : -1;
}
