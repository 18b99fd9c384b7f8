// SPDX-License-Identifier: BSD-2-Clause
/*
 * Round trips: frames of port 0 that come back on the same port (echo) or on port 1 (bounce). The time runs
 * from just before rte_eth_tx_burst() until the frame's mark has been read on arrival.
 */
#include "run.h"
#include "hist.h"

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>

#define RX_BURST 32
#define SLOTS	 256 /* of send times: as many frames may be under way */

struct rtt {
	struct run run;
	struct fport *from, *to;
	uint64_t sent_at[SLOTS];
	uint64_t last; /* something came back, or all was given up */
	unsigned int under_way;
	struct hist *hist;
};

static void send_one(struct rtt *t)
{
	struct txq *q = &t->from->txq[0];
	uint64_t seq = q->seq;

	if (!q->num)
		run_prepare(&t->run, t->from, q, 1);
	if (!q->num)
		return;
	seq = q->seq - 1;
	t->sent_at[seq % SLOTS] = rte_rdtsc();
	if (!rte_eth_tx_burst(t->from->id, 0, q->pending, 1))
		return;
	q->num = 0;
	t->from->count.tx++;
	t->from->count.tx_bytes += t->run.size ? t->run.size : q->pending[0]->hash.usr;
	t->under_way++;
}

/* Frames that came: into the histogram. */
static void take(struct rtt *t, struct rte_mbuf **m, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		struct mark mark = *mark_of(m[i]);
		uint64_t now = rte_rdtsc(), stray = t->to->count.stray;

		t->to->count.rx++;
		run_check(&t->run, t->to, m[i]);
		if (t->to->count.stray != stray)
			continue;
		t->to->count.rx_bytes += m[i]->pkt_len;
		hist_add(t->hist, now - t->sent_at[mark.seq % SLOTS]);
		t->under_way -= t->under_way > 0;
		t->last = now;
	}
	give_back(m, n);
}

/* What does not come within the time allowed is lost; a copy that comes later is a stray. */
static void give_up(struct rtt *t, struct result *result, uint64_t now)
{
	struct load *l = t->run.l;

	if (!t->under_way || now - t->last < (uint64_t)(l->now.quiet * (double)l->hz))
		return;
	result->timeouts += t->under_way;
	t->under_way = 0;
	t->run.mark = mark_run(++l->epoch);
	t->last = now;
}

static void settle(struct rtt *t)
{
	struct load *l = t->run.l;
	uint64_t until = rte_rdtsc() + (uint64_t)(l->now.quiet * (double)l->hz);
	struct rte_mbuf *m[RX_BURST];
	struct hist *hist = t->hist;
	struct hist *spare = rte_malloc(NULL, sizeof(*spare), 0);

	t->hist = spare ? spare : hist; /* after the window */
	while (t->under_way && rte_rdtsc() < until && !load_ending) {
		unsigned int n = rte_eth_rx_burst(t->to->id, 0, m, RX_BURST);

		if (n)
			take(t, m, n);
	}
	t->hist = hist;
	rte_free(spare);
	run_take_back(&t->run);
}

int rtt_run(struct load *l, tick_fn tick, void *arg, struct result *result)
{
	static struct snapshot start;
	struct rtt t = { .hist = result->hist };
	struct rte_mbuf *m[RX_BURST];
	bool measuring = false, stop = false;
	uint64_t now, begin_at, end_at, next;

	l->now.touch |= TOUCH_SEQ;
	if (!run_begin(&t.run, l, &start))
		return -1;
	t.from = &l->port[0];
	t.to = &l->port[l->now.way == WAY_ECHO ? 0 : 1];
	result->timeouts = 0;
	hist_clear(result->hist);
	t.last = next = rte_rdtsc();
	begin_at = t.last + (uint64_t)(l->now.warmup * (double)l->hz);
	end_at = begin_at + (uint64_t)(l->now.seconds * (double)l->hz);
	while (!stop) {
		unsigned int n;

		while (t.under_way < l->now.inflight) {
			unsigned int before = t.under_way;

			send_one(&t);
			if (t.under_way == before)
				break;
		}
		n = rte_eth_rx_burst(t.to->id, 0, m, RX_BURST);
		if (n)
			take(&t, m, n);
		now = rte_rdtsc();
		if (now < next)
			continue;
		next = now + l->hz / 2000;
		give_up(&t, result, now);
		if (!measuring && now >= begin_at) {
			hist_clear(result->hist);
			snapshot_take(l, 0, &result->begin);
			measuring = true;
		}
		stop = measuring && now >= end_at;
		if (measuring && tick)
			stop |= tick(l, arg, &result->begin, 0);
		stop |= load_ending;
	}
	snapshot_take(l, 0, &result->end);
	settle(&t);
	run_sum(l, &start, &result->whole);
	return measuring ? 0 : -1;
}
