// SPDX-License-Identifier: BSD-2-Clause
#include "run.h"

#include <stdio.h>
#include <stdlib.h>

#include <rte_cycles.h>

void run_write(struct rte_mbuf *m, struct mark *mark, uint64_t seq)
{
	uint32_t at = m->nb_segs > 1 ? PATTERN_TCP : PATTERN_UDP, done = 0;

	mark->seed = mark_seed(seq);
	for (; m; m = m->next) {
		if (m->data_len > at)
			pattern_write(rte_pktmbuf_mtod_offset(m, uint8_t *, at), m->data_len - at,
				      done, mark->seed);
		done += m->data_len - at;
		at = 0;
	}
}

#define DAMAGED_SHOWN 16 /* frames of each port */

static void show_bytes(const char *what, const uint8_t *p, uint32_t from, uint32_t to)
{
	fprintf(stderr, "    %s", what);
	for (uint32_t i = from; i < to; i++)
		fprintf(stderr, "%s%02x", i % 16 ? "" : " ", p[i]);
	fputc('\n', stderr);
}

/* Where the payload differs from what the mark says. */
static void show_payload(const uint8_t *p, uint32_t bytes, const struct mark *mark)
{
	static uint8_t good[FRAME_MAX];
	uint32_t at = PATTERN_UDP, end = bytes;

	pattern_write(good + at, bytes - at, 0, mark->seed);
	while (at < bytes && p[at] == good[at])
		at++;
	while (end > at && p[end - 1] == good[end - 1])
		end--;
	fprintf(stderr, "    from port %u flow %u, number %llu; bytes %u to %u are wrong\n",
		mark->src, mark->flow, (unsigned long long)mark->seq, at, end);
	show_bytes("has", p, at, RTE_MIN(at + 32, bytes));
	show_bytes("not", good, at, RTE_MIN(at + 32, bytes));
}

void run_damaged(struct fport *port, const struct rte_mbuf *m, const struct mark *mark)
{
	static uint8_t copy[FRAME_MAX];
	uint32_t bytes = RTE_MIN(m->pkt_len, (uint32_t)FRAME_MAX);
	const uint8_t *p = rte_pktmbuf_read(m, 0, bytes, copy);

	port->count.damaged_bytes += m->pkt_len;
	if (++port->count.damaged > DAMAGED_SHOWN || !p)
		return;
	fprintf(stderr, "vvu-load: port %u: a damaged frame of %u bytes\n", port->id, m->pkt_len);
	show_bytes("begins", p, 0, RTE_MIN(bytes, (uint32_t)PATTERN_UDP));
	if (mark && mark->seed)
		show_payload(p, bytes, mark);
}

/* Damaged if it is one of ours that was cut short: it still has our addresses and type. */
void run_short(struct run *r, struct fport *port, const struct rte_mbuf *m)
{
	const struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	bool ours = false;

	for (unsigned int p = 0; p < r->l->ports && m->data_len >= sizeof(*eth); p++)
		ours |= rte_is_same_ether_addr(&eth->src_addr, &r->l->port[p].mac);
	if (r->seq && !(ours && eth->ether_type == rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4)))
		run_stray(r, port);
	else if (r->read)
		run_damaged(port, m, NULL);
}

void snapshot_take(const struct load *l, uint64_t busy, struct snapshot *s)
{
	s->tsc = rte_rdtsc();
	s->busy = busy;
	for (unsigned int p = 0; p < l->ports; p++)
		s->count[p] = l->port[p].count;
}

void run_take_back(struct run *r)
{
	struct load *l = r->l;

	for (unsigned int p = 0; p < l->ports; p++) {
		for (unsigned int q = 0; q < r->queues; q++) {
			struct txq *t = &l->port[p].txq[q];

			rte_pktmbuf_free_bulk(t->pending + t->at, t->num);
			t->num = 0;
		}
	}
}

bool run_begin(struct run *r, struct load *l, struct snapshot *start)
{
	const struct conf *c = &l->now;
	unsigned int queues = l->ports * c->queues;
	bool alone = c->mode == MODE_RTT ? c->way == WAY_ECHO
					 : c->mode == MODE_NULL || c->pattern == PATTERN_SELF;

	if (!alone && ports_announce(l))
		return false;
	frames_build(l);
	if (l->last_flows != c->flows) {
		for (unsigned int p = 0; p < l->ports; p++) {
			free(l->port[p].last);
			l->port[p].last = calloc((size_t)l->ports * c->flows, sizeof(uint64_t));
			if (!l->port[p].last)
				return false;
		}
		l->last_flows = c->flows;
	}
	l->epoch++;
	l->under_way = 0;
	*r = (struct run){
		.l = l,
		.mark = mark_run(l->epoch),
		.burst = c->burst,
		.queues = c->queues,
		.flows = c->flows,
		.window = c->window,
		.size = c->sizes == 1 ? c->size[0] : 0,
		.uniform = c->mode == MODE_FLOOD && c->pattern == PATTERN_UNIFORM,
		.seq = c->touch & TOUCH_SEQ,
		.write = c->touch & TOUCH_WRITE,
		.read = c->touch & TOUCH_READ,
	};
	if (c->rate > 0)
		r->interval = (uint64_t)((double)l->hz * c->burst * queues / c->rate);
	for (unsigned int i = 0; i < queues; i++) {
		struct txq *q = &l->port[i / c->queues].txq[i % c->queues];

		/* Queues take turns. */
		q->next = rte_rdtsc() + r->interval * i / queues;
	}
	for (unsigned int p = 0; p < l->ports; p++)
		l->port[p].gaps = (struct gaps){ 0 };
	snapshot_take(l, 0, start);
	return true;
}

void run_sum(const struct load *l, const struct snapshot *start, struct counters *sum)
{
	memset(sum, 0, sizeof(*sum));
	for (unsigned int p = 0; p < l->ports; p++) {
		const struct counters *a = &start->count[p], *b = &l->port[p].count;

		sum->tx += b->tx - a->tx;
		sum->rx += b->rx - a->rx;
		sum->tx_bytes += b->tx_bytes - a->tx_bytes;
		sum->rx_bytes += b->rx_bytes - a->rx_bytes;
		sum->full += b->full - a->full;
		sum->stray += b->stray - a->stray;
		sum->reordered += b->reordered - a->reordered;
		sum->damaged += b->damaged - a->damaged;
		sum->damaged_bytes += b->damaged_bytes - a->damaged_bytes;
	}
}
