/* SPDX-License-Identifier: BSD-2-Clause */
/* What flood and rtt share: frames made ready and looked at, counters. Inline: this is most of the cost per frame. */
#ifndef LOAD_RUN_H
#define LOAD_RUN_H

#include "frames.h"

#include <string.h>

#include <rte_prefetch.h>

/* data_off, refcnt, nb_segs, port: as rte_pktmbuf_reset() leaves them. */
#define REARM ((uint64_t)RTE_PKTMBUF_HEADROOM | 1ull << 16 | 1ull << 32)

struct run {
	struct load *l;
	uint32_t mark; /* mark_run() of this run */
	bool uniform, read, seq, write;
	uint32_t size; /* of all frames; 0: mixed */
	unsigned int burst, queues, flows;
	uint64_t interval; /* TSC cycles between two bursts of one queue; 0: not paced */
	uint64_t window;
	uint64_t given_up; /* of those under way: they don't hold the window closed any more */
};

/* Writes the payload of a frame that is about to be sent. */
void run_write(struct rte_mbuf *m, struct mark *mark, uint64_t seq);

/* Begins a run as l->now says: addresses announced, frames built, counters noted in start. False: said why. */
bool run_begin(struct run *r, struct load *l, struct snapshot *start);

/* What has been counted since start, over all ports. */
void run_sum(const struct load *l, const struct snapshot *start, struct counters *sum);

/* A frame shorter than any of ours: in the buffer, where a mark would be, lies what was there before. */
void run_short(struct run *r, struct fport *port, const struct rte_mbuf *m);

/* Counts a damaged frame, and says on stderr what the first ones look like. */
void run_damaged(struct fport *port, const struct rte_mbuf *m, const struct mark *mark);

/* Takes back what has been prepared and not sent. */
void run_take_back(struct run *r);

/* Makes a burst ready in q->pending. */
static inline void run_prepare(struct run *r, struct fport *port, struct txq *q, unsigned int n)
{
	q->at = 0;
	q->num = 0;
	if (rte_mempool_get_bulk(q->pool, (void **)q->pending, n))
		return;
	for (unsigned int i = 0; i < n; i++) {
		struct rte_mbuf *m = q->pending[i];
		uint32_t size = m->hash.usr;
		uint8_t *frame = (uint8_t *)m->buf_addr + RTE_PKTMBUF_HEADROOM;
		struct mark *mark =
			(struct mark *)(void *)(frame + (size > FRAME_MAX ? MARK_TCP : MARK_UDP));

		memcpy(&m->rearm_data, &(uint64_t){ REARM }, 8);
		m->pkt_len = size;
		m->data_len = (uint16_t)size;
		if (size > FRAME_MAX && !frame_extend(r->l, q, m, size)) {
			rte_mempool_put_bulk(q->pool, (void **)&q->pending[i], n - i);
			break;
		}
		if (r->uniform) {
			unsigned int d = port->draws[q->draw++ % DRAWS];

			memcpy(frame, &port->address[d], 8);
			mark->dst = (uint8_t)d;
		}
		if (r->seq) {
			mark->run = r->mark;
			mark->seq = q->seq;
		}
		if (r->write)
			run_write(m, mark, q->seq);
		q->seq++;
		q->num++;
	}
}

static inline struct mark *mark_of(const struct rte_mbuf *m)
{
	return rte_pktmbuf_mtod_offset(m, struct mark *,
				       m->pkt_len > FRAME_MAX ? MARK_TCP : MARK_UDP);
}

/* True when the frame has the length that its IP header says, and its payload is what the mark says. */
static inline bool payload_good(const struct rte_mbuf *m, const struct mark *mark)
{
	const uint8_t *len = rte_pktmbuf_mtod_offset(m, const uint8_t *, 16);

	if (m->pkt_len != 14u + ((uint32_t)len[0] << 8 | len[1]))
		return false;
	return !mark->seed ||
	       pattern_check(m, m->pkt_len > FRAME_MAX ? PATTERN_TCP : PATTERN_UDP, mark->seed);
}

/* Undoes what is done for all. */
static inline void run_stray(struct run *r, struct fport *port)
{
	port->count.stray++;
	r->l->under_way++;
	port->count.rx--;
}

/* Looks at one received frame as far as wanted. */
static inline void run_check(struct run *r, struct fport *port, const struct rte_mbuf *m)
{
	const struct mark *mark = mark_of(m);
	uint64_t *last;

	if (unlikely(m->pkt_len < PATTERN_UDP)) {
		run_short(r, port, m);
		return;
	}
	if (r->seq && (mark->run != r->mark || mark->dst != port->id || mark->src >= r->l->ports ||
		       mark->flow >= r->flows)) {
		run_stray(r, port);
		return;
	}
	if (r->seq) {
		last = &port->last[mark->src * r->flows + mark->flow];
		port->count.reordered += mark->seq < *last;
		*last = mark->seq + 1;
	}
	if (r->read && !payload_good(m, mark))
		run_damaged(port, m, mark);
}

static inline void give_back(struct rte_mbuf **m, unsigned int n)
{
	bool single = true;

	for (unsigned int i = 0; i < n; i++)
		single &= m[i]->nb_segs == 1;
	if (single)
		rte_mempool_put_bulk(m[0]->pool, (void **)m, n);
	else
		rte_pktmbuf_free_bulk(m, n);
}

#endif
