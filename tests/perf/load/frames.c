// SPDX-License-Identifier: BSD-2-Clause
#include "frames.h"

#include <string.h>

#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#define GSO_MSS 1448

/* What the callbacks of one pool need. */
struct builder {
	const struct load *l;
	struct fport *port;
	unsigned int queue;
	unsigned int count;
};

static rte_be32_t address_of(unsigned int port)
{
	return rte_cpu_to_be_32(RTE_IPV4(10, 9, 0, 1) + port);
}

/* Port that this one's frames go to, where that is the same for all of them. */
static unsigned int partner(const struct load *l, unsigned int port)
{
	const struct conf *c = &l->now;

	if (c->mode == MODE_RTT)
		return c->way == WAY_ECHO ? port : port ^ 1;
	return c->mode == MODE_NULL || c->pattern == PATTERN_SELF ? port : port ^ 1;
}

static void build_tcp(struct rte_mbuf *m, uint8_t *l4, struct rte_ipv4_hdr *ip, unsigned int flow)
{
	struct rte_tcp_hdr tcp = {
		.src_port = rte_cpu_to_be_16((uint16_t)(1024 + flow)),
		.dst_port = rte_cpu_to_be_16(9),
		.data_off = sizeof(tcp) / 4 << 4,
		.tcp_flags = RTE_TCP_ACK_FLAG,
		.rx_win = 0xffff,
	};

	ip->next_proto_id = IPPROTO_TCP;
	tcp.cksum = rte_ipv4_phdr_cksum(ip, 0); /* the device does the rest */
	memcpy(l4, &tcp, sizeof(tcp));
	m->l2_len = sizeof(struct rte_ether_hdr);
	m->l3_len = sizeof(*ip);
	m->l4_len = sizeof(tcp);
	m->tso_segsz = GSO_MSS;
	m->ol_flags = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4;
}

static void build_udp(struct rte_mbuf *m, uint8_t *l4, struct rte_ipv4_hdr *ip, unsigned int flow)
{
	struct rte_udp_hdr udp = {
		.src_port = rte_cpu_to_be_16((uint16_t)(1024 + flow)),
		.dst_port = rte_cpu_to_be_16(9),
		.dgram_len = rte_cpu_to_be_16(
			(uint16_t)(rte_be_to_cpu_16(ip->total_length) - sizeof(*ip))),
	};

	ip->next_proto_id = IPPROTO_UDP;
	memcpy(l4, &udp, sizeof(udp));
	m->tx_offload = 0;
	m->ol_flags = 0;
}

/*
 * One frame. Its flow goes by its place in the pool; the flows of a port are shared out over its queues, so
 * that each keeps its order. hash.usr keeps the frame's size while the driver has the mbuf.
 */
static void build(struct rte_mempool *pool, void *arg, void *obj, unsigned int index)
{
	struct builder *b = arg;
	const struct conf *c = &b->l->now;
	struct rte_mbuf *m = obj;
	unsigned int src = b->port->id, dst = partner(b->l, src);
	unsigned int per_queue = RTE_MAX(1u, (c->flows + c->queues - 1 - b->queue) / c->queues);
	unsigned int flow = (index % per_queue * c->queues + b->queue) % c->flows;
	uint32_t size = c->size[index / per_queue % c->sizes];
	bool gso = size > FRAME_MAX;
	struct mark mark = { .src = (uint8_t)src,
			     .dst = (uint8_t)dst,
			     .flow = (uint16_t)flow,
			     .seed = gso ? 0 : (index * 7919) | 1 };
	struct rte_ether_hdr eth = { .src_addr = b->port->mac,
				     .dst_addr = b->l->port[dst].mac,
				     .ether_type = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4) };
	struct rte_ipv4_hdr ip = { .version_ihl = RTE_IPV4_VHL_DEF,
				   .time_to_live = 64,
				   .total_length = rte_cpu_to_be_16((uint16_t)(size - sizeof(eth))),
				   .fragment_offset = rte_cpu_to_be_16(RTE_IPV4_HDR_DF_FLAG),
				   .src_addr = address_of(src),
				   .dst_addr = address_of(dst) };
	uint8_t *p;

	rte_pktmbuf_reset(m);
	m->hash.usr = size;
	p = rte_pktmbuf_mtod(m, uint8_t *);
	memset(p, 0, PATTERN_TCP);
	(gso ? build_tcp : build_udp)(m, p + sizeof(eth) + sizeof(ip), &ip, flow);
	ip.hdr_checksum = rte_ipv4_cksum(&ip);
	if (c->mode == MODE_RTT && c->way == WAY_ECHO)
		eth.dst_addr.addr_bytes[5] ^=
			0x80; /* to somebody else: it comes back with the addresses swapped */
	memcpy(p, &eth, sizeof(eth));
	memcpy(p + sizeof(eth), &ip, sizeof(ip));
	memcpy(p + (gso ? MARK_TCP : MARK_UDP), &mark, sizeof(mark));
	if (!gso)
		pattern_write(p + PATTERN_UDP, size - PATTERN_UDP, 0, mark.seed);
	b->count++;
}

/* For the uniform pattern: destinations, and what a frame to each begins with. */
static void draw(struct load *l, struct fport *port)
{
	uint64_t x = 88172645463325252ull + port->id;

	for (unsigned int i = 0; i < DRAWS && l->ports > 1; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		port->draws[i] = (uint8_t)((port->id + 1 + (x >> 16) % (l->ports - 1)) % l->ports);
	}
	for (unsigned int i = 0; i < l->ports; i++) {
		struct rte_ether_hdr eth = { .dst_addr = l->port[i].mac, .src_addr = port->mac };

		memcpy(&port->address[i], &eth, 8);
	}
}

/* What the content of the pools depends on. */
static bool same_frames(const struct conf *a, const struct conf *b)
{
	return a->mode == b->mode && a->pattern == b->pattern && a->way == b->way &&
	       a->flows == b->flows && a->sizes == b->sizes &&
	       !memcmp(a->size, b->size, a->sizes * sizeof(a->size[0]));
}

void frames_build(struct load *l)
{
	if (same_frames(&l->now, &l->built))
		return;
	for (unsigned int p = 0; p < l->ports; p++) {
		for (unsigned int q = 0; q < l->conf.queues; q++) {
			struct builder b = { .l = l, .port = &l->port[p], .queue = q };

			rte_mempool_obj_iter(l->port[p].txq[q].pool, build, &b);
		}
		draw(l, &l->port[p]);
	}
	l->built = l->now;
}

bool frame_extend(struct load *l, struct txq *q, struct rte_mbuf *head, uint32_t size)
{
	uint32_t left = size - PATTERN_TCP, room = l->conf.segment;
	unsigned int num = (left + room - 1) / room;
	struct rte_mbuf *seg[GSO_MAX / 1024 + 1];
	struct rte_mbuf *last = head;

	if (rte_mempool_get_bulk(q->pool, (void **)seg, num))
		return false;
	for (unsigned int i = 0; i < num; i++) {
		/* Behind the frame that lies built in this one, too. */
		seg[i]->data_off = RTE_PKTMBUF_HEADROOM + PATTERN_TCP;
		seg[i]->data_len = (uint16_t)RTE_MIN(left, room);
		left -= seg[i]->data_len;
		last->next = seg[i];
		last = seg[i];
	}
	last->next = NULL;
	head->nb_segs = (uint16_t)(num + 1);
	head->data_len = PATTERN_TCP;
	return true;
}
